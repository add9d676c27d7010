//! What a front end may do with which disk, as the scenario decided and the back end enforces.

use alloc::boxed::Box;

use hypercall_abi::device::{DiskFacts, block_features};

use super::SEGMENTS_MAX;
use super::data::Memory;
use super::disk::{Disk, Finished, Waiting, Work};

/// A disk's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskId(pub u32);

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing; nobody else uses these sectors then.
    Write,
    /// Reading, and writing into memory of the back end, of which so many bytes may be taken; the disk stays as it is.
    Overlay {
        /// Bytes, in whole pages.
        memory_bytes: u64,
    },
}

/// A range of a disk and what is allowed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The disk.
    pub disk: DiskId,
    /// First sector.
    pub first: u64,
    /// How many; 0 for all from there on.
    pub sectors: u64,
    /// What is allowed.
    pub access: Access,
}

impl Share {
    /// The same with its real length; `None` when it leaves a disk of so many sectors.
    pub(super) fn within(mut self, sectors: u64) -> Option<Self> {
        let rest = sectors.checked_sub(self.first)?;
        if self.sectors == 0 {
            self.sectors = rest;
        }
        (self.sectors <= rest && self.sectors > 0).then_some(self)
    }

    /// Whether so many sectors from this on lie in it, as its front end counts.
    #[inline(always)]
    pub(super) const fn holds(&self, sector: u64, sectors: u64) -> bool {
        // So wide that it cannot overflow.
        sector as u128 + sectors as u128 <= self.sectors as u128
    }

    /// Whether both may not be used at the same time: one would change what the other relies upon.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let writes = self.access == Access::Write || other.access == Access::Write;
        let apart = self.first.saturating_add(self.sectors) <= other.first
            || other.first.saturating_add(other.sectors) <= self.first;
        writes && self.disk == other.disk && !apart
    }

    /// Whether its front end may discard, on a disk that can or cannot: an overlay forgets by itself.
    pub(super) const fn may_discard(&self, disk_can: bool) -> bool {
        match self.access {
            Access::Read => false,
            Access::Write => disk_can,
            Access::Overlay { .. } => true,
        }
    }

    /// What the front end is told of it.
    pub(super) fn facts(&self, disk_can_discard: bool) -> DiskFacts {
        use block_features as f;
        let mut features = match self.access {
            Access::Read => f::PERSISTENT | f::READ_ONLY,
            Access::Write | Access::Overlay { .. } => f::PERSISTENT | f::FLUSH | f::BARRIER,
        };
        if self.may_discard(disk_can_discard) {
            features |= f::DISCARD;
        }
        let segments_max = u32::try_from(SEGMENTS_MAX).unwrap_or(0);
        DiskFacts { sectors: self.sectors, features, segments_max }
    }
}

/// A disk with the work that it has no room for yet.
pub(super) struct Shelf<B> {
    pub(super) id: DiskId,
    pub(super) disk: Box<dyn Disk<B>>,
    waiting: Waiting<B>,
    /// It may have done something, or has something to begin.
    pub(super) ready: bool,
}

impl<B: Memory> Shelf<B> {
    pub(super) fn new(id: DiskId, disk: Box<dyn Disk<B>>) -> Self {
        Self { id, disk, waiting: Waiting::new(), ready: true }
    }

    /// Work for the disk, which it gets by [`Self::feed`], after all that waits.
    #[inline]
    pub(super) fn push(&mut self, work: Box<Work<B>>) {
        self.waiting.push(work);
        self.ready = true;
    }

    /// The same for work whose sectors are a front end's, of which the first is this one of the disk.
    #[inline]
    pub(super) fn push_at(&mut self, first: u64, mut work: Box<Work<B>>) {
        work.sector = work.sector.saturating_add(first);
        self.push(work);
    }

    /// Gives the disk what it has room for, and tells it of that.
    pub(super) fn feed(&mut self) {
        if !self.waiting.is_empty() {
            let before = self.waiting.len();
            self.disk.submit(&mut self.waiting);
            self.ready |= self.waiting.len() < before;
        }
        self.disk.kick();
    }

    /// Takes back what is done, and goes on with what waits.
    #[inline]
    pub(super) fn take_back(&mut self, done: &mut Finished<B>) {
        if core::mem::take(&mut self.ready) {
            self.disk.poll(done);
            self.feed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(first: u64, sectors: u64, access: Access) -> Share {
        Share { disk: DiskId(1), first, sectors, access }
    }

    #[test]
    fn a_share_stays_within_its_disk() {
        assert_eq!(share(0, 0, Access::Read).within(10).map(|share| share.sectors), Some(10));
        assert_eq!(share(4, 0, Access::Read).within(10).map(|share| share.sectors), Some(6));
        assert_eq!(share(4, 6, Access::Read).within(10).map(|share| share.sectors), Some(6));
        for (first, sectors) in [(4, 7), (10, 0), (11, 0), (1, u64::MAX), (u64::MAX, 1)] {
            assert_eq!(share(first, sectors, Access::Read).within(10), None);
        }
    }

    #[test]
    fn a_writer_is_alone_with_its_sectors() {
        let over = Access::Overlay { memory_bytes: 4096 };
        let writer = share(10, 10, Access::Write);
        for other in [Access::Read, Access::Write, over] {
            assert!(writer.collides(&share(19, 5, other)) && share(5, 6, other).collides(&writer));
            assert!(!writer.collides(&share(20, 5, other)) && !writer.collides(&share(5, 5, other)));
            assert!(!writer.collides(&Share { disk: DiskId(2), ..share(10, 10, other) }));
        }
        assert!(!share(0, 10, over).collides(&share(0, 10, Access::Read)));
        assert!(!share(0, 10, over).collides(&share(0, 10, over)));
    }
}
