//! Work on its way back: done by a disk, carried to its front end, answered.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypercall_abi::blkif::BlockStatus;
use hypercall_abi::device::BlockError;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, copy_flags};

use super::blockback::{BlockBack, Slot};
use super::data::Data;
use super::disk::{DiskError, DiskOp, Outcome, Piece, Work};
use super::jobs::{Job, Stage};
use super::lent::unmap_last;
use super::overlay;
use super::take::{copy_of, theirs_at};
use super::vbd::VbdId;
use crate::platform::{Buffer, Platform};

/// Copies in one hypercall.
const BATCH: usize = 64;

impl<P: Platform> BlockBack<P> {
    /// Takes back what the disks have done, and answers it.
    pub(super) fn collect(&mut self) {
        for at in 0..self.disks.len() {
            if self.disks.get_mut(at).is_some_and(|shelf| core::mem::take(&mut shelf.ready)) {
                self.take_back(at);
            }
        }
        // A barrier's next step may be done at once, if its disk is an overlay.
        while !self.finished.is_empty() {
            let mut finished = core::mem::take(&mut self.finished);
            self.carry(&mut finished);
            if self.finished.is_empty() {
                self.finished = finished;
            }
        }
    }

    /// Takes back what one disk has done.
    #[inline]
    fn take_back(&mut self, at: usize) {
        while let Some((work, outcome)) = self.disks.get_mut(at).and_then(|shelf| shelf.disk.poll()) {
            let left = if outcome.is_ok() { self.answer_in_place(work) } else { Some(work) };
            if let Some(work) = left {
                self.finished.push((work, outcome));
            }
        }
        if let Some(shelf) = self.disks.get_mut(at) {
            shelf.feed();
            shelf.disk.kick();
        }
    }

    /// Answers work that is done if what its front end wanted is where it wanted it, as it nearly always is; otherwise returns
    /// it.
    #[inline]
    fn answer_in_place(&mut self, mut work: Box<Work<Data<P>>>) -> Option<Box<Work<Data<P>>>> {
        let job = &work.job;
        let Some(Slot { vbd: Some(vbd), overlay: None, epoch, .. }) =
            self.slots.get_mut(usize::from(job.vbd))
        else {
            return Some(work);
        };
        if *epoch != job.epoch || job.stage != Stage::Only || !work.is_in_place() {
            return Some(work);
        }
        let waits = vbd.done(job, BlockStatus::Okay);
        while let Some(piece) = work.pieces.pop() {
            if let Data::Theirs(page) = piece.page {
                let _last = unmap_last(&mut self.platform, page, &mut self.lent);
            }
        }
        let Job { vbd: id, pages, .. } = work.job;
        self.free(pages);
        self.answered(id, waits);
        self.jobs.end(work);
        None
    }

    #[inline(never)]
    fn carry(&mut self, finished: &mut Vec<(Box<Work<Data<P>>>, Outcome)>) {
        let mut outgoing = Vec::new();
        for (mut work, outcome) in finished.drain(..) {
            let Job { vbd, stage, sector, epoch, .. } = work.job;
            let Some(slot) = self.slots.get(usize::from(vbd)) else { continue };
            let live = slot.vbd.as_ref().filter(|_| slot.epoch == epoch);
            let Some(peer) = live.map(|vbd| vbd.client.peer) else {
                self.answer(work, BlockStatus::Error);
                continue;
            };
            match (outcome, stage, work.operation) {
                (Ok(()), Stage::Only, DiskOp::Read) => {
                    if let Some((_, overlay)) = &slot.overlay {
                        work.sector = sector;
                        overlay::patch(overlay, &mut work);
                    }
                    match self.bring(peer.0, &work) {
                        0 => self.answer(work, BlockStatus::Okay),
                        copies => {
                            if let Some(Slot { vbd: Some(vbd), .. }) = self.slots.get_mut(usize::from(vbd)) {
                                vbd.counters.copied += copies as u64;
                            }
                            outgoing.push((work, copies));
                        }
                    }
                }
                (Ok(()), Stage::BarrierBefore, _) => {
                    work.job.stage = Stage::BarrierWrite;
                    (work.operation, work.sector) = (DiskOp::Write, sector);
                    self.submit(work);
                }
                (Ok(()), Stage::BarrierWrite, _) => {
                    work.job.stage = Stage::BarrierAfter;
                    (work.operation, work.sector) = (DiskOp::Flush, sector);
                    self.submit(work);
                }
                (Ok(()), _, _) => self.answer(work, BlockStatus::Okay),
                (Err(error), _, _) => {
                    if error == DiskError::Full {
                        self.note_full(vbd);
                    }
                    self.answer(
                        work,
                        match error {
                            DiskError::NotSupported => BlockStatus::NotSupported,
                            DiskError::Failed | DiskError::Full => BlockStatus::Error,
                        },
                    );
                }
            }
        }
        if outgoing.is_empty() {
            return;
        }
        self.copy();
        let copies = core::mem::take(&mut self.copies);
        let mut left = copies.iter();
        for (work, count) in outgoing {
            let refused = left.by_ref().take(count).filter(|copy| copy.status != GrantStatus::Okay.raw());
            if refused.count() > 0 {
                self.wrong(&work.job);
                self.answer(work, BlockStatus::Error);
            } else {
                self.answer(work, BlockStatus::Okay);
            }
        }
        self.reuse(copies);
    }

    /// Has what was read copied to where it is wanted; returns how many copies that takes.
    fn bring(&mut self, peer: u16, work: &Work<Data<P>>) -> usize {
        let before = self.copies.len();
        for Piece { page, offset, bytes } in &work.pieces {
            if let Data::Ours { page, reference: Some(reference) } = page {
                let source = CopySide { offset: *offset, ..page.side() };
                let dest = theirs_at(peer, *reference, *offset);
                self.copies.push(copy_of(source, dest, *bytes, copy_flags::DEST_GREF));
            }
        }
        self.copies.len() - before
    }

    /// Takes a list of copies that were made for the next ones.
    pub(super) fn reuse(&mut self, mut copies: Vec<CopyGrant>) {
        if self.copies.is_empty() {
            copies.clear();
            self.copies = copies;
        }
    }

    /// Notes that a request named pages that its front end did not grant.
    pub(super) fn wrong(&mut self, job: &Job) {
        let Some(slot) = self.slots.get_mut(usize::from(job.vbd)) else { return };
        if let Some(vbd) = slot.vbd.as_mut().filter(|_| slot.epoch == job.epoch) {
            vbd.wrong += 1;
        }
    }

    /// Ends a request: its pages are free, and its front end hears of it if it is still the same connection.
    pub(super) fn answer(&mut self, mut work: Box<Work<Data<P>>>, status: BlockStatus) {
        while let Some(piece) = work.pieces.pop() {
            match piece.page {
                Data::Ours { page, .. } => self.pool.push(page),
                Data::Theirs(page) => {
                    let _last = unmap_last(&mut self.platform, page, &mut self.lent);
                }
            }
        }
        self.close(&work.job, status);
        self.jobs.end(work);
    }

    /// Notes that a request is done, and tells its front end.
    fn close(&mut self, job: &Job, status: BlockStatus) {
        self.free(job.pages);
        let Some(slot) = self.slots.get_mut(usize::from(job.vbd)) else { return };
        let Some(vbd) = slot.vbd.as_mut().filter(|_| slot.epoch == job.epoch) else {
            self.totals.orphaned += 1;
            slot.stale = slot.stale.saturating_sub(1);
            if slot.stale == 0 {
                if let Some(vbd) = &mut slot.vbd {
                    vbd.drained(&mut self.platform);
                }
                self.states.add(job.vbd);
                self.senders.add(job.vbd);
            }
            return;
        };
        let waits = vbd.done(job, status);
        self.totals.failed += u64::from(status != BlockStatus::Okay);
        self.answered(job.vbd, waits || job.stage != Stage::Only);
    }

    /// So many pages are there for others again.
    #[inline]
    fn free(&mut self, pages: usize) {
        self.room += pages;
        self.short = false;
    }

    /// A request is answered; its front end sees that at the end of the turn, and may have one that waited for it.
    #[inline]
    fn answered(&mut self, id: VbdId, waits: bool) {
        self.totals.answered += 1;
        self.touched.add(id);
        if waits {
            self.senders.add(id);
        }
    }

    /// Carries out the copies that were gathered.
    pub(super) fn copy(&mut self) {
        for batch in self.copies.chunks_mut(BATCH) {
            self.totals.copies += batch.len() as u64;
            self.totals.batches += 1;
            self.platform.copy(batch);
        }
    }

    /// Gives each disk a last look before the back end sleeps; true if one has done something.
    pub(super) fn rest(&mut self) -> bool {
        for shelf in &mut self.disks {
            shelf.ready |= shelf.disk.rest();
        }
        self.disks.iter().any(|shelf| shelf.ready)
    }

    /// Shows everybody what was done, and asks to be told of what comes next.
    pub(super) fn finish(&mut self) {
        while let Some(id) = self.touched.take() {
            let Some(slot) = self.slots.get_mut(usize::from(id)) else { continue };
            let stale = slot.stale > 0;
            let Some(vbd) = &mut slot.vbd else { continue };
            vbd.publish(&mut self.platform);
            // A completion brings us back to these.
            if stale || vbd.barrier || vbd.held.is_some() {
                continue;
            }
            match vbd.link.mapped().map(|wire| wire.ring.arm()) {
                Some(Ok(true)) => self.senders.add(id),
                Some(Ok(false)) | None => {}
                Some(Err(_)) => self.fail(id, BlockError::Overrun),
            }
        }
    }
}
