//! How far one side of a ring has come since it was last asked, for records of a trace.
//! It is apart so that a driver keeps no account of its own of what it has told.

use super::Notify;
use crate::DomId;
use crate::extension::{GuestRecord, RingSide};

/// One of a side's two indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The index now.
    pub index: u32,
    /// How far it went.
    pub count: u32,
    /// Entries that wait behind it.
    pub waiting: u32,
}

/// How far a side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it made visible.
    pub produced: Step,
    /// What it took.
    pub consumed: Step,
}

/// A record as [`crate::extension::ExtensionOp::TraceRecord`] takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingRecord {
    /// Which.
    pub record: GuestRecord,
    /// Which ring.
    pub side: RingSide,
    /// The domain at the other end, and from bit 32 the index.
    pub place: u64,
    /// How many entries, and from bit 32 how many wait.
    pub counts: u64,
}

impl Progress {
    /// From two pairs of an index as it was told last and as it is, and of what waits.
    #[must_use]
    pub(super) const fn new(produced: (u32, u32, u32), consumed: (u32, u32, u32)) -> Self {
        Self { produced: Step::new(produced), consumed: Step::new(consumed) }
    }

    /// The records of it, for the side and the domain at the other end.
    pub fn records(self, side: RingSide, peer: DomId) -> impl Iterator<Item = RingRecord> {
        [(GuestRecord::RingProduced, self.produced), (GuestRecord::RingConsumed, self.consumed)]
            .into_iter()
            .filter(|(_, step)| step.count > 0)
            .map(move |(record, step)| RingRecord {
                record,
                side,
                place: u64::from(peer.0) | (u64::from(step.index) << 32),
                counts: u64::from(step.count) | (u64::from(step.waiting) << 32),
            })
    }
}

impl Step {
    const fn new((told, index, waiting): (u32, u32, u32)) -> Self {
        Self { index, count: index.wrapping_sub(told), waiting }
    }
}

/// The record of a notification, sent or saved; nothing if nothing was published.
#[must_use]
pub fn notification(side: RingSide, peer: DomId, notify: Notify) -> Option<RingRecord> {
    let record = match notify {
        Notify::Nothing => return None,
        Notify::Suppressed => GuestRecord::RingSuppressed,
        Notify::Needed => GuestRecord::RingNotified,
    };
    Some(RingRecord { record, side, place: u64::from(peer.0), counts: 0 })
}
