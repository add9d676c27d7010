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

/// The same as part of its caller.
#[inline(always)]
pub(super) fn raise_inline<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port) {
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
    if world.trace.wants(Category::Event) {
        trace::event_raised(world, m, id, port, merged);
    }
    if polls {
        delivery::end_poll(world, m, id);
    }
    if merged {
        if gathers {
            delivery::gather(world, m, id);
        } else {
            world.scheduler.join(id);
        }
        return;
    }
    let (at, bit_of_port) = bit(shared, MASK, port);
    if m.load(at) & bit_of_port == 0 {
        announce(world, m, id, shared, port);
    } else {
        world.trace.put(m, id, &Record::EventMasked { port: port.0 });
    }
}

/// Raises a virtual interrupt, if the domain has bound it.
pub fn raise_virq<M: Machine>(world: &mut World, m: &mut M, id: DomId, virq: Virq) {
    if let Some(port) = world.domains.get(id).and_then(|domain| domain.events.of_virq(virq)) {
        raise(world, m, id, port);
    }
}

/// Makes an unmasked pending event visible to the upcall handler.
#[inline]
fn announce<M: Machine>(world: &mut World, m: &mut M, id: DomId, shared: Mfn, port: Port) {
    m.fetch_or(MachineAddress::in_frame(shared, SELECTOR), bit_of_word(port));
    let flags = MachineAddress::in_frame(shared, 0);
    m.fetch_or(flags, 1);
    let masked = m.load(flags) & 0xff00 != 0;
    world.trace.put(m, id, &Record::EventPending { masked: u8::from(masked), port: port.0 });
    delivery::arrived(world, m, id, masked);
}
