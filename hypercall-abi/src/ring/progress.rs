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
}

impl Step {
    const fn new((told, index, waiting): (u32, u32, u32)) -> Self {
        Self { index, count: index.wrapping_sub(told), waiting }
    }
}

/// What a side tells of its ring at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingTold {
    /// Which ring.
    pub side: RingSide,
    /// The domain at the other end.
    pub peer: DomId,
    /// How far the side has come.
    pub progress: Progress,
    /// Whether the other side is notified of that.
    pub notify: Notify,
}

impl RingTold {
    /// The records of it, in order.
    pub fn records(self) -> impl Iterator<Item = RingRecord> {
        [self.produced(), self.consumed(), self.notified()].into_iter().flatten()
    }

    /// The record of what was made visible, if anything was.
    #[inline(always)]
    #[must_use]
    pub const fn produced(&self) -> Option<RingRecord> {
        self.moved(GuestRecord::RingProduced, self.progress.produced)
    }

    /// The record of what was taken, if anything was.
    #[inline(always)]
    #[must_use]
    pub const fn consumed(&self) -> Option<RingRecord> {
        self.moved(GuestRecord::RingConsumed, self.progress.consumed)
    }

    /// The record of a notification, sent or saved; nothing if nothing was published.
    #[inline(always)]
    #[must_use]
    pub const fn notified(&self) -> Option<RingRecord> {
        let record = match self.notify {
            Notify::Nothing => return None,
            Notify::Suppressed => GuestRecord::RingSuppressed,
            Notify::Needed => GuestRecord::RingNotified,
        };
        Some(self.record(record, 0, 0))
    }

    #[inline(always)]
    const fn moved(&self, record: GuestRecord, Step { index, count, waiting }: Step) -> Option<RingRecord> {
        if count == 0 {
            return None;
        }
        Some(self.record(record, index, (count as u64) | ((waiting as u64) << 32)))
    }

    #[inline(always)]
    const fn record(&self, record: GuestRecord, index: u32, counts: u64) -> RingRecord {
        let place = (self.peer.0 as u64) | ((index as u64) << 32);
        RingRecord { record, side: self.side, place, counts }
    }
}
