//! The page through which both ends of a block device agree, as each side may use it.
//! Offsets stand here alone, so that neither driver writes into the other's half.

use core::mem::offset_of;

use super::{BACK_HALF, BlockError, BlockHalf, FRONT_HALF, XenbusState};
use crate::ring::SharedPage;
use crate::{GrantRef, Port};

/// One side's access to a device page: it writes its own half and reads the other's.
///
/// What the other side wrote is read anew at each call and may be anything.
#[derive(Clone, Copy, Debug)]
pub struct BlockPage<M> {
    page: M,
    own: usize,
    other: usize,
}

/// What a back end says of its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFacts {
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Bits of [`super::block_features`].
    pub features: u32,
    /// The most segments of an indirect request; 0 when there are none.
    pub segments_max: u32,
}

impl<M: SharedPage> BlockPage<M> {
    /// The front end's access.
    pub const fn front(page: M) -> Self {
        Self { page, own: FRONT_HALF, other: BACK_HALF }
    }

    /// The back end's access.
    pub const fn back(page: M) -> Self {
        Self { page, own: BACK_HALF, other: FRONT_HALF }
    }

    /// Gives the page back.
    pub fn into_page(self) -> M {
        self.page
    }

    /// The other side's state; [`XenbusState::Unknown`] for a number that is none.
    pub fn other_state(&self) -> XenbusState {
        let raw = self.page.load_acquire(self.other + offset_of!(BlockHalf, state));
        XenbusState::from_raw(raw).unwrap_or(XenbusState::Unknown)
    }

    /// Goes to a state; what was written before is seen by who sees the state.
    pub fn set_state(&self, state: XenbusState) {
        self.page.store_release(self.own + offset_of!(BlockHalf, state), state.raw());
    }

    /// Offers ring and port (front end).
    pub fn offer(&self, ring: GrantRef, port: Port) {
        self.page.store(self.own + offset_of!(BlockHalf, ring), ring.0);
        self.page.store(self.own + offset_of!(BlockHalf, port), port.0);
    }

    /// What the other side (the front end) offers.
    pub fn offered(&self) -> (GrantRef, Port) {
        (
            GrantRef(self.page.load(self.other + offset_of!(BlockHalf, ring))),
            Port(self.page.load(self.other + offset_of!(BlockHalf, port))),
        )
    }

    /// Says what the disk is (back end).
    pub fn set_facts(&self, facts: &DiskFacts) {
        self.page.store_wide(self.own + offset_of!(BlockHalf, sectors), facts.sectors);
        self.page.store(self.own + offset_of!(BlockHalf, features), facts.features);
        self.page.store(self.own + offset_of!(BlockHalf, segments_max), facts.segments_max);
    }

    /// What the other side (the back end) says of the disk.
    pub fn facts(&self) -> DiskFacts {
        let half = |offset: usize| u64::from(self.page.load(self.other + offset));
        let sectors = offset_of!(BlockHalf, sectors);
        DiskFacts {
            sectors: half(sectors) | half(sectors + 4) << 32,
            features: self.page.load(self.other + offset_of!(BlockHalf, features)),
            segments_max: self.page.load(self.other + offset_of!(BlockHalf, segments_max)),
        }
    }

    /// Says why we close.
    pub fn set_error(&self, error: BlockError) {
        self.page.store(self.own + offset_of!(BlockHalf, error), error.raw());
    }

    /// Why the other side closed, as it says.
    pub fn other_error(&self) -> u32 {
        self.page.load(self.other + offset_of!(BlockHalf, error))
    }

    /// Publishes our counters.
    pub fn set_counters(&self, counters: &BlockCounters) {
        for (offset, value) in [
            (offset_of!(BlockHalf, notified), counters.notified),
            (offset_of!(BlockHalf, suppressed), counters.suppressed),
            (offset_of!(BlockHalf, requests), counters.requests),
            (offset_of!(BlockHalf, bytes), counters.bytes),
            (offset_of!(BlockHalf, failed), counters.failed),
        ] {
            self.page.store_wide(self.own + offset, value);
        }
    }
}

/// What one side of a block device counts; see the fields of [`BlockHalf`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounters {
    /// Notifications sent to the other side.
    pub notified: u64,
    /// Notifications that ring indices made unnecessary.
    pub suppressed: u64,
    /// Requests sent (front end) or answered (back end).
    pub requests: u64,
    /// Bytes read and written by those that went well.
    pub bytes: u64,
    /// Requests that were answered with an error.
    pub failed: u64,
}
