//! Sending an event the short way: to a domain that is awake and is not to be given the processor for it.
//! It exists because that is what happens under load: the receiver sees the event when its turn comes.
//!
//! It gives the same answer as [`super::operations::send`], and where it does not apply it has changed nothing.

use hypercall_abi::{DomId, Port};

use super::ports::Channel;
use super::raise::{MASK, PENDING, Told, bit, show};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::trace::{self, Category, Record, Trace};
use crate::traps;
use crate::vcpu::Sleep;
use crate::world::{Short, World};

/// `send(&port)` with its answer in RAX, and the caller's upcall if one is due then.
#[inline(always)]
pub(crate) fn send<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> Short {
    let World { domains, trace, shared_page, .. } = world;
    let Some(domain) = domains.get_mut(caller) else { return Short::No };
    let Some(port) = port_at_hand(domain, m, regs) else { return Short::No };
    match domain.events.get(port) {
        Some(Channel::Ipi) => {
            told::<M, false>((trace, *shared_page), m, regs, (caller, true), (domain, port))
        }
        Some(Channel::Interdomain { remote, port: there }) => match domains.get_mut(remote) {
            Some(receiver) if is_awake(receiver) => {
                told::<M, false>((trace, *shared_page), m, regs, (caller, false), (receiver, there))
            }
            _ => Short::No,
        },
        _ => Short::No,
    }
}

/// The port, if it lies in the page that was translated last.
#[inline(always)]
fn port_at_hand<M: Machine>(domain: &Domain, m: &M, regs: &Registers) -> Option<Port> {
    let remembered = domain.address_space.remembered();
    let at = remembered.find_words::<1>(domain.vcpu.kernel_root, regs.rsi & !4)?;
    let word = m.load(at) >> ((regs.rsi & 4) << 3);
    Some(Port(u32::try_from(word & 0xffff_ffff).unwrap_or(0)))
}

/// Whether a domain is awake and is not to be given the processor for an event.
#[inline(always)]
fn is_awake(receiver: &Domain) -> bool {
    receiver.vcpu.sleep == Sleep::No && receiver.delivery.lets_be()
}

/// Who is told and where by [`send`], if it is the way: found before anything is kept for a record.
#[inline(always)]
pub(crate) fn receiver_at_hand<M: Machine>(
    world: &World,
    m: &M,
    regs: &Registers,
    caller: DomId,
) -> Option<(DomId, Port)> {
    let domain = world.domains.get(caller)?;
    let port = port_at_hand(domain, m, regs)?;
    match domain.events.get(port)? {
        Channel::Ipi => Some((caller, port)),
        Channel::Interdomain { remote, port } => {
            world.domains.get(remote).filter(|receiver| is_awake(receiver)).map(|_| (remote, port))
        }
        _ => None,
    }
}

/// Tells a receiver that was found so; the hypercall's end is recorded with what comes of the event.
#[inline(always)]
pub(crate) fn send_recorded<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
    (id, port): (DomId, Port),
) -> Short {
    let World { domains, trace, shared_page, .. } = world;
    let Some(receiver) = domains.get_mut(id) else { return Short::No };
    told::<M, true>((trace, *shared_page), m, regs, (caller, id == caller), (receiver, port))
}

/// The event and the answer, and if the caller told itself, its upcall.
#[inline(always)]
fn told<M: Machine, const RECORDED: bool>(
    (trace, shared_page): (&mut Trace, MachineAddress),
    m: &mut M,
    regs: &mut Registers,
    (caller, itself): (DomId, bool),
    (receiver, port): (&mut Domain, Port),
) -> Short {
    let told = mark(receiver, m, port);
    let id = receiver.id;
    if RECORDED && !tell(trace, m, (caller, regs.rax), (id, port), told) {
        return tell_apart(trace, m, regs, caller, (id, port), told);
    }
    regs.rax = 0;
    if !traps::is_due(m.load(shared_page)) {
        Short::Done
    } else if itself {
        traps::upcall_short::<_, RECORDED>(trace, receiver, m, regs)
    } else {
        Short::Begun
    }
}

/// Marks a port as pending at a domain that is awake, and so gathers nothing.
#[inline(always)]
fn mark<M: Machine>(receiver: &mut Domain, m: &mut M, port: Port) -> Told {
    let counters = &mut receiver.counters;
    counters.raised = counters.raised.wrapping_add(1);
    let shared = receiver.shared_info;
    let (at, bit_of_port) = bit(shared, PENDING, port);
    if m.fetch_or(at, bit_of_port) & bit_of_port != 0 {
        counters.merged = counters.merged.wrapping_add(1);
        return Told::Merged;
    }
    let (at, bit_of_port) = bit(shared, MASK, port);
    if m.load(at) & bit_of_port != 0 {
        return Told::Masked;
    }
    Told::Pending(show(m, shared, port))
}

/// Records the event and that the hypercall is answered, if all that is recorded and there is room at hand.
#[inline(always)]
fn tell<M: Machine>(
    trace: &mut Trace,
    m: &M,
    (caller, number): (DomId, u64),
    (receiver, port): (DomId, Port),
    told: Told,
) -> bool {
    const BOTH: u32 = Category::Event.bit() | Category::Hypercall.bit();
    if trace.categories() & BOTH != BOTH {
        return false;
    }
    // Each in its arm, so that what is known of a record is folded there.
    let exit = trace::call_exit_row(caller, number);
    let raised = Record::EventRaised { merged: told.merged(), port: port.0, from: caller.0 };
    let [first, from] = trace::laid_out(receiver, &raised);
    match told.record(port) {
        None => trace.put_row::<_, 3, 0b101>(m, [first, from, exit]),
        Some(then) => {
            let [second, there] = trace::laid_out(receiver, &then);
            trace.put_row::<_, 5, 0b1_0101>(m, [first, from, second, there, exit])
        }
    }
}

/// The same one by one, and the answer. Whether an upcall is due is left to others, so that the way above need not keep
/// anything over this one.
#[cold]
#[inline(never)]
fn tell_apart<M: Machine>(
    trace: &mut Trace,
    m: &M,
    regs: &mut Registers,
    caller: DomId,
    (receiver, port): (DomId, Port),
    told: Told,
) -> Short {
    trace::told_apart(trace, m, caller, (receiver, port), told);
    trace::call_exit(trace, m, caller, regs.rax, 0);
    regs.rax = 0;
    Short::Begun
}
