//! What the two sides of a block device say in its page.

use core::mem::offset_of;

use super::page::{DevicePage, Kind};
use super::{BlockError, BlockHalf};
use crate::ring::SharedPage;
use crate::{GrantRef, Port};

/// A block device.
#[derive(Clone, Copy, Debug)]
pub struct Block;

/// One side's access to the page of a block device.
pub type BlockPage<M> = DevicePage<M, Block>;

impl Kind for Block {
    type Error = BlockError;

    fn number(error: BlockError) -> u32 {
        error.raw()
    }
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

impl DiskFacts {
    /// Whether so many sectors from this on lie on the disk.
    #[must_use]
    pub const fn holds(&self, sector: u64, sectors: u64) -> bool {
        matches!(sector.checked_add(sectors), Some(end) if end <= self.sectors)
    }
}

impl<M: SharedPage> BlockPage<M> {
    /// Offers ring and port, and promises what the bits of [`super::block_features`] say (front end).
    pub fn offer(&self, ring: GrantRef, port: Port, features: u32) {
        self.say(offset_of!(BlockHalf, features), features);
        self.say(offset_of!(BlockHalf, ring), ring.0);
        self.say(offset_of!(BlockHalf, port), port.0);
    }

    /// What the other side (the front end) offers.
    pub fn offered(&self) -> (GrantRef, Port) {
        (GrantRef(self.hear(offset_of!(BlockHalf, ring))), Port(self.hear(offset_of!(BlockHalf, port))))
    }

    /// What the other side (the front end) promises.
    pub fn promised(&self) -> u32 {
        self.hear(offset_of!(BlockHalf, features))
    }

    /// Says what the disk is (back end).
    pub fn set_facts(&self, facts: &DiskFacts) {
        self.say_wide(offset_of!(BlockHalf, sectors), facts.sectors);
        self.say(offset_of!(BlockHalf, features), facts.features);
        self.say(offset_of!(BlockHalf, segments_max), facts.segments_max);
    }

    /// What the other side (the back end) says of the disk.
    pub fn facts(&self) -> DiskFacts {
        let half = |offset: usize| u64::from(self.hear(offset));
        let sectors = offset_of!(BlockHalf, sectors);
        DiskFacts {
            sectors: half(sectors) | half(sectors + 4) << 32,
            features: self.hear(offset_of!(BlockHalf, features)),
            segments_max: self.hear(offset_of!(BlockHalf, segments_max)),
        }
    }

    /// Publishes our counters.
    pub fn set_counters(&self, counters: &BlockCounters) {
        let BlockCounters { notified, suppressed, requests, bytes, failed, copied, in_place } = *counters;
        self.count([notified, suppressed, requests, bytes, failed, copied, in_place]);
    }

    /// How the other side (the back end) says that data went: by so many copies, and in so many pages where they are.
    pub fn copied_and_in_place(&self) -> (u64, u64) {
        let wide = |offset: usize| u64::from(self.hear(offset)) | u64::from(self.hear(offset + 4)) << 32;
        (wide(offset_of!(BlockHalf, copied)), wide(offset_of!(BlockHalf, in_place)))
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
    /// Copies between the front end's pages and the back end's (back end).
    pub copied: u64,
    /// Pages of the front end's that a disk used where they are (back end).
    pub in_place: u64,
}
