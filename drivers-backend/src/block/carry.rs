//! Work on its way back: done by a disk, carried to its front end, answered.

use alloc::vec::Vec;

use hypercall_abi::blkif::BlockStatus;
use hypercall_abi::device::BlockError;
use hypercall_abi::grant_table::{CopySide, GrantStatus, copy_flags};

use super::blockback::BlockBack;
use super::disk::{DiskError, DiskOp, Outcome, Work};
use super::jobs::Stage;
use super::overlay;
use super::take::copy_of;
use crate::platform::{Buffer, Platform};

/// Copies in one hypercall.
const BATCH: usize = 64;

impl<P: Platform> BlockBack<P> {
    /// Takes back what the disks have done, and answers it.
    pub(super) fn collect(&mut self) {
        for shelf in self.disks.values_mut() {
            if core::mem::take(&mut shelf.ready) {
                while let Some(done) = shelf.disk.poll() {
                    self.finished.push(done);
                }
                shelf.feed();
                shelf.disk.kick();
            }
        }
        // A barrier's next step may be done at once, if its disk is an overlay.
        while !self.finished.is_empty() {
            let finished = core::mem::take(&mut self.finished);
            self.carry(finished);
        }
    }

    fn carry(&mut self, finished: Vec<(Work<P::Buffer>, Outcome)>) {
        let mut outgoing = Vec::new();
        for (mut work, outcome) in finished {
            let Some(job) = self.jobs.get(work.tag) else { continue };
            let Some(slot) = self.slots.get(usize::from(job.vbd)) else { continue };
            let (vbd, stage, sector) = (job.vbd, job.stage, job.sector);
            let live = slot.vbd.as_ref().filter(|_| slot.epoch == job.epoch);
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
                    let runs = &job.runs;
                    self.copies.extend(work.pieces.iter().zip(runs).map(|(piece, run)| {
                        let source = CopySide { offset: piece.offset, ..piece.page.side() };
                        let dest = CopySide {
                            frame_or_ref: run.gref.into(),
                            domid: peer.0,
                            offset: run.offset,
                            pad: 0,
                        };
                        copy_of(source, dest, run.bytes, copy_flags::DEST_GREF)
                    }));
                    outgoing.push(work);
                }
                (Ok(()), Stage::BarrierBefore, _) => {
                    self.advance(work.tag, Stage::BarrierWrite);
                    self.submit(Work { operation: DiskOp::Write, sector, ..work });
                }
                (Ok(()), Stage::BarrierWrite, _) => {
                    self.advance(work.tag, Stage::BarrierAfter);
                    self.submit(Work { operation: DiskOp::Flush, sector, ..work });
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
        self.copy();
        let copies = core::mem::take(&mut self.copies);
        let mut copies = copies.iter();
        for work in outgoing {
            let refused = copies
                .by_ref()
                .take(work.pieces.len())
                .filter(|copy| copy.status != GrantStatus::Okay.raw())
                .count();
            if refused > 0 {
                self.wrong(work.tag);
                self.answer(work, BlockStatus::Error);
            } else {
                self.answer(work, BlockStatus::Okay);
            }
        }
    }

    fn advance(&mut self, tag: u32, stage: Stage) {
        if let Some(job) = self.jobs.get_mut(tag) {
            job.stage = stage;
        }
    }

    /// Notes that a request named pages that its front end did not grant.
    pub(super) fn wrong(&mut self, tag: u32) {
        let Some(job) = self.jobs.get(tag) else { return };
        let Some(slot) = self.slots.get_mut(usize::from(job.vbd)) else { return };
        if let Some(vbd) = slot.vbd.as_mut().filter(|_| slot.epoch == job.epoch) {
            vbd.wrong += 1;
        }
    }

    /// Ends a request: its pages are free, and its front end hears of it if it is still the same connection.
    pub(super) fn answer(&mut self, work: Work<P::Buffer>, status: BlockStatus) {
        let Some(job) = self.jobs.remove(work.tag) else { return };
        self.pool.extend(work.pieces.into_iter().map(|piece| piece.page));
        self.short = false;
        let Some(slot) = self.slots.get_mut(usize::from(job.vbd)) else { return };
        let Some(vbd) = slot.vbd.as_mut().filter(|_| slot.epoch == job.epoch) else {
            self.totals.orphaned += 1;
            slot.stale = slot.stale.saturating_sub(1);
            if slot.stale == 0 {
                self.senders.add(job.vbd);
            }
            return;
        };
        vbd.in_flight = vbd.in_flight.saturating_sub(1);
        vbd.pages = vbd.pages.saturating_sub(job.pages);
        if vbd.in_flight == 0 {
            vbd.barrier = false;
        }
        if status == BlockStatus::Okay {
            vbd.wrong = 0;
            vbd.counters.bytes += job.runs.iter().map(|run| u64::from(run.bytes)).sum::<u64>();
        }
        vbd.answer(job.id, job.operation, status);
        let waits = vbd.held.is_some();
        self.totals.answered += 1;
        self.totals.failed += u64::from(status != BlockStatus::Okay);
        self.touched.add(job.vbd);
        if waits || job.stage != Stage::Only {
            self.senders.add(job.vbd);
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
