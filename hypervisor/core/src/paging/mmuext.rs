//! `mmuext_op`: pinning tables, switching roots, flushing, clearing and copying frames.
//! These are the operations on page tables that are not the writing of an entry.

use hypercall_abi::mmu::{BATCH_MAX, MmuextOp, MmuextRequest};
use hypercall_abi::{DomId, Errno, Hypercall, Mfn, layout};

use super::{Tables, WORK_PER_CALL, trace};
use crate::call::Call;
use crate::effects::Todo;
use crate::frames::Level;
use crate::machine::Machine;
use crate::memory::MachineAddress;

/// `mmuext_op(requests, count, &done, domid)`. Requests are carried out in order up to the first that is refused.
///
/// # Errors
/// Of the first request that was refused; `done` says how many went before it. `Again`: ask again for the rest.
/// `Perm`: another domain was named.
#[inline]
pub fn mmuext_op<M: Machine>(call: &mut Call<'_, M>, args: [u64; 5]) -> Result<u64, Errno> {
    let [requests, count, done_at, named, _] = args;
    // Both are numbers of 32 bits in the interface; what stands above them means nothing.
    let (count, named) = (count & 0xffff_ffff, named & 0xffff_ffff);
    let named = u16::try_from(named).map(DomId).map_err(|_| Errno::Perm)?;
    if named != DomId::SELF && named != call.caller {
        return Err(Errno::Perm);
    }
    let mut at = requests;
    let mut done = 0_u64;
    let mut work = WORK_PER_CALL;
    let result = loop {
        if done >= count {
            break Ok(0);
        }
        if done >= u64::from(BATCH_MAX) || (work < WORK_PER_CALL / 2 && done > 0) {
            break Err(Errno::Again);
        }
        let outcome = call.read::<MmuextRequest>(at).and_then(|request| one(call, request, &mut work));
        if let Err(errno) = outcome {
            break Err(errno);
        }
        done = done.wrapping_add(1);
        at = at.wrapping_add(24);
    };
    trace(call, Hypercall::MmuextOp, done);
    if done_at != 0 {
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        call.write(done_at, &done)?;
    }
    result
}

fn one<M: Machine>(call: &mut Call<'_, M>, request: MmuextRequest, work: &mut u32) -> Result<(), Errno> {
    let op = MmuextOp::from_raw(request.cmd).ok_or(Errno::NoSys)?;
    let mfn = Mfn(request.arg1);
    let caller = call.caller;
    match op {
        MmuextOp::PinL1Table => on_tables(call, work, |tables| tables.pin(mfn, Level::L1)),
        MmuextOp::PinL2Table => on_tables(call, work, |tables| tables.pin(mfn, Level::L2)),
        MmuextOp::PinL3Table => on_tables(call, work, |tables| tables.pin(mfn, Level::L3)),
        MmuextOp::PinL4Table => on_tables(call, work, |tables| tables.pin(mfn, Level::L4)),
        MmuextOp::UnpinTable => on_tables(call, work, |tables| tables.unpin(mfn)),
        MmuextOp::NewBaseptr => {
            on_tables(call, work, |tables| tables.get_table(mfn, Level::L4))?;
            let vcpu = &mut call.domain_mut()?.vcpu;
            let ring = vcpu.ring;
            let old = core::mem::replace(&mut vcpu.kernel_root, mfn);
            // At once: the old root may be released right here, and loses the hypervisor then.
            call.memory.load_root(ring, mfn);
            on_tables(call, work, |tables| {
                tables.put_table(old);
                Ok(())
            })
        }
        MmuextOp::NewUserBaseptr => {
            let new = (mfn.0 != 0).then_some(mfn);
            if let Some(mfn) = new {
                on_tables(call, work, |tables| tables.get_table(mfn, Level::L4))?;
            }
            let old = core::mem::replace(&mut call.domain_mut()?.vcpu.user_root, new);
            call.world.effects.todo |= Todo::LOAD_ROOT;
            match old {
                Some(old) => on_tables(call, work, |tables| {
                    tables.put_table(old);
                    Ok(())
                }),
                None => Ok(()),
            }
        }
        MmuextOp::TlbFlushLocal | MmuextOp::TlbFlushMulti | MmuextOp::TlbFlushAll => {
            call.world.effects.todo |= Todo::FLUSH_TLB;
            Ok(())
        }
        MmuextOp::InvlpgLocal | MmuextOp::InvlpgMulti | MmuextOp::InvlpgAll => {
            if layout::is_canonical(request.arg1) {
                call.memory.flush_address(request.arg1);
            }
            Ok(())
        }
        MmuextOp::ClearPage => {
            call.world.frames.get_writable(mfn, caller)?;
            call.memory.zero_frame(mfn);
            call.world.frames.put_writable(mfn);
            Ok(())
        }
        MmuextOp::CopyPage => {
            let source = Mfn(request.arg2);
            call.world.frames.get(source, caller)?;
            let copied = call.world.frames.get_writable(mfn, caller);
            if copied.is_ok() {
                if source != mfn {
                    let (to, from) = (MachineAddress::in_frame(mfn, 0), MachineAddress::in_frame(source, 0));
                    call.memory.copy(to, from, hypercall_abi::PAGE_SIZE);
                }
                call.world.frames.put_writable(mfn);
            }
            call.world.frames.put(source);
            copied
        }
        // No entries is what a guest asks for that has no table.
        MmuextOp::SetLdt if request.arg2 == 0 => Ok(()),
        MmuextOp::SetLdt => Err(Errno::OpNotSupp),
        MmuextOp::FlushCache => Err(Errno::Access),
    }
}

/// Does something with the caller's tables and carries over what is to be done because of it.
fn on_tables<M: Machine>(
    call: &mut Call<'_, M>,
    work: &mut u32,
    act: impl FnOnce(&mut Tables<'_, M>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let domain = call.world.domains.get_mut(call.caller).ok_or(Errno::Srch)?;
    let mut tables = Tables::new(&mut call.world.frames, call.memory, &mut domain.address_space);
    tables.work = *work;
    tables.drain();
    let result = act(&mut tables);
    tables.drain();
    let todo = tables.todo;
    *work = tables.work;
    call.world.effects.todo |= todo;
    result
}
