//! `memory_op`: what a guest may ask about memory as a whole.
//! A domain's memory is fixed when it is built, so there are only questions.

use hypercall_abi::Errno;
use hypercall_abi::layout;
use hypercall_abi::memory::{MachphysMapping, MemoryOp};

use crate::call::Call;
use crate::guest_access;
use crate::machine::Machine;

/// `memory_op(op, argument)`.
///
/// # Errors
/// `NoSys`: unknown operation. `Perm`, `Srch`: another domain was named, or none. `Fault`: the argument.
#[inline]
pub fn memory_op<M: Machine>(call: &mut Call<'_, M>, args: [u64; 5]) -> Result<u64, Errno> {
    let [op, argument, ..] = args;
    let op = u32::try_from(op & 0xffff_ffff).ok().and_then(MemoryOp::from_raw).ok_or(Errno::NoSys)?;
    let root = call.domain()?.vcpu.root();
    match op {
        MemoryOp::MaximumRamPage => Ok(call.world.frames.limit().0),
        MemoryOp::CurrentReservation | MemoryOp::MaximumReservation => {
            let named: u16 = guest_access::read(call.memory, &call.world.frames, root, argument)?;
            let id = call.own_domain(named)?;
            Ok(call.world.domain(id)?.address_space.frames())
        }
        MemoryOp::MachphysMapping => {
            let limit = call.world.frames.limit().0;
            let mapping = MachphysMapping {
                start: layout::MACHINE_TO_PHYS,
                end: layout::MACHINE_TO_PHYS.saturating_add(limit << 3),
                max_mfn: limit.saturating_sub(1),
            };
            guest_access::write(call.memory, &call.world.frames, root, argument, &mapping)?;
            Ok(0)
        }
    }
}
