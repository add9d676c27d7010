//! Requests under way, each with the work that it became.
//! A request outlives its connection there, so that whatever a disk still does is accounted for.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::disk::{DiskOp, Work};
use super::vbd::VbdId;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has one step, on pages of the front end's, and is answered when the disk has done it: nearly all are like that.
    InPlace,
    /// It has one step, and something is to be done with its data before it is answered.
    Only,
    /// A barrier: what was answered before becomes durable.
    BarrierBefore,
    /// A barrier: its data is written.
    BarrierWrite,
    /// A barrier: its data becomes durable.
    BarrierAfter,
}

impl Stage {
    /// Where a request begins.
    pub(super) const fn first(is_barrier: bool, operation: DiskOp) -> Self {
        match (is_barrier, operation) {
            (false, _) => Self::Only,
            (true, DiskOp::Write) => Self::BarrierBefore,
            (true, _) => Self::BarrierAfter,
        }
    }

    /// Whether this is a barrier, for whose end all others wait.
    pub(super) const fn is_barrier(self) -> bool {
        matches!(self, Self::BarrierBefore | Self::BarrierWrite | Self::BarrierAfter)
    }
}

/// A connection of a front end: whose it is, and its number among those of that place, since those that end leave requests behind.
/// It is one word, so that it is told from others at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection(u64);

impl Connection {
    pub(super) fn new(vbd: VbdId, epoch: u32) -> Self {
        Self(u64::from(vbd.0) << 32 | u64::from(epoch))
    }

    /// Whose it is.
    pub(super) const fn vbd(self) -> VbdId {
        VbdId((self.0 >> 32) as u16)
    }

    /// Its number.
    pub(super) const fn epoch(self) -> u32 {
        self.0 as u32
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Whose.
    pub(super) of: Connection,
    /// The front end's name for it.
    pub(super) id: u64,
    /// As the front end wrote it.
    pub(super) operation: u8,
    /// How far it is.
    pub(super) stage: Stage,
    /// First sector, as the front end counts.
    pub(super) sector: u64,
}

impl Job {
    /// Of work that no front end asked for.
    pub(super) const NOBODYS: Self =
        Self { of: Connection(u64::MAX), id: 0, operation: 0, stage: Stage::Only, sector: 0 };
}

/// Requests of one connection that are done, and what they had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// How many.
    pub(super) requests: u32,
    /// Pages that they held.
    pub(super) pages: usize,
    /// Bytes that they carried.
    pub(super) bytes: u64,
}

/// How many requests are under way, and boxes for more, so that none is allocated for each.
#[derive(Debug)]
pub(super) struct Jobs<B> {
    under_way: usize,
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: Vec<Box<Work<B>>>,
}

impl<B> Default for Jobs<B> {
    fn default() -> Self {
        Self { under_way: 0, spare: Vec::new() }
    }
}

impl<B> Jobs<B> {
    /// A box for one more request, without pieces yet.
    #[inline]
    pub(super) fn empty(&mut self) -> Box<Work<B>> {
        self.spare.pop().unwrap_or_else(Self::make)
    }

    #[cold]
    fn make() -> Box<Work<B>> {
        Work::own(DiskOp::Flush, 0, 0, Vec::new())
    }

    /// Takes a box back that has no pieces any more.
    #[inline]
    pub(super) fn keep(&mut self, work: Box<Work<B>>) {
        self.spare.push(work);
    }

    /// So many requests more are under way.
    pub(super) const fn begin(&mut self, count: u32) {
        self.under_way += count as usize;
    }

    /// So many are answered.
    pub(super) const fn end(&mut self, count: u32) {
        self.under_way = self.under_way.saturating_sub(count as usize);
    }

    /// How many are under way.
    pub(super) const fn len(&self) -> usize {
        self.under_way
    }
}
