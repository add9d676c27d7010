//! Short ways in and out of a guest's handler, for a kernel on its own stack in the page that was translated last.
//! They exist because upcalls, faults and their returns are most of what a guest asks for under load.
//!
//! Each has a long way beside it that gives the same answer, and looks at everything before it changes anything: where
//! it does not apply, it has changed nothing. That nothing else is to be done ([`Attention`]) is what they begin with, so
//! the domain is in its kernel, no trace is written and nobody else wants the processor. Where a trace is written, an instance
//! of its own (`RECORDED`) puts the records that the long way does.

use core::mem::offset_of;

use hypercall_abi::DomId;
use hypercall_abi::shared_info::{ArchVcpuInfo, VcpuInfo};
use hypercall_abi::trap::{IRET_IN_SYSCALL, Vector};

use super::bounce::{Entry, MASK, arrive, push_at_hand};
use crate::attention::Attention;
use crate::domain::Domain;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::{Registers, rflags};
use crate::ring::{Ring, Selectors};
use crate::trace::records::Handled;
use crate::trace::{self, Record, Trace};
use crate::vcpu::Mode;
use crate::world::{Short, World};

/// First bit of an address that is not in the lower half, where nearly all guests' kernels lie.
pub(super) const LOWER_HALF_BITS: u32 = 47;

/// Offset of a vCPU's CR2 in the shared page.
pub(super) const CR2: u64 = {
    #[expect(clippy::as_conversions, reason = "there is no other conversion in a constant")]
    let offset = (offset_of!(VcpuInfo, arch) + offset_of!(ArchVcpuInfo, cr2)) as u64;
    offset
};

/// Offset of a vCPU's selector in the shared page.
const SELECTOR: u64 = {
    #[expect(clippy::as_conversions, reason = "there is no other conversion in a constant")]
    let offset = offset_of!(VcpuInfo, evtchn_pending_sel) as u64;
    offset
};

/// Of the first word of the shared page: an upcall is pending.
pub(super) const PENDING: u64 = 0xff;

/// Whether a word of flags says that an upcall is pending and not masked. Both are bytes of the word, the mask the upper
/// one; so it is 1 to 255.
#[inline(always)]
pub(crate) const fn is_due(flags: u64) -> bool {
    (flags & 0xffff).wrapping_sub(1) < 0xff
}

/// Enters the upcall handler of a domain that has just made a hypercall, for an upcall that is due.
#[inline(always)]
pub(crate) fn upcall<M: Machine, const RECORDED: bool>(
    trace: &mut Trace,
    domain: &mut Domain,
    m: &mut M,
    regs: &mut Registers,
) -> Short {
    let address = domain.vcpu.callbacks.event;
    if address == 0 {
        return Short::Begun;
    }
    // A hypercall comes from the kernel itself, in whichever ring that is.
    let kernel = Selectors { code: regs.cs, stack: regs.ss };
    let at = (regs.rsp, kernel.code & !3);
    let Some(sp) = push_at_hand::<_, 7>(domain, m, regs, at, 0, 0) else { return Short::Begun };
    domain.counters.upcalls = domain.counters.upcalls.wrapping_add(1);
    if RECORDED {
        let selector = m.load(MachineAddress::in_frame(domain.shared_info, SELECTOR));
        trace.put(m, domain.id, &Record::Upcall { selector });
    }
    arrive(m, domain.shared_info, regs, sp, &Entry { address, masks: true, error: None }, kernel);
    Short::Done
}

/// The hypercall by which a kernel's handler returns to its own kernel, with all registers. The selectors in `regs` are
/// that kernel's already, as it has just made a hypercall.
#[inline(always)]
pub(crate) fn iret<M: Machine, const RECORDED: bool>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
) -> Short {
    let Some(domain) = world.domains.get(caller) else { return Short::No };
    let remembered = domain.address_space.remembered();
    let Some(at) = remembered.find_words::<9>(domain.vcpu.kernel_root, regs.rsp) else { return Short::No };
    let word = |index: u64| m.load(MachineAddress(at.0.wrapping_add(index << 3)));
    let (flags, rip, cs) = (word(3), word(4), word(5));
    let (rax, r11, rcx) = (word(0), word(1), word(2));
    let (rflags, rsp) = (word(6), word(7));
    if rip >> LOWER_HALF_BITS != 0 || cs & 3 == 3 || flags & IRET_IN_SYSCALL != 0 {
        return Short::No;
    }
    if RECORDED {
        trace::returned(&mut world.trace, m, caller, rip, rax);
    }
    (regs.rax, regs.r11, regs.rcx) = (rax, r11, rcx);
    (regs.rip, regs.rsp) = (rip, rsp);
    regs.rflags = (rflags & rflags::GUEST) | rflags::RESERVED | rflags::INTERRUPT;
    // RCX and R11 count, so the way back is not that of a hypercall.
    regs.entry = 0;
    if rflags & rflags::INTERRUPT == 0 {
        m.fetch_or(world.shared_page, 1 << 8);
        return Short::Done;
    }
    unmask(world, m)
}

/// Unmasks upcalls at the end of a short way.
#[inline(always)]
pub(super) fn unmask<M: Machine>(world: &World, m: &mut M) -> Short {
    m.fetch_and(world.shared_page, !MASK);
    // Nothing is masked now.
    if m.load(world.shared_page) & PENDING != 0 { Short::Begun } else { Short::Done }
}

/// A page fault of a kernel in ring 3 that has a handler for it.
#[inline(always)]
pub(crate) fn page_fault<M: Machine, const RECORDED: bool>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    error: u32,
    address: u64,
) -> Short {
    let Some(domain) = world.current.and_then(|id| world.domains.get_mut(id)) else { return Short::No };
    let Some(handler) = domain.vcpu.traps.exceptions.get(usize::from(Vector::PageFault.raw())) else {
        return Short::No;
    };
    let entry = Entry::by(*handler, None);
    let flags = m.load(world.shared_page);
    let ordinary = if RECORDED { Attention::TRACE } else { Attention::empty() };
    if world.attention != ordinary || domain.vcpu.mode != Mode::Kernel || entry.address == 0 || is_due(flags)
    {
        return Short::No;
    }
    let at = (regs.rsp, Ring::USER.code & !3);
    let Some(sp) = push_at_hand::<_, 8>(domain, m, regs, at, flags & MASK, u64::from(error)) else {
        return Short::No;
    };
    domain.counters.bounced = domain.counters.bounced.wrapping_add(1);
    let (id, rip) = (domain.id, regs.rip);
    m.store(MachineAddress::in_frame(domain.shared_info, CR2), address);
    arrive(m, domain.shared_info, regs, sp, &entry, Ring::USER);
    if RECORDED {
        let (vector, handled) = (Vector::PageFault.raw(), Handled::Bounced.raw());
        world.trace.put(m, id, &Record::Exception { vector, handled, error, rip, address });
    }
    Short::Done
}
