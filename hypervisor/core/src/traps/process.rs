//! Short ways between a kernel in ring 3 and its processes: a system call, a page fault, and the return to them.
//! They exist because each of these comes through the hypervisor, and is most of what a guest with processes asks for.
//!
//! Like those of a handler ([`super::short`]) they look at everything before they change anything, and have a long way
//! beside them: they take a kernel whose stack for entries lies in the page that was translated last, and bases of GS
//! that are alike, so that the root is all that a change of mode changes.

use hypercall_abi::DomId;
use hypercall_abi::trap::{IRET_IN_SYSCALL, Vector};

use super::bounce::{Entry, MASK, arrive};
use super::short::{CR2, LOWER_HALF_BITS, is_due};
use crate::attention::Attention;
use crate::domain::Domain;
use crate::effects::Todo;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::{Registers, rflags};
use crate::ring::Ring;
use crate::vcpu::Mode;
use crate::world::{Short, World};

/// Whether a change of mode changes the root alone.
const fn changes_root_alone(domain: &Domain) -> bool {
    domain.vcpu.segments.gs_base_user == domain.vcpu.segments.gs_base_kernel
}

/// Goes over to the kernel or to a process of it, by the long ways. What is left to be done.
pub(super) fn change_mode<M: Machine>(domain: &mut Domain, m: &mut M, mode: Mode) -> Todo {
    domain.vcpu.mode = mode;
    m.load_root(domain.vcpu.root());
    if changes_root_alone(domain) { Todo::empty() } else { Todo::SEGMENTS }
}

/// Writes the frame of a process that is interrupted to the stack of its kernel. It has eight words if there is an
/// error code among them, else seven. Returns where it begins.
#[inline(always)]
fn push<M: Machine, const WORDS: u64>(
    domain: &Domain,
    m: &mut M,
    regs: &Registers,
    mask: u64,
    error: u64,
) -> Option<u64> {
    let sp = (domain.vcpu.kernel_stack & !0xf).wrapping_sub(const { WORDS << 3 });
    let at = domain.address_space.remembered().find_words::<WORDS>(domain.vcpu.kernel_root, sp)?;
    let interrupts = if mask == 0 { rflags::INTERRUPT } else { 0 };
    m.store(at, regs.rcx);
    m.store(MachineAddress(at.0.wrapping_add(8)), regs.r11);
    let mut rest = at.0.wrapping_add(16);
    if WORDS == 8 {
        m.store(MachineAddress(rest), error);
        rest = rest.wrapping_add(8);
    }
    m.store(MachineAddress(rest), regs.rip);
    m.store(MachineAddress(rest.wrapping_add(8)), Ring::USER.code | (mask << 24));
    let shown = (regs.rflags & !rflags::INTERRUPT) | interrupts;
    m.store(MachineAddress(rest.wrapping_add(16)), shown);
    m.store(MachineAddress(rest.wrapping_add(24)), regs.rsp);
    m.store(MachineAddress(rest.wrapping_add(32)), regs.ss);
    Some(sp)
}

/// A process executed `syscall`, and nothing but that is out of the ordinary.
#[inline(always)]
pub(crate) fn system_call<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
) -> Short {
    let Some(domain) = world.domains.get_mut(caller) else { return Short::No };
    let address = domain.vcpu.callbacks.syscall;
    let flags = m.load(world.shared_page);
    if address == 0 || is_due(flags) || !changes_root_alone(domain) {
        return Short::No;
    }
    let Some(sp) = push::<_, 7>(domain, m, regs, flags & MASK, 0) else { return Short::No };
    domain.counters.system_calls = domain.counters.system_calls.wrapping_add(1);
    let entry = Entry { address, masks: domain.vcpu.callbacks.syscall_masks, error: None };
    to_kernel(domain, m, regs, sp, &entry);
    world.attention = Attention::empty();
    Short::Done
}

/// Goes on in the kernel, whose frame begins at `sp`.
#[inline(always)]
fn to_kernel<M: Machine>(domain: &mut Domain, m: &mut M, regs: &mut Registers, sp: u64, entry: &Entry) {
    domain.vcpu.mode = Mode::Kernel;
    m.load_root(domain.vcpu.kernel_root);
    arrive(m, domain.shared_info, regs, sp, entry, Ring::USER);
}

/// A process caused a page fault, and nothing but that a process runs is out of the ordinary.
#[inline(always)]
pub(crate) fn page_fault<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    error: u32,
    address: u64,
) -> Short {
    if world.attention != Attention::USER {
        return Short::No;
    }
    let Some(domain) = world.current.and_then(|id| world.domains.get_mut(id)) else { return Short::No };
    let Some(handler) = domain.vcpu.traps.exceptions.get(usize::from(Vector::PageFault.raw())) else {
        return Short::No;
    };
    let entry = Entry::by(*handler, None);
    let flags = m.load(world.shared_page);
    if entry.address == 0 || is_due(flags) || !changes_root_alone(domain) {
        return Short::No;
    }
    let Some(sp) = push::<_, 8>(domain, m, regs, flags & MASK, u64::from(error)) else { return Short::No };
    domain.counters.bounced = domain.counters.bounced.wrapping_add(1);
    m.store(MachineAddress::in_frame(domain.shared_info, CR2), address);
    to_kernel(domain, m, regs, sp, &entry);
    world.attention = Attention::empty();
    Short::Done
}

/// The hypercall by which a kernel returns to a process.
#[inline(always)]
pub(crate) fn iret<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> Short {
    let Some(domain) = world.domains.get_mut(caller) else { return Short::No };
    let (Mode::Kernel, Some(root)) = (domain.vcpu.mode, domain.vcpu.user_root) else { return Short::No };
    let remembered = domain.address_space.remembered();
    let Some(at) = remembered.find_words::<9>(domain.vcpu.kernel_root, regs.rsp) else { return Short::No };
    let word = |index: u64| m.load(MachineAddress(at.0.wrapping_add(index << 3)));
    let (flags, rip, cs) = (word(3), word(4), word(5));
    if rip >> LOWER_HALF_BITS != 0 || cs & 3 != 3 || !changes_root_alone(domain) {
        return Short::No;
    }
    (regs.rax, regs.r11, regs.rcx) = (word(0), word(1), word(2));
    let (rflags, rsp) = (word(6), word(7));
    (regs.rip, regs.rsp) = (rip, rsp);
    regs.rflags = (rflags & rflags::GUEST) | rflags::RESERVED | rflags::INTERRUPT;
    if flags & IRET_IN_SYSCALL == 0 {
        // RCX and R11 count, so the way back is not that of a hypercall.
        regs.entry = 0;
    }
    domain.vcpu.mode = Mode::User;
    world.attention |= Attention::USER;
    m.load_root(root);
    if rflags & rflags::INTERRUPT == 0 {
        m.fetch_or(world.shared_page, 1 << 8);
        return Short::Done;
    }
    m.fetch_and(world.shared_page, !MASK);
    if is_due(m.load(world.shared_page)) { Short::Begun } else { Short::Done }
}
