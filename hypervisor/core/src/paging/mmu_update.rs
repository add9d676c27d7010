//! `mmu_update`: page-table entries and machine-to-physical entries, many in one call.
//! Batches exist because a guest that builds an address space would otherwise make a call for each entry.

use hypercall_abi::mmu::{BATCH_MAX, MmuUpdate, UpdateKind};
use hypercall_abi::{DomId, Errno, Hypercall, Mfn};

use super::{AddressSpace, Tables, WORK_PER_CALL, trace};
use crate::call::Call;
use crate::frames::FrameTable;
use crate::guest_access::View;
use crate::machine::Machine;
use crate::memory::{MachineAddress, MachineMemory};

/// Whose frames the entries of a call may refer to.
///
/// # Errors
/// `Perm`: another domain's, and the caller is not privileged.
fn page_owner(space: &AddressSpace, named: u64) -> Result<DomId, Errno> {
    if named == u64::from(DomId::SELF.0) {
        return Ok(space.owner);
    }
    // The upper half would name whose tables are changed; only our own (0) are.
    let named = DomId(u16::try_from(named).map_err(|_| Errno::Perm)?);
    if named == space.owner || named == DomId::IO {
        Ok(space.owner)
    } else if space.privileged && named.is_ordinary() {
        Ok(named)
    } else {
        Err(Errno::Perm)
    }
}

/// Writes the machine-to-physical entry of a frame of `owner`.
fn set_machine_to_physical<M: MachineMemory>(
    frames: &FrameTable,
    memory: &mut M,
    owner: DomId,
    mfn: Mfn,
    pfn: u64,
) -> Result<(), Errno> {
    if frames.owner(mfn) != Some(owner) {
        return Err(Errno::Inval);
    }
    frames.set_machine_to_physical(memory, mfn, pfn);
    Ok(())
}

impl<M: MachineMemory> Tables<'_, M> {
    #[inline]
    fn request(&mut self, request: MmuUpdate, page_owner: DomId) -> Result<(), Errno> {
        const USUAL: UpdateKind = UpdateKind::NormalPtUpdate;
        if request.ptr & 7 == USUAL.raw() {
            return self.update(MachineAddress(request.ptr), request.val, USUAL, page_owner);
        }
        self.request_apart(request, page_owner)
    }

    #[inline(never)]
    fn request_apart(&mut self, request: MmuUpdate, page_owner: DomId) -> Result<(), Errno> {
        match UpdateKind::from_raw(request.ptr & 3).ok_or(Errno::NoSys)? {
            UpdateKind::NormalPtUpdate | UpdateKind::PtUpdatePreserveAd if request.ptr & 4 != 0 => {
                Err(Errno::Inval)
            }
            kind @ (UpdateKind::NormalPtUpdate | UpdateKind::PtUpdatePreserveAd) => {
                self.update(MachineAddress(request.ptr & !7), request.val, kind, page_owner)
            }
            UpdateKind::MachphysUpdate => {
                let mfn = Mfn::containing(request.ptr);
                set_machine_to_physical(self.frames, self.memory, self.space.owner, mfn, request.val)
            }
        }
    }
}

/// `mmu_update(requests, count, &done, domid)`. Requests are carried out in order up to the first that is refused.
///
/// # Errors
/// Of the first request that was refused; `done` says how many went before it. `Again`: more than
/// [`BATCH_MAX`] requests or too much work for one call, ask again for the rest.
#[inline]
pub fn mmu_update<M: Machine>(call: &mut Call<'_, M>, args: [u64; 5]) -> Result<u64, Errno> {
    let [requests, count, done_at, named, _] = args;
    // Both are numbers of 32 bits in the interface; what stands above them means nothing.
    let (count, named) = (count & 0xffff_ffff, named & 0xffff_ffff);
    let caller = call.caller;
    let domain = call.world.domains.get_mut(caller).ok_or(Errno::Srch)?;
    let root = domain.vcpu.root();
    let page_owner = page_owner(&domain.address_space, named)?;
    let mut tables = Tables::new(&mut call.world.frames, call.memory, &mut domain.address_space);
    if !tables.space.queue.is_empty() {
        tables.drain();
    }
    let mut at = requests;
    let mut done = 0_u64;
    let limit = count.min(u64::from(BATCH_MAX));
    let result = loop {
        if done >= limit {
            break if limit == count { Ok(0) } else { Err(Errno::Again) };
        }
        if tables.work < WORK_PER_CALL / 2 && done > 0 {
            break Err(Errno::Again);
        }
        let view = View::remembering(tables.frames, root, tables.space.remembered());
        let request = match view.read::<MmuUpdate, _>(tables.memory, at) {
            Ok(request) => request,
            Err(errno) => break Err(errno),
        };
        if let Err(errno) = tables.request(request, page_owner) {
            break Err(errno);
        }
        done = done.wrapping_add(1);
        at = at.wrapping_add(16);
    };
    let todo = tables.todo;
    call.world.effects.todo |= todo;
    trace(call, Hypercall::MmuUpdate, done);
    if done_at != 0 {
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        View::of(call.world.domain(caller)?, &call.world.frames).write(call.memory, done_at, &done)?;
    }
    result
}
