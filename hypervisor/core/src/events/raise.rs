//! Raising an event: the bits, in the order that a guest relies on, and then whoever must hear of it.
//! Pending first, then the word's selector, then the upcall flag: a guest that clears them in the opposite order
//! misses nothing.

use core::mem::offset_of;

use hypercall_abi::event_channel::Virq;
use hypercall_abi::shared_info::{SharedInfo, VcpuInfo};
use hypercall_abi::{DomId, Mfn, Port};

use crate::delivery;
use crate::machine::Machine;
use crate::memory::{MachineAddress, MachineMemory};
use crate::trace::{self, Category, Record};
use crate::vcpu::{PollFor, Sleep};
use crate::world::World;

pub(super) const PENDING: u64 = to_u64(offset_of!(SharedInfo, evtchn_pending));
pub(super) const MASK: u64 = to_u64(offset_of!(SharedInfo, evtchn_mask));
pub(super) const SELECTOR: u64 = to_u64(offset_of!(VcpuInfo, evtchn_pending_sel));

/// Of the first word of the shared page: upcalls are masked.
pub(super) const MASKED: u64 = 0xff00;

/// What came of an event.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    /// It was pending already.
    Merged,
    /// Its port is masked.
    Masked,
    /// The upcall handler will see it; the first word of the shared page as it was.
    Pending(u64),
}

impl Told {
    /// Whether it was pending already, as a trace has it.
    pub(crate) const fn merged(self) -> u8 {
        if matches!(self, Self::Merged) { 1 } else { 0 }
    }

    /// What a trace says of it beside that it was raised.
    #[inline(always)]
    pub(crate) fn record(self, port: Port) -> Option<Record> {
        match self {
            Self::Merged => None,
            Self::Masked => Some(Record::EventMasked { port: port.0 }),
            Self::Pending(flags) => {
                Some(Record::EventPending { masked: u8::from(flags & MASKED != 0), port: port.0 })
            }
        }
    }
}

#[expect(clippy::as_conversions, reason = "there is no other conversion in a constant")]
const fn to_u64(offset: usize) -> u64 {
    offset as u64
}

/// Word of a bitmap at `map` with the port's bit, and the bit.
#[inline]
pub(super) const fn bit(shared: Mfn, map: u64, port: Port) -> (MachineAddress, u64) {
    #[expect(clippy::as_conversions, reason = "a widening conversion in a const fn")]
    let word = (port.0 >> 6) as u64;
    (MachineAddress::in_frame(shared, map | (word << 3)), 1 << (port.0 & 63))
}

/// The bit of a port's word in the selector.
#[inline]
pub(super) const fn bit_of_word(port: Port) -> u64 {
    1 << ((port.0 >> 6) & 63)
}

/// Whether a port's pending bit is set.
pub fn is_pending<M: MachineMemory>(m: &M, shared: Mfn, port: Port) -> bool {
    let (at, bit) = bit(shared, PENDING, port);
    m.load(at) & bit != 0
}

/// Clears a port's pending bit, for a port that is closed.
pub(super) fn forget<M: MachineMemory>(m: &mut M, shared: Mfn, port: Port) {
    let (at, bit) = bit(shared, PENDING, port);
    m.fetch_and(at, !bit);
}

/// Clears a port's mask and, if it is pending, announces it.
pub(super) fn unmask<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port) {
    let Some(domain) = world.domains.get(id) else { return };
    let shared = domain.shared_info;
    let (at, bit) = bit(shared, MASK, port);
    let was_masked = m.fetch_and(at, !bit) & bit != 0;
    let pending = is_pending(m, shared, port);
    world.trace.put(m, id, &Record::EventUnmasked { pending: u8::from(pending), port: port.0 });
    if was_masked && pending {
        announce(world, m, id, shared, port);
    }
}

/// Raises an event at a port of a domain.
#[inline(never)]
pub fn raise<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port) {
    raise_inline(world, m, id, port);
}

/// The same as part of its caller. With a trace it is a way of its own, so that without one nothing is kept for it.
#[inline(always)]
pub(super) fn raise_inline<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port) {
    if world.trace.wants(Category::Event) {
        raise_recorded(world, m, id, port);
    } else {
        raise_as::<M, false>(world, m, id, port);
    }
}

#[inline(never)]
fn raise_recorded<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port) {
    raise_as::<M, true>(world, m, id, port);
}

#[inline(always)]
fn raise_as<M: Machine, const RECORDED: bool>(world: &mut World, m: &mut M, id: DomId, port: Port) {
    let from = world.current.unwrap_or(DomId::IDLE);
    let Some(domain) = world.domains.get_mut(id) else { return };
    domain.counters.raised = domain.counters.raised.wrapping_add(1);
    let shared = domain.shared_info;
    let (at, bit_of_port) = bit(shared, PENDING, port);
    let merged = m.fetch_or(at, bit_of_port) & bit_of_port != 0;
    if merged {
        domain.counters.merged = domain.counters.merged.wrapping_add(1);
    }
    let polls = match domain.vcpu.sleep {
        Sleep::Poll(PollFor::One(awaited)) => awaited == port,
        Sleep::Poll(PollFor::Any) => true,
        _ => false,
    };
    let gathers = domain.delivery.is_gathering();
    if merged {
        if RECORDED {
            trace::told(&mut world.trace, m, from, (id, port), Told::Merged);
        }
        if polls {
            delivery::end_poll(world, m, id);
        }
        if gathers {
            delivery::gather(world, m, id);
        } else {
            world.scheduler.join(id);
        }
        return;
    }
    let (at, bit_of_port) = bit(shared, MASK, port);
    let told =
        if m.load(at) & bit_of_port == 0 { Told::Pending(show(m, shared, port)) } else { Told::Masked };
    if RECORDED {
        trace::told(&mut world.trace, m, from, (id, port), told);
    }
    if polls {
        delivery::end_poll(world, m, id);
    }
    if let Told::Pending(flags) = told {
        delivery::arrived(world, m, id, flags & MASKED != 0);
    }
}

/// Raises a virtual interrupt, if the domain has bound it.
pub fn raise_virq<M: Machine>(world: &mut World, m: &mut M, id: DomId, virq: Virq) {
    if let Some(port) = world.domains.get(id).and_then(|domain| domain.events.of_virq(virq)) {
        raise(world, m, id, port);
    }
}

/// Makes an unmasked pending event visible to the upcall handler, and whoever must hear of it hears.
fn announce<M: Machine>(world: &mut World, m: &mut M, id: DomId, shared: Mfn, port: Port) {
    let masked = show(m, shared, port) & MASKED != 0;
    world.trace.put(m, id, &Record::EventPending { masked: u8::from(masked), port: port.0 });
    delivery::arrived(world, m, id, masked);
}

/// Makes it visible. Returns the flags of the shared page.
#[inline(always)]
pub(super) fn show<M: Machine>(m: &mut M, shared: Mfn, port: Port) -> u64 {
    m.fetch_or(MachineAddress::in_frame(shared, SELECTOR), bit_of_word(port));
    m.fetch_or(MachineAddress::in_frame(shared, 0), 1)
}
