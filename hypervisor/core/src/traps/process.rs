//! Short ways between a kernel and its processes: a system call, a page fault, and the return to them.
//! They exist because each of these comes through the hypervisor, and is most of what a guest with processes asks for;
//! with a kernel in ring 1 that is the page fault alone.
//!
//! Like those of a handler ([`super::short`]) they look at everything before they change anything, and have a long way
//! beside them: they take a process that runs with upcalls unmasked and none pending, and a kernel whose stack for
//! entries lies in the page that was translated last. A kernel in ring 3 must have one base of GS for both modes too, so
//! that the root is all that a change of mode changes.

use hypercall_abi::DomId;
use hypercall_abi::trap::{IRET_IN_SYSCALL, Vector};

use super::bounce::{Entry, MASK, arrive, arrive_by_call, push_at_hand};
use super::short::{CR2, LOWER_HALF_BITS, PENDING, unmask};
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
    !domain.vcpu.segments.gs_apart
}

/// Goes over to the kernel or to a process of it, by the long ways. What is left to be done.
pub(super) fn change_mode<M: Machine>(domain: &mut Domain, m: &mut M, mode: Mode) -> Todo {
    domain.vcpu.mode = mode;
    m.load_root(domain.vcpu.ring, domain.vcpu.root());
    if changes_root_alone(domain) { Todo::empty() } else { Todo::SEGMENTS }
}

/// Whether upcalls are neither masked nor pending.
#[inline(always)]
fn is_calm<M: Machine>(world: &World, m: &M) -> bool {
    m.load(world.shared_page) & (MASK | PENDING) == 0
}

/// Writes the frame of a process that runs with upcalls unmasked, for its kernel. Returns where it begins.
#[inline(always)]
fn push<M: Machine, const WORDS: u64>(
    domain: &Domain,
    m: &mut M,
    regs: &Registers,
    error: u32,
) -> Option<u64> {
    let at = (domain.vcpu.kernel_stack, Ring::USER.code);
    push_at_hand::<_, WORDS>(domain, m, regs, at, 0, u64::from(error))
}

/// A process executed `syscall`, and nothing but that is out of the ordinary.
#[inline(always)]
pub(crate) fn system_call<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
) -> Short {
    let calm = is_calm(world, m);
    let Some(domain) = world.domains.get_mut(caller) else { return Short::No };
    let address = domain.vcpu.callbacks.syscall;
    if address == 0 || !calm || !changes_root_alone(domain) {
        return Short::No;
    }
    let Some(sp) = push::<_, 7>(domain, m, regs, 0) else { return Short::No };
    domain.counters.system_calls = domain.counters.system_calls.wrapping_add(1);
    let entry = Entry { address, masks: domain.vcpu.callbacks.syscall_masks, error: None };
    to_kernel(domain, m);
    arrive_by_call(m, domain.shared_info, regs, sp, &entry);
    world.attention = Attention::empty();
    Short::Done
}

/// Goes over to the kernel.
#[inline(always)]
fn to_kernel<M: Machine>(domain: &mut Domain, m: &mut M) {
    domain.vcpu.mode = Mode::Kernel;
    m.load_root(Ring::Three, domain.vcpu.kernel_root);
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
    let calm = is_calm(world, m);
    if world.attention != Attention::USER || !calm {
        return Short::No;
    }
    let Some(domain) = world.current.and_then(|id| world.domains.get_mut(id)) else { return Short::No };
    if !changes_root_alone(domain) {
        return Short::No;
    }
    let Some((sp, entry)) = tell_of_page_fault(domain, m, regs, error, address) else { return Short::No };
    to_kernel(domain, m);
    arrive(m, domain.shared_info, regs, sp, &entry, Ring::USER);
    world.attention = Attention::empty();
    Short::Done
}

/// A process caused a page fault, or its kernel in ring 1 did; that one's goes the long way.
#[inline(always)]
pub(crate) fn page_fault_in_ring1<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    error: u32,
    address: u64,
) -> Short {
    let calm = is_calm(world, m);
    if !world.attention.is_empty() || !calm {
        return Short::No;
    }
    let Some(domain) = world.current.and_then(|id| world.domains.get_mut(id)) else { return Short::No };
    if domain.vcpu.mode != Mode::BySelector || regs.cs & 3 != 3 {
        return Short::No;
    }
    let Some((sp, entry)) = tell_of_page_fault(domain, m, regs, error, address) else { return Short::No };
    arrive(m, domain.shared_info, regs, sp, &entry, Ring::One.kernel());
    Short::Done
}

/// Writes what the handler of a process's page fault finds. Where, and how it is entered.
#[inline(always)]
fn tell_of_page_fault<M: Machine>(
    domain: &mut Domain,
    m: &mut M,
    regs: &Registers,
    error: u32,
    address: u64,
) -> Option<(u64, Entry)> {
    let handler = domain.vcpu.traps.exceptions.get(usize::from(Vector::PageFault.raw()))?;
    let entry = Entry::by(*handler, None);
    if entry.address == 0 {
        return None;
    }
    let sp = push::<_, 8>(domain, m, regs, error)?;
    domain.counters.bounced = domain.counters.bounced.wrapping_add(1);
    m.store(MachineAddress::in_frame(domain.shared_info, CR2), address);
    Some((sp, entry))
}

/// The hypercall by which a kernel returns to a process.
#[inline(always)]
pub(crate) fn iret<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> Short {
    let Some(domain) = world.domains.get_mut(caller) else { return Short::No };
    let (Mode::Kernel, Some(root)) = (domain.vcpu.mode, domain.vcpu.user_root) else { return Short::No };
    let remembered = domain.address_space.remembered();
    let Some(at) = remembered.find_words::<9>(domain.vcpu.kernel_root, regs.rsp) else { return Short::No };
    let word = |index: u64| m.load(MachineAddress(at.0.wrapping_add(index << 3)));
    let (rip, cs) = (word(4), word(5));
    if rip >> LOWER_HALF_BITS != 0 || cs & 3 != 3 || !changes_root_alone(domain) {
        return Short::No;
    }
    regs.rip = rip;
    (regs.rax, regs.r11, regs.rcx, regs.rsp) = (word(0), word(1), word(2), word(7));
    let rflags = word(6);
    regs.rflags = (rflags & rflags::GUEST) | rflags::RESERVED | rflags::INTERRUPT;
    if word(3) & IRET_IN_SYSCALL == 0 {
        // RCX and R11 count, so the way back is not that of a hypercall.
        regs.entry = 0;
    }
    domain.vcpu.mode = Mode::User;
    world.attention |= Attention::USER;
    m.load_root(Ring::Three, root);
    if rflags & rflags::INTERRUPT == 0 {
        m.fetch_or(world.shared_page, 1 << 8);
        return Short::Done;
    }
    unmask(world, m)
}
