//! Requests on their way from front ends to disks: taken, judged, fetched, submitted.
//! A disk uses a front end's page where it is, if that is mapped; copies are gathered over many requests and front ends, so
//! that a hypercall carries as many as it can.

use alloc::vec::Vec;

use hypercall_abi::GrantRef;
use hypercall_abi::blkif::{BlockOp, BlockRequest, BlockSegment, BlockStatus};
use hypercall_abi::device::BlockError;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, copy_flags};
use hypercall_abi::ring::SharedPage;
use zerocopy::FromBytes;

use super::SEGMENTS_MAX;
use super::blockback::BlockBack;
use super::credit::cost;
use super::data::Data;
use super::disk::{DiskOp, Piece, Work};
use super::jobs::{Job, Stage};
use super::overlay::{self, Course};
use super::request::{self, Asked, Wrong};
use super::share::Access;
use super::vbd::VbdId;
use crate::platform::{Buffer, Platform};

/// Requests that one front end may begin in one turn: a ring full, so that those of one that asks alone go to the disk together.
const BUDGET: usize = 32;
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

/// What became of a request that was found right.
enum Begun<M> {
    /// Work for a disk, and how many of its pages are still to be fetched.
    Work(Work<M>, usize),
    /// Not yet.
    Held(Taken),
}

/// Work whose data is still to be fetched.
type Incoming<P> = Vec<(Work<Data<P>>, usize)>;

impl<P: Platform> BlockBack<P> {
    /// Takes requests from the front ends that have asked, each in turn and within its budget.
    pub(super) fn take_requests(&mut self) {
        let mut incoming = Vec::new();
        self.rounds.turn();
        for _ in 0..self.senders.len() {
            if self.short || self.copies.len() >= GATHER {
                break;
            }
            let Some(id) = self.senders.take() else { break };
            if !self.give_credit(id) {
                self.senders.add(id);
                continue;
            }
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
        if incoming.is_empty() {
            return;
        }
        self.copy();
        let copies = core::mem::take(&mut self.copies);
        let mut left = copies.iter();
        for (work, count) in incoming {
            let fetched = left.by_ref().take(count).filter(|copy| copy.status != GrantStatus::Okay.raw());
            if fetched.count() > 0 {
                self.wrong(work.tag);
                self.answer(work, BlockStatus::Error);
            } else {
                self.submit(work);
            }
        }
        self.reuse(copies);
    }

    fn take_from(&mut self, id: VbdId, incoming: &mut Incoming<P>) -> Result<Taken, BlockError> {
        let mut begun = 0;
        for _ in 0..BUDGET {
            let Some(slot) = self.slots.get_mut(usize::from(id)) else { return Ok(Taken::Drained) };
            let stale = slot.stale;
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
                        None => {
                            vbd.credit.end();
                            return Ok(Taken::Drained);
                        }
                    }
                }
            };
            match self.judge(id, &request) {
                Err(status) => self.refuse_request(id, &request, status),
                Ok(judged) => match self.begin(id, request, judged, &mut begun) {
                    Begun::Held(taken) => return Ok(taken),
                    Begun::Work(work, 0) => self.submit(work),
                    Begun::Work(work, fetch) => incoming.push((work, fetch)),
                },
            }
        }
        Ok(Taken::More)
    }

    fn refuse_request(&mut self, id: VbdId, request: &BlockRequest, status: BlockStatus) {
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return };
        let Some(vbd) = &mut slot.vbd else { return };
        vbd.wrong += 1;
        vbd.answer(request.id, request.operation, status);
        self.totals.answered += 1;
        self.totals.failed += 1;
    }

    /// Makes a request that was judged, with its runs, into work; or holds it. `begun` counts pages.
    fn begin(
        &mut self,
        id: VbdId,
        request: BlockRequest,
        judged: Judged,
        begun: &mut usize,
    ) -> Begun<Data<P>> {
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return Begun::Held(Taken::Drained) };
        let epoch = slot.epoch;
        let Some(vbd) = &mut slot.vbd else { return Begun::Held(Taken::Drained) };
        let is_barrier = request.operation == BlockOp::WriteBarrier.raw();
        let need = self.runs.len();
        // Nobody takes more than half of what is left, so that a flood finds its end before its neighbours do.
        let greedy = vbd.pages > 0 && vbd.pages + need > (self.room + vbd.pages) / 2;
        let hold = match () {
            () if is_barrier && vbd.in_flight > 0 => Some(Taken::Drained),
            () if need > self.room => Some(Taken::Short),
            () if *begun > 0 && *begun + need > PAGES_BUDGET => Some(Taken::More),
            () if greedy => Some(Taken::Drained),
            () if !vbd.credit.spend(cost(need)) => Some(Taken::More),
            () => None,
        };
        if let Some(taken) = hold {
            vbd.held = Some(request);
            return Begun::Held(taken);
        }
        *begun += need;
        vbd.in_flight += 1;
        vbd.pages += need;
        vbd.barrier = is_barrier;
        self.room -= need;
        let Judged { operation, sector, sectors } = judged;
        let stage = match (is_barrier, operation) {
            (false, _) => Stage::Only,
            (true, DiskOp::Write) => Stage::BarrierBefore,
            (true, _) => Stage::BarrierAfter,
        };
        let bytes = self.runs.iter().map(|run| u64::from(run.bytes)).sum();
        let (pieces, fetch) = self.gather(id, operation == DiskOp::Write);
        let job = Job {
            vbd: id,
            epoch,
            id: request.id,
            operation: request.operation,
            stage,
            sector,
            pages: need,
            bytes,
        };
        let tag = self.jobs.add(job);
        self.note_work(id, cost(need));
        Begun::Work(Work { tag, operation, sector, sectors, pieces }, fetch)
    }

    /// Finds a place for each run of the request that was judged: the front end's own page if it can be mapped, else one of
    /// ours, to be filled by a copy if `fetch`. Returns how many copies that takes.
    fn gather(&mut self, id: VbdId, fetch: bool) -> (Vec<Piece<Data<P>>>, usize) {
        let mut pieces = self.spare.pop().unwrap_or_default();
        let before = self.copies.len();
        let Some(vbd) = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut()) else {
            return (pieces, 0);
        };
        let peer = vbd.client.peer;
        for run in &self.runs {
            let (reference, offset, bytes) = (run.reference, run.offset, run.bytes);
            let theirs = vbd
                .link
                .mapped()
                .and_then(|wire| wire.lent.page(&mut self.platform, peer, reference, &mut self.lent));
            if let Some(page) = theirs {
                self.totals.in_place += 1;
                vbd.counters.in_place += 1;
                pieces.push(Piece { page: Data::Theirs(page), offset, bytes });
                continue;
            }
            // There is a page of ours for each that may be begun with.
            let Some(page) = self.pool.pop() else { break };
            if fetch {
                let dest = CopySide { offset, ..page.side() };
                let source = theirs_at(peer.0, reference, offset);
                self.copies.push(copy_of(source, dest, bytes, copy_flags::SOURCE_GREF));
            }
            pieces.push(Piece { page: Data::Ours { page, reference: Some(reference) }, offset, bytes });
        }
        let copies = self.copies.len() - before;
        vbd.counters.copied += copies as u64;
        (pieces, copies)
    }

    /// Judges a request against what its front end may do. Its runs are those that were found then.
    fn judge(&mut self, id: VbdId, request: &BlockRequest) -> Result<Judged, BlockStatus> {
        let slot = self.slots.get(usize::from(id)).and_then(|slot| slot.vbd.as_ref());
        let share = slot.ok_or(BlockStatus::Error)?.client.share;
        let asked = request::decode(request, &mut self.runs).map_err(|wrong| match wrong {
            Wrong::Operation => BlockStatus::NotSupported,
            Wrong::Count | Wrong::Segment => BlockStatus::Error,
        })?;
        let (operation, sector) = match asked {
            Asked::Transfer { operation, sector } => (operation, sector),
            Asked::Indirect { operation, sector, segments, page } => {
                self.fetch_segments(id, segments, GrantRef(page))?;
                (operation, sector)
            }
            Asked::Flush => (BlockOp::Flush, 0),
            Asked::Discard { sector, sectors } => {
                let can = self.disks.get(&share.disk).is_some_and(|shelf| shelf.disk.can_discard());
                if share.access != Access::Write || !can {
                    return Err(BlockStatus::NotSupported);
                }
                let end = sector.checked_add(sectors).ok_or(BlockStatus::Error)?;
                if end > share.sectors || sectors == 0 {
                    return Err(BlockStatus::Error);
                }
                return Ok(Judged { operation: DiskOp::Discard, sector, sectors });
            }
        };
        let sectors = request::sectors(&self.runs);
        let end = sector.checked_add(sectors).ok_or(BlockStatus::Error)?;
        let writes = matches!(operation, BlockOp::Write | BlockOp::WriteBarrier);
        if end > share.sectors || writes && share.access == Access::Read {
            return Err(BlockStatus::Error);
        }
        if operation == BlockOp::Flush && share.access == Access::Read {
            return Err(BlockStatus::NotSupported);
        }
        let operation = match operation {
            BlockOp::Read => DiskOp::Read,
            BlockOp::Write | BlockOp::WriteBarrier if !self.runs.is_empty() => DiskOp::Write,
            _ => DiskOp::Flush,
        };
        Ok(Judged { operation, sector, sectors })
    }

    /// Copies the segments of an indirect request out of its front end, once, and judges them.
    fn fetch_segments(&mut self, id: VbdId, segments: usize, page: GrantRef) -> Result<(), BlockStatus> {
        let mut list = [0; SEGMENTS_MAX * size_of::<BlockSegment>()];
        let list = list.get_mut(..segments * size_of::<BlockSegment>()).ok_or(BlockStatus::Error)?;
        let slot = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut());
        let vbd = slot.ok_or(BlockStatus::Error)?;
        let peer = vbd.client.peer;
        let wire = vbd.link.mapped().ok_or(BlockStatus::Error)?;
        if let Some(page) = wire.lent.page(&mut self.platform, peer, page, &mut self.lent) {
            page.copy_out(0, list);
        } else {
            let len = u16::try_from(list.len()).map_err(|_| BlockStatus::Error)?;
            let source = theirs_at(peer.0, page, 0);
            let mut copy = [copy_of(source, self.scratch.side(), len, copy_flags::SOURCE_GREF)];
            self.platform.copy(&mut copy);
            self.totals.copies += 1;
            self.totals.batches += 1;
            vbd.counters.copied += 1;
            if copy.iter().any(|copy| copy.status != GrantStatus::Okay.raw()) {
                return Err(BlockStatus::Error);
            }
            self.scratch.read(|page| {
                list.copy_from_slice(page.get(..list.len()).unwrap_or_default());
            });
        }
        let entries = list.chunks_exact(size_of::<BlockSegment>());
        for entry in entries.filter_map(|bytes| BlockSegment::read_from_bytes(bytes).ok()) {
            request::find_run(&entry, &mut self.runs).map_err(|_| BlockStatus::Error)?;
        }
        Ok(())
    }

    /// Gives work to its front end's overlay or disk.
    pub(super) fn submit(&mut self, mut work: Work<Data<P>>) {
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
#[derive(Clone, Copy, Debug)]
struct Judged {
    operation: DiskOp,
    sector: u64,
    sectors: u64,
}

/// A place in a front end's page, as a copy names it.
pub(super) const fn theirs_at(peer: u16, reference: GrantRef, offset: u16) -> CopySide {
    CopySide { frame_or_ref: reference.0 as u64, domid: peer, offset, pad: 0 }
}

/// A copy that has not been made.
pub(super) const fn copy_of(source: CopySide, dest: CopySide, len: u16, flags: u16) -> CopyGrant {
    CopyGrant { source, dest, len, flags, status: GrantStatus::GeneralError.raw(), pad: 0 }
}
