//! The ways back to a guest, and when there is none: addresses at which the processor could fault on the return.
//! All that is not marked cold belongs to the shortest ways, so it is inlined where it is needed.

use hypercall_abi::layout;
use hypervisor_core::registers::{Registers, rflags};
use hypervisor_core::world::Exception;

use crate::entry;
use crate::system::{Guard, System};

/// How a guest is returned to: the value that [`crate::exit`] and the entry stubs take.
pub(super) const MORE: u32 = 0;
const BY_SYSRETQ: u32 = 1;
pub(super) const BY_IRETQ: u32 = 2;

const GENERAL_PROTECTION: u8 = 13;

/// How the frame may be returned to; [`MORE`] if RIP is no guest's, at which `iretq` or `sysretq` could fault.
#[inline(always)]
pub(super) fn way_back(guard: Guard, regs: &Registers) -> u32 {
    if regs.entry == entry::SYSCALL {
        way_back_of_hypercall(guard, regs)
    } else if is_in_lower_half(regs.rip) {
        BY_IRETQ
    } else {
        way_back_to_upper_half(guard, regs)
    }
}

/// The same for a guest that came by an exception.
#[inline(always)]
pub(super) fn way_back_of_exception(guard: Guard, regs: &Registers) -> u32 {
    if is_in_lower_half(regs.rip) { BY_IRETQ } else { way_back_to_upper_half(guard, regs) }
}

/// The same for a guest that came by `syscall`.
#[inline(always)]
pub(super) fn way_back_of_hypercall(guard: Guard, regs: &Registers) -> u32 {
    if is_in_lower_half(regs.rip) { by_sysretq(regs) } else { way_back_to_upper_half(guard, regs) }
}

/// It takes the guard, so that nobody has to hold it, and anything else, over the call.
#[cold]
#[inline(never)]
fn way_back_to_upper_half(_: Guard, regs: &Registers) -> u32 {
    match (layout::is_guest(regs.rip), regs.entry) {
        (false, _) => MORE,
        (true, entry::SYSCALL) => by_sysretq(regs),
        (true, _) => BY_IRETQ,
    }
}

/// `sysretq` unless it would not bring back the one flag, and would trap too early for the other.
#[inline(always)]
pub(super) fn by_sysretq(regs: &Registers) -> u32 {
    if regs.rflags & (rflags::TRAP | rflags::RESUME) == 0 {
        return BY_SYSRETQ;
    }
    cold();
    BY_IRETQ
}

/// Whether an address is where nearly all guests' kernels are, and nothing of the hypervisor.
#[inline(always)]
const fn is_in_lower_half(address: u64) -> bool {
    const LAST_LOWER_BIT: u32 = 46;
    address >> (LAST_LOWER_BIT + 1) == 0
}

/// Tells the compiler which way is taken seldom.
#[cold]
const fn cold() {}

/// What the processor would have done in ring 3 with such a RIP.
#[cold]
pub(super) fn refuse_return(system: &mut System, regs: &mut Registers) {
    let exception = Exception { vector: GENERAL_PROTECTION, error: 0, address: 0 };
    let _ = system.world.exception(&mut system.hardware, regs, exception);
}
