//! Requests on their way from front ends to disks: taken, judged, fetched, submitted.
//! Copies are gathered over many requests and front ends, so that a hypercall carries as many as it can.

use alloc::vec::Vec;

use hypercall_abi::blkif::{BlockOp, BlockRequest, BlockSegment, BlockStatus};
use hypercall_abi::device::BlockError;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, copy_flags};
use zerocopy::FromBytes;

use super::SEGMENTS_MAX;
use super::blockback::BlockBack;
use super::disk::{DiskOp, Piece, Work};
use super::jobs::{Job, Stage};
use super::overlay::{self, Course};
use super::request::{self, Asked, Run, Wrong};
use super::share::Access;
use super::vbd::VbdId;
use crate::platform::{Buffer, Platform};

/// Requests that one front end may begin in one turn.
const BUDGET: usize = 16;
/// Pages that one front end's requests may begin with in one turn, unless the first takes more: a long request is worth
/// many short ones.
const PAGES_BUDGET: usize = 64;
/// Copies after which a turn takes no more.
const GATHER: usize = 256;
/// Wrong requests in a row that end a connection.
const WRONG_MAX: u32 = 64;

/// How far one front end's ring was taken.
enum Taken {
    /// It has nothing more, or a completion will bring us back.
    Drained,
    /// Its budget is used up.
    More,
    /// There are no pages.
    Short,
}

/// Work whose data is still to be fetched.
type Incoming<B> = Vec<(Work<B>, usize)>;

impl<P: Platform> BlockBack<P> {
    /// Takes requests from the front ends that have asked, each in turn and within its budget.
    pub(super) fn take_requests(&mut self) {
        let mut incoming = Vec::new();
        for _ in 0..self.senders.len() {
            if self.short || self.copies.len() >= GATHER {
                break;
            }
            let Some(id) = self.senders.take() else { break };
            let taken = self.take_from(id, &mut incoming);
            self.touched.add(id);
            match taken {
                Ok(Taken::Drained) => {}
                Ok(Taken::More) => self.senders.add(id),
                Ok(Taken::Short) => {
                    self.senders.put_back(id);
                    self.short = true;
                }
                Err(error) => self.fail(id, error),
            }
        }
        self.copy();
        let copies = core::mem::take(&mut self.copies);
        let mut copies = copies.iter();
        for (work, count) in incoming {
            let fetched = copies.by_ref().take(count).filter(|copy| copy.status != GrantStatus::Okay.raw());
            if fetched.count() > 0 {
                self.wrong(work.tag);
                self.answer(work, BlockStatus::Error);
            } else {
                self.submit(work);
            }
        }
    }

    fn take_from(&mut self, id: VbdId, incoming: &mut Incoming<P::Buffer>) -> Result<Taken, BlockError> {
        let mut begun = 0;
        for _ in 0..BUDGET {
            let Some(slot) = self.slots.get_mut(usize::from(id)) else { return Ok(Taken::Drained) };
            let (stale, epoch) = (slot.stale, slot.epoch);
            let Some(vbd) = &mut slot.vbd else { return Ok(Taken::Drained) };
            if vbd.barrier || stale > 0 {
                return Ok(Taken::Drained);
            }
            if vbd.wrong > WRONG_MAX {
                return Err(BlockError::Requests);
            }
            let request = match vbd.held.take() {
                Some(request) => request,
                None => {
                    let Some(wire) = vbd.link.mapped() else { return Ok(Taken::Drained) };
                    match wire.ring.pop().map_err(|_| BlockError::Overrun)? {
                        Some(request) => request,
                        None => return Ok(Taken::Drained),
                    }
                }
            };
            let asked = match self.judge(id, &request) {
                Ok(asked) => asked,
                Err(status) => {
                    let Some(vbd) = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut())
                    else {
                        return Ok(Taken::Drained);
                    };
                    vbd.wrong += 1;
                    vbd.answer(request.id, request.operation, status);
                    self.totals.answered += 1;
                    self.totals.failed += 1;
                    continue;
                }
            };
            let Some(vbd) = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut()) else {
                return Ok(Taken::Drained);
            };
            let is_barrier = request.operation == BlockOp::WriteBarrier.raw();
            if is_barrier && vbd.in_flight > 0 {
                vbd.held = Some(request);
                return Ok(Taken::Drained);
            }
            let need = asked.runs.len();
            if need > self.pool.len() {
                vbd.held = Some(request);
                return Ok(Taken::Short);
            }
            if begun > 0 && begun + need > PAGES_BUDGET {
                vbd.held = Some(request);
                return Ok(Taken::More);
            }
            begun += need;
            // Nobody takes more than half of what is left, so that a flood finds its end before its neighbours do.
            if vbd.pages > 0 && vbd.pages + need > (self.pool.len() + vbd.pages) / 2 {
                vbd.held = Some(request);
                return Ok(Taken::Drained);
            }
            vbd.in_flight += 1;
            vbd.pages += need;
            vbd.barrier = is_barrier;
            let peer = vbd.client.peer;
            let taken = self.pool.split_off(self.pool.len() - need).into_iter();
            let pieces: Vec<_> = taken
                .zip(&asked.runs)
                .map(|(page, run)| Piece { page, offset: run.offset, bytes: run.bytes })
                .collect();
            let fetch = asked.operation == DiskOp::Write;
            if fetch {
                self.copies.extend(pieces.iter().zip(&asked.runs).map(|(piece, run)| {
                    let source =
                        CopySide { frame_or_ref: run.gref.into(), domid: peer.0, offset: run.offset, pad: 0 };
                    let dest = CopySide { offset: piece.offset, ..piece.page.side() };
                    copy_of(source, dest, run.bytes, copy_flags::SOURCE_GREF)
                }));
            }
            let stage = match (is_barrier, asked.operation) {
                (false, _) => Stage::Only,
                (true, DiskOp::Write) => Stage::BarrierBefore,
                (true, _) => Stage::BarrierAfter,
            };
            let tag = self.jobs.add(Job {
                vbd: id,
                epoch,
                id: request.id,
                operation: request.operation,
                runs: asked.runs,
                stage,
                sector: asked.sector,
                pages: need,
            });
            let Judged { operation, sector, sectors, .. } = asked;
            let work = Work { tag, operation, sector, sectors, pieces };
            incoming.push((work, if fetch { need } else { 0 }));
        }
        Ok(Taken::More)
    }

    /// Judges a request against what its front end may do.
    fn judge(&mut self, id: VbdId, request: &BlockRequest) -> Result<Judged, BlockStatus> {
        let slot = self.slots.get(usize::from(id)).and_then(|slot| slot.vbd.as_ref());
        let client = slot.ok_or(BlockStatus::Error)?.client;
        let asked = request::decode(request, SEGMENTS_MAX).map_err(|wrong| match wrong {
            Wrong::Operation => BlockStatus::NotSupported,
            Wrong::Count | Wrong::Segment => BlockStatus::Error,
        })?;
        let (operation, sector, runs) = match asked {
            Asked::Transfer { operation, sector, runs } => (operation, sector, runs),
            Asked::Indirect { operation, sector, segments, pages } => {
                (operation, sector, self.fetch_segments(client.peer.0, segments, &pages)?)
            }
            Asked::Flush => (BlockOp::Flush, 0, Vec::new()),
            Asked::Discard { sector, sectors } => {
                let can = self.disks.get(&client.share.disk).is_some_and(|shelf| shelf.disk.can_discard());
                if client.share.access != Access::Write || !can {
                    return Err(BlockStatus::NotSupported);
                }
                let end = sector.checked_add(sectors).ok_or(BlockStatus::Error)?;
                if end > client.share.sectors || sectors == 0 {
                    return Err(BlockStatus::Error);
                }
                return Ok(Judged { operation: DiskOp::Discard, sector, sectors, runs: Vec::new() });
            }
        };
        let sectors = request::sectors(&runs);
        let end = sector.checked_add(sectors).ok_or(BlockStatus::Error)?;
        let writes = matches!(operation, BlockOp::Write | BlockOp::WriteBarrier);
        if end > client.share.sectors || writes && client.share.access == Access::Read {
            return Err(BlockStatus::Error);
        }
        if operation == BlockOp::Flush && client.share.access == Access::Read {
            return Err(BlockStatus::NotSupported);
        }
        let operation = match operation {
            BlockOp::Read => DiskOp::Read,
            BlockOp::Write | BlockOp::WriteBarrier if !runs.is_empty() => DiskOp::Write,
            _ => DiskOp::Flush,
        };
        Ok(Judged { operation, sector, sectors, runs })
    }

    /// Copies the segments of an indirect request out of its front end and judges them.
    fn fetch_segments(&mut self, peer: u16, segments: usize, pages: &[u32]) -> Result<Vec<Run>, BlockStatus> {
        // What a back end tells is the most fits in one page.
        const { assert!(SEGMENTS_MAX <= hypercall_abi::blkif::SEGMENTS_PER_PAGE) }
        let bytes = segments * size_of::<BlockSegment>();
        let (Some(gref), Ok(len)) = (pages.first(), u16::try_from(bytes)) else {
            return Err(BlockStatus::Error);
        };
        let source = CopySide { frame_or_ref: u64::from(*gref), domid: peer, offset: 0, pad: 0 };
        let mut copy = [copy_of(source, self.scratch.side(), len, copy_flags::SOURCE_GREF)];
        self.platform.copy(&mut copy);
        self.totals.copies += 1;
        self.totals.batches += 1;
        if copy.iter().any(|copy| copy.status != GrantStatus::Okay.raw()) {
            return Err(BlockStatus::Error);
        }
        let segments = self.scratch.read(|page| {
            let entries = page.chunks_exact(size_of::<BlockSegment>()).take(segments);
            entries.filter_map(|bytes| BlockSegment::read_from_bytes(bytes).ok()).collect::<Vec<_>>()
        });
        request::runs(segments.iter()).map_err(|_| BlockStatus::Error)
    }

    /// Gives work to its front end's overlay or disk.
    pub(super) fn submit(&mut self, mut work: Work<P::Buffer>) {
        let Some(job) = self.jobs.get(work.tag) else { return };
        let Some(slot) = self.slots.get_mut(usize::from(job.vbd)) else { return };
        let Some(vbd) = slot.vbd.as_ref().filter(|_| slot.epoch == job.epoch) else {
            // Its connection has ended before anything was begun.
            self.answer(work, BlockStatus::Error);
            return;
        };
        let before = job.stage == Stage::BarrierBefore;
        let share = vbd.client.share;
        if let Some((_, overlay)) = &mut slot.overlay {
            if before {
                self.finished.push((work, Ok(())));
                return;
            }
            match overlay::enter(overlay, work) {
                Course::Disk(rest) => work = rest,
                Course::Done(work, outcome) => {
                    self.finished.push((work, outcome));
                    return;
                }
            }
        }
        let Some(shelf) = self.disks.get_mut(&share.disk) else { return };
        if before {
            // The data waits with the flush that comes before it.
            let Work { tag, sector, sectors, pieces, .. } = work;
            shelf.submit(Work { tag, operation: DiskOp::Flush, sector, sectors, pieces });
            return;
        }
        work.sector = work.sector.saturating_add(share.first);
        shelf.submit(work);
    }
}

/// A request that was found right.
struct Judged {
    operation: DiskOp,
    sector: u64,
    sectors: u64,
    runs: Vec<Run>,
}

/// A copy that has not been made.
pub(super) const fn copy_of(source: CopySide, dest: CopySide, len: u16, flags: u16) -> CopyGrant {
    CopyGrant { source, dest, len, flags, status: GrantStatus::GeneralError.raw(), pad: 0 }
}
