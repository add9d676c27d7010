//! Work on its way back: done by a disk, carried to its front end, answered.

use alloc::boxed::Box;
use alloc::vec::{Drain, Vec};

use hypercall_abi::blkif::BlockStatus;
use hypercall_abi::device::BlockError;
use hypercall_abi::grant_table::{CopySide, GrantStatus, copy_flags};

use super::blockback::BlockBack;
use super::copies::{Copied, copy_of, theirs_at};
use super::data::Data;
use super::disk::{DiskError, DiskOp, Finished, Outcome, Piece, Work};
use super::jobs::{Done, Job, Stage};
use super::lent::unmap_last;
use super::overlay;
use super::slot::Slot;
use super::vbd::VbdId;
use crate::platform::{Buffer, Platform};

impl<P: Platform> BlockBack<P> {
    /// Takes back what the disks have done, and answers it.
    pub(super) fn collect(&mut self) {
        for shelf in &mut self.disks {
            shelf.take_back(&mut self.finished);
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

    /// Answers what is done: in runs of one connection what needs no more than that, the rest one by one.
    fn carry(&mut self, finished: &mut Finished<Data<P>>) {
        let mut outgoing = Vec::new();
        let mut finished = finished.drain(..);
        let mut next = finished.next();
        while let Some((work, outcome)) = next {
            next = if outcome.is_ok() && work.job.stage == Stage::InPlace {
                self.answer_in_place(work, &mut finished)
            } else {
                self.carry_one(work, outcome, &mut outgoing);
                finished.next()
            };
        }
        if !outgoing.is_empty() {
            self.bring(outgoing);
        }
    }

    /// Answers work whose data is where its front end wanted it, and all work like that of the same connection that follows it.
    /// Returns what comes then.
    #[inline]
    fn answer_in_place(
        &mut self,
        mut work: Box<Work<Data<P>>>,
        finished: &mut Drain<'_, (Box<Work<Data<P>>>, Outcome)>,
    ) -> Option<(Box<Work<Data<P>>>, Outcome)> {
        let of = work.job.of;
        let Some(Slot { vbd: Some(vbd), epoch, .. }) = self.slots.get_mut(usize::from(of.vbd())) else {
            return self.orphan(work, finished);
        };
        let Some(wire) = vbd.link.mapped().filter(|_| *epoch == of.epoch()) else {
            return self.orphan(work, finished);
        };
        let mut done = Done::default();
        let next = loop {
            wire.answer(work.job.id, work.job.operation, BlockStatus::Okay);
            release(&mut work, &mut done, (&mut self.platform, &mut self.pool, &mut self.lent));
            self.jobs.keep(work);
            match finished.next() {
                Some((more, Ok(()))) if more.job.of == of && more.job.stage == Stage::InPlace => work = more,
                other => break other,
            }
        };
        let waits = vbd.done(&done, BlockStatus::Okay);
        self.ended(of.vbd(), &done, waits);
        next
    }

    /// Ends work whose connection is gone. Returns what comes then.
    #[cold]
    fn orphan(
        &mut self,
        work: Box<Work<Data<P>>>,
        finished: &mut Drain<'_, (Box<Work<Data<P>>>, Outcome)>,
    ) -> Option<(Box<Work<Data<P>>>, Outcome)> {
        self.answer(work, BlockStatus::Error);
        finished.next()
    }

    /// Answers work, or takes its next step, or gathers copies that it needs before it is answered.
    #[inline(never)]
    fn carry_one(&mut self, mut work: Box<Work<Data<P>>>, outcome: Outcome, outgoing: &mut Copied<P>) {
        let Job { of, stage, sector, .. } = work.job;
        let Some(slot) = self.slots.get(usize::from(of.vbd())) else { return };
        let live = slot.vbd.as_ref().filter(|_| slot.epoch == of.epoch());
        let Some(peer) = live.map(|vbd| vbd.client.peer) else {
            return self.answer(work, BlockStatus::Error);
        };
        match (outcome, stage, work.operation) {
            (Ok(()), Stage::Only, DiskOp::Read) => {
                if let Some((_, overlay)) = &slot.overlay {
                    work.sector = sector;
                    overlay::patch(overlay, &mut work);
                }
                match self.gather_out(peer.0, &work) {
                    0 => self.answer(work, BlockStatus::Okay),
                    copies => {
                        if let Some(Slot { vbd: Some(vbd), .. }) = self.slots.get_mut(usize::from(of.vbd())) {
                            vbd.counters.copied += copies as u64;
                        }
                        self.note_copied(outgoing, work, copies);
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
                if let DiskError::Full(why) = error {
                    self.note_full(of.vbd(), why);
                }
                self.answer(
                    work,
                    match error {
                        DiskError::NotSupported => BlockStatus::NotSupported,
                        DiskError::Failed | DiskError::Full(_) => BlockStatus::Error,
                    },
                );
            }
        }
    }

    /// Has copied to front ends what was read for them, and answers that.
    #[inline(never)]
    fn bring(&mut self, mut outgoing: Copied<P>) {
        self.copy();
        let copies = core::mem::take(&mut self.copies);
        let mut left = copies.iter();
        for (work, count) in outgoing.drain(..) {
            let refused = left.by_ref().take(count).filter(|copy| copy.status != GrantStatus::Okay.raw());
            if refused.count() > 0 {
                self.wrong(&work.job);
                self.answer(work, BlockStatus::Error);
            } else {
                self.answer(work, BlockStatus::Okay);
            }
        }
        self.reuse(copies, outgoing);
    }

    /// Gathers the copies of what was read to where it is wanted; returns how many those are.
    fn gather_out(&mut self, peer: u16, work: &Work<Data<P>>) -> usize {
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

    /// Notes that a request named pages that its front end did not grant.
    pub(super) fn wrong(&mut self, job: &Job) {
        let Some(slot) = self.slots.get_mut(usize::from(job.of.vbd())) else { return };
        if let Some(vbd) = slot.vbd.as_mut().filter(|_| slot.epoch == job.of.epoch()) {
            vbd.wrong += 1;
        }
    }

    /// Ends a request: its pages are free, and its front end hears of it if it is still the same connection.
    #[inline(never)]
    pub(super) fn answer(&mut self, mut work: Box<Work<Data<P>>>, status: BlockStatus) {
        let mut done = Done::default();
        release(&mut work, &mut done, (&mut self.platform, &mut self.pool, &mut self.lent));
        self.close(&work.job, &done, status);
        self.jobs.keep(work);
    }

    /// Notes that a request is done, and tells its front end.
    fn close(&mut self, job: &Job, done: &Done, status: BlockStatus) {
        let (id, epoch) = (job.of.vbd(), job.of.epoch());
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return self.free(done) };
        let Some(vbd) = slot.vbd.as_mut().filter(|_| slot.epoch == epoch) else {
            self.totals.orphaned += 1;
            slot.stale = slot.stale.saturating_sub(1);
            if slot.stale == 0 {
                if let Some(vbd) = &mut slot.vbd {
                    vbd.drained(&mut self.platform);
                }
                self.states.add(id);
                self.senders.add(id);
            }
            return self.free(done);
        };
        vbd.answer(job.id, job.operation, status);
        let waits = vbd.done(done, status);
        self.totals.failed += u64::from(status != BlockStatus::Okay);
        self.ended(id, done, waits || job.stage.is_barrier());
    }

    /// Requests are answered; their front end sees that at the end of the turn, and may have one that waited for them.
    #[inline(always)]
    fn ended(&mut self, id: VbdId, done: &Done, waits: bool) {
        self.free(done);
        self.totals.answered += u64::from(done.requests);
        self.touched.add(id);
        if waits {
            self.senders.add(id);
        }
    }

    /// What requests had is there for others again.
    #[inline]
    fn free(&mut self, done: &Done) {
        self.jobs.end(done.requests);
        self.room += done.pages;
        self.short = false;
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

/// Counts a request as done, and gives up the pages that its data travelled in. `lent` counts those that are mapped.
#[inline(always)]
fn release<P: Platform>(
    work: &mut Work<Data<P>>,
    done: &mut Done,
    (platform, pool, lent): (&mut P, &mut Vec<P::Buffer>, &mut usize),
) {
    done.requests += 1;
    for piece in work.pieces.drain(..) {
        done.pages += 1;
        done.bytes += u64::from(piece.bytes);
        match piece.page {
            Data::Theirs(page) => {
                let _last = unmap_last(platform, page, lent);
            }
            Data::Ours { page, .. } => pool.push(page),
        }
    }
}
