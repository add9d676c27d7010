//! A front end's own changes over a disk that stays as it is.
//! Reads take from the disk what was never written here; writes never reach it.

use alloc::boxed::Box;

use super::data::Memory;
use super::disk::{DiskError, DiskOp, Finished, Outcome, Work};
use super::share::Shelf;
use super::sparse::Sparse;

/// Where a piece of work has to go.
enum Course<B> {
    /// To the disk.
    Disk(Box<Work<B>>),
    /// Nowhere: it is done.
    Done(Box<Work<B>>, Outcome),
}

/// Has an overlay do work, and what it cannot do the disk, where the sectors that it covers begin at `first`.
#[inline(never)]
pub(super) fn route<B: Memory>(
    overlay: &mut Sparse,
    first: u64,
    work: Box<Work<B>>,
    shelf: &mut Shelf<B>,
    finished: &mut Finished<B>,
) {
    match enter(overlay, work) {
        Course::Disk(work) => shelf.push_at(first, work),
        Course::Done(work, outcome) => finished.push((work, outcome)),
    }
}

/// Does with work what can be done without the disk. Sectors are the front end's.
fn enter<B: Memory>(overlay: &mut Sparse, mut work: Box<Work<B>>) -> Course<B> {
    match work.operation {
        DiskOp::Read if overlay.covers(work.sector, work.sectors) => {
            patch(overlay, &mut work);
            Course::Done(work, Ok(()))
        }
        DiskOp::Read => Course::Disk(work),
        DiskOp::Write => {
            let outcome = work.write_into(overlay).map_err(DiskError::Full);
            Course::Done(work, outcome)
        }
        // What is written lies in memory, which is as durable as it gets here.
        DiskOp::Flush => Course::Done(work, Ok(())),
        // What lies under it is seen again, and its room is free.
        DiskOp::Discard => {
            overlay.forget(work.sector, work.sectors);
            Course::Done(work, Ok(()))
        }
    }
}

/// Puts what was written here over what was read from the disk.
pub(super) fn patch<B: Memory>(overlay: &Sparse, work: &mut Work<B>) {
    work.read_from(overlay, false);
}
