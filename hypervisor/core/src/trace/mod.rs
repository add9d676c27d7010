//! The trace: typed records of what happened, in a ring that outlives the run.
//! Each record is declared once in [`records`]; encoder, decoder and documentation come from that declaration, so
//! the host tool cannot misread what the hypervisor wrote.
//!
//! Counters count everything always; the trace adds order and durations while it is on.

pub mod decode;
pub mod document;
pub mod layout;
mod pack;
pub mod reader;
pub mod records;
mod ring;

use hypercall_abi::{DomId, Port};

use crate::attention::Attention;
use crate::dispatch::traced_number;
use crate::domain::State;
use crate::machine::Machine;
use crate::world::World;
pub use records::Record;
use ring::Ring;

/// The trace of a world.
#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    ring: Option<Ring>,
}

impl Trace {
    /// A trace that is off, with so many words of storage; too few for two blocks are not used.
    #[must_use]
    pub fn new(words: usize) -> Self {
        Self { on: false, ring: Ring::new(words) }
    }

    /// Writes the header, so that an empty trace can be read.
    pub fn begin<M: Machine>(&mut self, m: &mut M, tsc_khz: u64) {
        if let Some(ring) = &self.ring {
            ring.begin(m, tsc_khz);
        }
    }

    /// Whether records are written.
    #[must_use]
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Enters a domain's name, whether the trace is on or not.
    pub fn name<M: Machine>(&mut self, m: &mut M, id: DomId, name: &str) {
        if let Some(ring) = &mut self.ring {
            ring.name(m, id, name);
        }
    }

    /// Writes a record about a domain, if the trace is on.
    pub fn put<M: Machine>(&mut self, m: &mut M, domain: DomId, record: &Record) {
        if !self.on {
            return;
        }
        if let Some(ring) = &mut self.ring {
            ring.put(m, domain, record);
        }
    }

    /// Records that were written since the start.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.ring.as_ref().map_or(0, Ring::written)
    }

    /// Records that newer ones have overwritten.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.ring.as_ref().map_or(0, Ring::lost)
    }
}

/// Turns the trace on or off; without storage it stays off. Returns whether it is on. The hypercall counters of each
/// domain are recorded first and last, so that the trace alone shows that no call is missing from it.
pub(crate) fn set_on<M: Machine>(world: &mut World, m: &mut M, on: bool) -> bool {
    if on == world.trace.on || (on && world.trace.ring.is_none()) {
        return world.trace.on;
    }
    world.trace.on = true;
    let World { trace, domains, .. } = world;
    for domain in domains.iter().filter(|domain| domain.state == State::Running) {
        put_counters(trace, m, domain);
    }
    world.trace.on = on;
    world.attention.set(Attention::TRACE, on);
    on
}

/// Records a domain's hypercall counters.
fn put_counters<M: Machine>(trace: &mut Trace, m: &mut M, domain: &crate::domain::Domain) {
    let counters = &domain.counters;
    let unknown = (u64::MAX, counters.unknown);
    for (number, count) in (0..).zip(counters.hypercalls).chain([unknown]).filter(|(_, count)| *count > 0) {
        trace.put(m, domain.id, &Record::Counter { number: traced_number(number), count });
    }
}

/// Records the counters of a domain that ends.
pub(crate) fn last_counters<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let World { trace, domains, .. } = world;
    if let Some(domain) = domains.get(id).filter(|_| trace.on) {
        put_counters(trace, m, domain);
    }
}

/// Notes an event raised at `port` of `id`.
#[cold]
pub(crate) fn event_raised<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port, merged: bool) {
    let from = world.current.unwrap_or(DomId::IDLE).0;
    let record = Record::EventRaised { port: port.0, from, merged: u8::from(merged) };
    world.trace.put(m, id, &record);
}

/// Notes that `id` ends its sleep, `ahead` of the queue or at its tail.
#[cold]
pub(crate) fn wake<M: Machine>(world: &mut World, m: &mut M, id: DomId, ahead: bool) {
    world.trace.put(m, id, &Record::Wake { ahead: u8::from(ahead) });
}
