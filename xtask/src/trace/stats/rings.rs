//! What went through rings, by the side that told of it.

use std::collections::BTreeMap;

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypercall_abi::ring::slots;
use hypervisor_core::trace::Record;
use serde::Serialize;

use crate::counters::ratio;
use crate::table::{grouped, or_dash};
use crate::trace::names::Names;

/// One side of a domain's rings, those to all other domains together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Ring {
    /// Whose side.
    pub(crate) domain: String,
    /// Which.
    pub(crate) ring: String,
    /// Entries made visible to the other side.
    pub(crate) produced: u64,
    /// Entries taken.
    pub(crate) consumed: u64,
    /// Entries made visible at a time.
    pub(crate) batch: Option<f64>,
    /// The most that waited in one ring.
    pub(crate) waiting_max: u32,
    /// Notifications sent.
    pub(crate) notified: u64,
    /// Notifications that ring indices saved.
    pub(crate) suppressed: u64,
}

impl Ring {
    /// What [`Self::cells`] say.
    pub(crate) const HEADS: [&str; 8] =
        ["domain", "ring", "produced", "at a time", "consumed", "most waiting", "notified", "suppressed"];

    /// Its line in a table.
    pub(crate) fn cells(&self) -> [String; 8] {
        [
            self.domain.clone(),
            self.ring.clone(),
            grouped(self.produced),
            or_dash(self.batch.map(|batch| format!("{batch:.2}"))),
            grouped(self.consumed),
            grouped(self.waiting_max.into()),
            grouped(self.notified),
            grouped(self.suppressed),
        ]
    }
}

/// The most entries that a ring of one page can have.
const ENTRIES_MAX: u32 = slots(8);

/// What went through a ring at one look. More than it can hold, the first look after a pause, went through before the trace.
fn at_a_look(count: u32) -> u64 {
    if count > ENTRIES_MAX { 0 } else { count.into() }
}

/// Rings being gathered.
#[derive(Debug, Default)]
pub(super) struct Rings(BTreeMap<(DomId, u8), (Ring, u64)>);

impl Rings {
    /// Takes in a record.
    pub(super) fn see(&mut self, domain: DomId, record: &Record) {
        let (Record::RingProduced { ring, .. }
        | Record::RingConsumed { ring, .. }
        | Record::RingNotified { ring, .. }
        | Record::RingSuppressed { ring, .. }) = *record
        else {
            return;
        };
        let (of, shown) = self.0.entry((domain, ring)).or_default();
        match *record {
            Record::RingProduced { count, waiting, .. } => {
                *shown += 1;
                of.produced = of.produced.saturating_add(at_a_look(count));
                of.waiting_max = of.waiting_max.max(waiting);
            }
            Record::RingConsumed { count, waiting, .. } => {
                of.consumed = of.consumed.saturating_add(at_a_look(count));
                of.waiting_max = of.waiting_max.max(waiting);
            }
            Record::RingNotified { .. } => of.notified += 1,
            _ => of.suppressed += 1,
        }
    }

    /// The figures.
    pub(super) fn told(self, names: &Names) -> Vec<Ring> {
        let one = |((domain, side), (ring, shown)): ((DomId, u8), (Ring, u64))| Ring {
            domain: names.of(domain),
            ring: RingSide::from_raw(side).map_or_else(|| side.to_string(), |side| side.name().to_owned()),
            batch: ratio(ring.produced, shown),
            ..ring
        };
        self.0.into_iter().map(one).collect()
    }
}
