//! How far one side of a ring has come since it was last asked, for records of a trace.
//! It is apart so that a driver keeps no account of its own of what it has told.

use super::Notify;
use crate::DomId;
use crate::extension::{GuestRecord, RingSide};
use crate::shared_info::{RECORD_WORDS, RING_TURN};

/// One of a side's two indices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl Progress {
    /// From two pairs of an index as it was told last and as it is, and of what waits.
    #[inline(always)]
    #[must_use]
    pub(super) const fn new(produced: (u32, u32, u32), consumed: (u32, u32, u32)) -> Self {
        Self { produced: Step::new(produced), consumed: Step::new(consumed) }
    }
}

impl Step {
    #[inline(always)]
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

/// Bits that a turn's place has for how many entries, and for how many wait: a ring of one page has fewer.
const COUNT_BITS: u32 = 12;

impl RingTold {
    /// As a place in the shared page has it ([`RING_TURN`]), without the time; `None` if so many entries have no room there.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self) -> Option<[u64; RECORD_WORDS]> {
        let Progress { produced, consumed } = self.progress;
        let all = produced.count | produced.waiting | consumed.count | consumed.waiting;
        if all >> COUNT_BITS != 0 {
            return None;
        }
        let moved = (produced.count != 0) as u64 | (((consumed.count != 0) as u64) << 1);
        let told = match self.notify {
            Notify::Nothing => 0,
            Notify::Suppressed => 1,
            Notify::Needed => 2,
        };
        let first = RING_TURN | (moved << 4) | (told << 6) | ((self.side.raw() as u64) << 8);
        let indices = produced.index as u64 | ((consumed.index as u64) << 32);
        let of_produced = ((produced.count as u64) << 16) | ((produced.waiting as u64) << 28);
        let of_consumed = ((consumed.count as u64) << 40) | ((consumed.waiting as u64) << 52);
        Some([first, indices, self.peer.0 as u64 | of_produced | of_consumed])
    }

    /// The records of it, in order.
    pub fn records(self) -> impl Iterator<Item = RingRecord> {
        let some = |step: Step| (step.count != 0).then_some(step);
        let turn = RingTurn {
            side: self.side.raw(),
            peer: self.peer.0,
            produced: some(self.progress.produced),
            consumed: some(self.progress.consumed),
            suppressed: self.notify == Notify::Suppressed,
            notified: self.notify == Notify::Needed,
        };
        turn.records().into_iter().flatten()
    }
}

/// A turn at a ring as a place in the shared page has it, whoever wrote that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingTurn {
    /// Which ring: a [`RingSide`], if there is one of that number.
    pub side: u8,
    /// The domain at the other end.
    pub peer: u16,
    /// What was made visible.
    pub produced: Option<Step>,
    /// What was taken.
    pub consumed: Option<Step>,
    /// The other side need not be notified.
    pub suppressed: bool,
    /// It was notified.
    pub notified: bool,
}

/// One record of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingRecord {
    /// Which.
    pub record: GuestRecord,
    /// Which ring, as [`RingTurn::side`].
    pub side: u8,
    /// The domain at the other end.
    pub peer: u16,
    /// How far it went; nothing if that is not what the record tells.
    pub step: Step,
}

impl RingTurn {
    /// From a place with the number [`RING_TURN`]. Which records there are depends on the lowest byte alone.
    #[must_use]
    pub fn read([first, indices, counts]: [u64; RECORD_WORDS]) -> Self {
        const MASK: u64 = (1 << COUNT_BITS) - 1;
        let step = |index: u64, counts: u64| Step {
            index: index as u32,
            count: (counts & MASK) as u32,
            waiting: ((counts >> COUNT_BITS) & MASK) as u32,
        };
        let has = |bit: u32| (first >> bit) & 1 != 0;
        Self {
            side: ((first >> 8) & 0xf) as u8,
            peer: (counts & 0xffff) as u16,
            produced: if has(4) { Some(step(indices, counts >> 16)) } else { None },
            consumed: if has(5) { Some(step(indices >> 32, counts >> 40)) } else { None },
            suppressed: has(6),
            notified: has(7),
        }
    }

    /// Its records, in order.
    #[must_use]
    pub fn records(self) -> [Option<RingRecord>; 4] {
        let Self { side, peer, .. } = self;
        let of = |record: GuestRecord, step: Option<Step>| {
            step.map(|step| RingRecord { record, side, peer, step })
        };
        let said = |is_said: bool| is_said.then(Step::default);
        [
            of(GuestRecord::RingProduced, self.produced),
            of(GuestRecord::RingConsumed, self.consumed),
            of(GuestRecord::RingSuppressed, said(self.suppressed)),
            of(GuestRecord::RingNotified, said(self.notified)),
        ]
    }
}

impl RingRecord {
    /// Its two words as [`crate::extension::ExtensionOp::TraceRecord`] takes them.
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        let Step { index, count, waiting } = self.step;
        let ring = self.side as u64 | ((self.peer as u64) << 16) | ((index as u64) << 32);
        [ring, count as u64 | ((waiting as u64) << 32)]
    }
}
