//! Entering a guest's kernel: a frame on its stack, its handler in RIP.
//! The frame is written before anything else changes; a stack that cannot take it ends the domain.

use hypercall_abi::trap::trap_flags;
use hypercall_abi::{DomId, Errno, Mfn};
use zerocopy::IntoBytes;

use crate::attention::Attention;
use crate::domain::Domain;
use crate::guest_access::{Access, View};
use crate::life;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::{Registers, rflags};
use crate::ring::{Ring, Selectors};
use crate::trace::{Category, Record, laid_out};
use crate::vcpu::{Handler, Mode};
use crate::world::{Exception, World};

/// How a handler is entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where.
    pub(crate) address: u64,
    /// Whether upcalls are masked.
    pub(crate) masks: bool,
    /// What the processor pushed beside the registers.
    pub(crate) error: Option<u32>,
}

impl Entry {
    /// By a handler of the trap table.
    pub(crate) const fn by(handler: Handler, error: Option<u32>) -> Self {
        Self { address: handler.address, masks: handler.flags & trap_flags::MASK_EVENTS != 0, error }
    }
}

/// Flags that are clear in a handler.
const CLEARED: u64 = rflags::TRAP | rflags::NESTED | rflags::RESUME | rflags::ALIGNMENT;
/// Upcall mask in the first word of the shared page.
pub(super) const MASK: u64 = 0xff00;

/// Enters a handler of a domain whose registers are in `regs`.
///
/// # Errors
/// [`Errno::Fault`] if the kernel's stack cannot take the frame; nothing has changed then.
#[inline(always)]
pub(crate) fn bounce<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
    entry: Entry,
) -> Result<(), Errno> {
    let domain = world.domains.get(id).ok_or(Errno::Srch)?;
    let mask = m.load(MachineAddress::in_frame(domain.shared_info, 0)) & MASK;
    let at = (regs.rsp, Ring::USER.code & !3);
    let pushed = match (domain.vcpu.mode, entry.error) {
        (Mode::Kernel, Some(error)) => push_at_hand::<_, 8>(domain, m, regs, at, mask, u64::from(error)),
        (Mode::Kernel, None) => push_at_hand::<_, 7>(domain, m, regs, at, mask, 0),
        _ => None,
    };
    match pushed {
        Some(sp) => {
            arrive(m, domain.shared_info, regs, sp, &entry, Ring::USER);
            Ok(())
        }
        None => bounce_anyhow(world, m, id, regs, entry),
    }
}

/// Writes a frame that ends at `stack`, if that lies in the page that was translated last, as it nearly always does.
/// It has eight words if there is an error code among them, else seven. `cs` is shown for the one that was
/// interrupted, `mask` is [`MASK`] of the shared page. Returns where the frame begins.
#[inline(always)]
pub(super) fn push_at_hand<M: Machine, const WORDS: u64>(
    domain: &Domain,
    m: &mut M,
    regs: &Registers,
    (stack, cs): (u64, u64),
    mask: u64,
    error: u64,
) -> Option<u64> {
    let sp = (stack & !0xf).wrapping_sub(const { WORDS << 3 });
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
    m.store(MachineAddress(rest.wrapping_add(8)), cs | (mask << 24));
    let shown = (regs.rflags & !rflags::INTERRUPT) | interrupts;
    m.store(MachineAddress(rest.wrapping_add(16)), shown);
    m.store(MachineAddress(rest.wrapping_add(24)), regs.rsp);
    m.store(MachineAddress(rest.wrapping_add(32)), regs.ss);
    Some(sp)
}

/// Goes to the handler, whose frame begins at `sp`.
#[inline(always)]
pub(super) fn arrive<M: Machine>(
    m: &mut M,
    shared: Mfn,
    regs: &mut Registers,
    sp: u64,
    entry: &Entry,
    selectors: Selectors,
) {
    (regs.cs, regs.ss) = (selectors.code, selectors.stack);
    arrive_by_call(m, shared, regs, sp, entry);
}

/// The same for who came by `syscall`, whose selectors are those of a kernel in ring 3 already.
#[inline(always)]
pub(super) fn arrive_by_call<M: Machine>(
    m: &mut M,
    shared: Mfn,
    regs: &mut Registers,
    sp: u64,
    entry: &Entry,
) {
    if entry.masks {
        m.fetch_or(MachineAddress::in_frame(shared, 0), 1 << 8);
    }
    regs.rip = entry.address;
    regs.rsp = sp;
    regs.rflags &= !CLEARED;
}

/// The same wherever the stack lies and from either mode.
#[inline(never)]
fn bounce_anyhow<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
    entry: Entry,
) -> Result<(), Errno> {
    let domain = world.domains.get_mut(id).ok_or(Errno::Srch)?;
    let vcpu = &domain.vcpu;
    let flags_at = MachineAddress::in_frame(domain.shared_info, 0);
    let mask = (m.load(flags_at) & MASK) >> 8;
    let (stack, cs) = if vcpu.is_user(regs) {
        (vcpu.kernel_stack, Ring::USER.code)
    } else {
        (regs.rsp, vcpu.ring.kernel().code & !3)
    };
    let interrupts = if mask == 0 { rflags::INTERRUPT } else { 0 };
    let shown = (regs.rflags & !rflags::INTERRUPT) | interrupts;
    let view = View::of_kernel(domain, &world.frames);
    let tail = [regs.rip, cs | (mask << 32), shown, regs.rsp, regs.ss];
    let top = stack & !0xf;
    let sp = match entry.error {
        Some(error) => push(&view, m, top, [regs.rcx, regs.r11, u64::from(error)], tail)?,
        None => push(&view, m, top, [regs.rcx, regs.r11], tail)?,
    };
    if domain.vcpu.mode == Mode::User {
        world.attention.remove(Attention::USER);
        world.effects.todo |= super::process::change_mode(domain, m, Mode::Kernel);
    }
    arrive(m, domain.shared_info, regs, sp, &entry, domain.vcpu.ring.kernel());
    Ok(())
}

/// Writes a frame that ends at `top`, which is aligned: `head` lowest, then what `iretq` takes. Returns where it begins.
#[inline(always)]
fn push<M: Machine, const N: usize>(
    view: &View<'_>,
    m: &mut M,
    top: u64,
    head: [u64; N],
    tail: [u64; 5],
) -> Result<u64, Errno> {
    let middle = top.wrapping_sub(40);
    let sp = middle.wrapping_sub(u64::try_from(N).unwrap_or(0) << 3);
    if sp & 0xfff > 0x1000 - 64 {
        push_across(view, m, middle, (head.as_bytes(), sp), &tail)?;
        return Ok(sp);
    }
    let mut at = view.translate(m, sp, Access::Write)?;
    for word in head {
        m.store(at, word);
        at = MachineAddress(at.0.wrapping_add(8));
    }
    let [rip, cs, rflags, rsp, ss] = tail;
    m.store(at, rip);
    m.store(MachineAddress(at.0.wrapping_add(8)), cs);
    m.store(MachineAddress(at.0.wrapping_add(16)), rflags);
    m.store(MachineAddress(at.0.wrapping_add(24)), rsp);
    m.store(MachineAddress(at.0.wrapping_add(32)), ss);
    Ok(sp)
}

/// Writes a frame that may lie in two pages. Apart, like all that is seldom beside an upcall.
#[cold]
#[inline(never)]
fn push_across<M: Machine>(
    view: &View<'_>,
    m: &mut M,
    middle: u64,
    (head, sp): (&[u8], u64),
    tail: &[u64; 5],
) -> Result<(), Errno> {
    view.write(m, middle, tail)?;
    view.write_bytes(m, sp, head)
}

/// Enters the upcall handler, if there is one. Returns whether the domain lives.
#[inline(always)]
pub(crate) fn upcall<M: Machine>(world: &mut World, m: &mut M, id: DomId, regs: &mut Registers) -> bool {
    if world.trace.wants(Category::Event) {
        upcall_recorded(world, m, id, regs)
    } else {
        upcall_unrecorded(world, m, id, regs)
    }
}

#[inline(never)]
fn upcall_unrecorded<M: Machine>(world: &mut World, m: &mut M, id: DomId, regs: &mut Registers) -> bool {
    upcall_as::<M, false>(world, m, id, regs)
}

#[inline(never)]
fn upcall_recorded<M: Machine>(world: &mut World, m: &mut M, id: DomId, regs: &mut Registers) -> bool {
    upcall_as::<M, true>(world, m, id, regs)
}

#[inline(always)]
fn upcall_as<M: Machine, const RECORDED: bool>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
) -> bool {
    let Some(domain) = world.domains.get_mut(id) else { return false };
    let address = domain.vcpu.callbacks.event;
    if address == 0 {
        return true;
    }
    domain.counters.upcalls = domain.counters.upcalls.wrapping_add(1);
    if RECORDED {
        let selector = m.load(MachineAddress::in_frame(domain.shared_info, 8));
        world.trace.put_words(m, laid_out(id, &Record::Upcall { selector }));
    }
    let entered = bounce(world, m, id, regs, Entry { address, masks: true, error: None });
    if entered.is_err() {
        life::end(world, m, id, life::End::BadStack { rsp: regs.rsp });
    }
    entered.is_ok()
}

/// A `syscall` from user mode goes to the guest's kernel.
pub(crate) fn system_call<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, id: DomId) {
    let Some(domain) = world.domains.get_mut(id) else { return };
    let callbacks = domain.vcpu.callbacks;
    if callbacks.syscall == 0 {
        let vector = hypercall_abi::trap::Vector::InvalidOpcode.raw();
        super::exception(world, m, regs, Exception { vector, error: 0, address: 0 });
        return;
    }
    domain.counters.system_calls = domain.counters.system_calls.wrapping_add(1);
    let entry = Entry { address: callbacks.syscall, masks: callbacks.syscall_masks, error: None };
    if bounce(world, m, id, regs, entry).is_err() {
        life::end(world, m, id, life::End::BadStack { rsp: regs.rsp });
    }
}
