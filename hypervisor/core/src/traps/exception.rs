//! What becomes of an exception: given to the guest, carried out for it, or the end of the domain.
//! Page faults, by far the most frequent, come first and pay for none of the others.

use hypercall_abi::trap::{Vector, trap_flags};
use hypercall_abi::{DomId, layout};

use super::bounce::{Entry, bounce};
use super::short::CR2;
use super::{emulate, forced};
use crate::guest_access::View;
use crate::life;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::trace::records::Handled;
use crate::trace::{Category, Record};
use crate::world::{Exception, World};

/// `int` with the vector in the next byte.
const INT: u8 = 0xcd;
/// In the error code of #GP: the index is a vector, of an `int` that the gate does not allow.
const ERROR_IDT: u32 = 2;

/// Vectors with which the processor pushes an error code, a bit each.
const WITH_ERROR: u32 = {
    let mut bits = 0;
    let mut left = Vector::ALL;
    while let [first, rest @ ..] = left {
        if first.has_error_code() {
            bits |= 1 << first.raw();
        }
        left = rest;
    }
    bits
};

/// A guest caused an exception.
pub(crate) fn exception<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    exception: Exception,
) {
    const PAGE_FAULT: u8 = Vector::PageFault.raw();
    let Some(id) = world.current else { return };
    let (rip, vector) = (regs.rip, exception.vector);
    let handled = if vector == PAGE_FAULT {
        deliver(world, m, id, regs, exception)
    } else {
        rarer(world, m, id, regs, exception)
    };
    if world.trace.wants(Category::Trap) {
        let Exception { vector, error, address } = exception;
        let record = Record::Exception { vector, handled: handled.raw(), error, rip, address };
        world.trace.put(m, id, &record);
    }
}

/// Exceptions that are not all for the guest.
#[inline(never)]
fn rarer<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
    exception: Exception,
) -> Handled {
    match Vector::from_raw(exception.vector) {
        Some(Vector::DeviceNotAvailable) if machine_gives_fpu(world, id) => Handled::Fpu,
        Some(Vector::GeneralProtection) if emulate::general_protection(world, m, id, regs, exception) => {
            Handled::Emulated
        }
        Some(Vector::InvalidOpcode) if forced::invalid_opcode(world, m, id, regs) => Handled::Emulated,
        Some(Vector::GeneralProtection) if software_interrupt(world, m, id, regs, exception.error) => {
            Handled::Bounced
        }
        _ => deliver(world, m, id, regs, exception),
    }
}

/// Enters the guest's handler, or ends the domain if it has none or no stack for it.
#[inline(always)]
fn deliver<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
    exception: Exception,
) -> Handled {
    let Exception { vector, error, address } = exception;
    let Some(domain) = world.domains.get_mut(id) else { return Handled::Killed };
    let Some(handler) = domain.vcpu.traps.handler(vector) else {
        return unhandled(world, m, id, regs, exception);
    };
    domain.counters.bounced = domain.counters.bounced.wrapping_add(1);
    if vector == Vector::PageFault.raw() {
        m.store(MachineAddress::in_frame(domain.shared_info, CR2), address);
    }
    let error = (vector < 32 && (WITH_ERROR >> vector) & 1 != 0).then_some(error);
    if bounce(world, m, id, regs, Entry::by(handler, error)).is_err() {
        return unhandled(world, m, id, regs, exception);
    }
    Handled::Bounced
}

/// Ends a domain that cannot take its exception.
#[cold]
#[inline(never)]
fn unhandled<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &Registers,
    exception: Exception,
) -> Handled {
    let Exception { vector, error, address } = exception;
    life::end(world, m, id, life::End::Unhandled { vector, error, rip: regs.rip, address });
    Handled::Killed
}

/// An `int` through a gate that the guest opened in its own table.
fn software_interrupt<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
    error: u32,
) -> bool {
    if error & 7 != ERROR_IDT {
        return false;
    }
    // The error code names the vector, but not on every processor, so the instruction is asked.
    let Some(domain) = world.domains.get_mut(id) else { return false };
    let instruction: Result<[u8; 2], _> = View::of(domain, &world.frames).read(m, regs.rip);
    let Ok([INT, vector]) = instruction else { return false };
    let handler = domain.vcpu.traps.handler(vector);
    // The guest's kernel counts as ring 1, its processes as ring 3.
    let ring = if domain.vcpu.is_user(regs) { 3 } else { 1 };
    let Some(handler) = handler.filter(|handler| handler.flags & trap_flags::DPL >= ring) else {
        return false;
    };
    let after = regs.rip.wrapping_add(2);
    if !layout::is_guest(after) {
        return false;
    }
    domain.counters.bounced = domain.counters.bounced.wrapping_add(1);
    let before = core::mem::replace(&mut regs.rip, after);
    let entered = bounce(world, m, id, regs, Entry::by(handler, None)).is_ok();
    if !entered {
        regs.rip = before;
    }
    entered
}

/// Whether a use of the FPU is the machine's to serve, which gives the FPU to the domain. If the guest itself wants
/// to know of the use, it is not; its flag is cleared then, as its handler would clear the processor's.
fn machine_gives_fpu(world: &mut World, id: DomId) -> bool {
    world.domains.get_mut(id).is_some_and(|domain| !core::mem::take(&mut domain.vcpu.fpu.trap))
}
