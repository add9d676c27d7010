//! Requests under way, each with the work that it became.
//! A request outlives its connection there, so that whatever a disk still does is accounted for.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::disk::{DiskOp, Work};
use super::vbd::VbdId;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has one step.
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
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Whose.
    pub(super) vbd: VbdId,
    /// Of which connection.
    pub(super) epoch: u32,
    /// The front end's name for it.
    pub(super) id: u64,
    /// As the front end wrote it.
    pub(super) operation: u8,
    /// How far it is.
    pub(super) stage: Stage,
    /// First sector, as the front end counts.
    pub(super) sector: u64,
    /// Pages that it holds.
    pub(super) pages: usize,
    /// Bytes that it carries.
    pub(super) bytes: u64,
}

impl Job {
    /// Of work that no front end asked for.
    pub(super) const NOBODYS: Self = Self {
        vbd: VbdId(u16::MAX),
        epoch: 0,
        id: 0,
        operation: 0,
        stage: Stage::Only,
        sector: 0,
        pages: 0,
        bytes: 0,
    };
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
    /// Work for one more request, without pieces yet.
    pub(super) fn begin(&mut self) -> Box<Work<B>> {
        self.under_way += 1;
        self.spare.pop().unwrap_or_else(|| Work::own(DiskOp::Flush, 0, 0, Vec::new()))
    }

    /// A request is answered; its work has no pieces any more.
    pub(super) fn end(&mut self, work: Box<Work<B>>) {
        self.under_way = self.under_way.saturating_sub(1);
        self.spare.push(work);
    }

    /// How many are under way.
    pub(super) const fn len(&self) -> usize {
        self.under_way
    }
}
