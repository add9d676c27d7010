//! Requests on their way from front ends to disks: taken, judged, fetched, submitted.
//! A disk uses a front end's page where it is, if that is mapped; copies are gathered over many requests and front ends, so
//! that a hypercall carries as many as it can.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypercall_abi::GrantRef;
use hypercall_abi::blkif::{BlockOp, BlockSegment, BlockStatus};
use hypercall_abi::device::BlockError;
use hypercall_abi::grant_table::{CopySide, GrantStatus, copy_flags};
use hypercall_abi::ring::SharedPage;
use zerocopy::FromBytes;

use super::SEGMENTS_MAX;
use super::blockback::BlockBack;
use super::copies::{Copied, copy_of, theirs_at};
use super::credit::cost;
use super::data::Data;
use super::disk::{DiskOp, Piece, Work};
use super::jobs::{Connection, Job, Stage};
use super::overlay;
use super::request::{self, Asked, Wrong};
use super::share::Access;
use super::vbd::VbdId;
use crate::platform::{Buffer, Platform};

/// Requests that one front end may begin in one turn: a ring full, so that those of one that asks alone go to the disk together.
const BUDGET: u32 = 32;
/// Pages that one front end's requests may begin with in one turn, unless the first takes more: a long request is worth
/// many short ones.
pub(super) const PAGES_BUDGET: usize = 64;
/// Copies after which a turn takes no more.
const GATHER: usize = 256;
/// Wrong requests in a row that end a connection.
pub(super) const WRONG_MAX: u32 = 64;

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
    /// Work for a disk or an overlay, and how many of its pages are still to be fetched.
    Work(Box<Work<M>>, usize),
    /// Not yet.
    Held(Taken),
}

/// What one front end's requests took in one turn.
#[derive(Default)]
pub(super) struct Spent {
    /// Pages.
    pub(super) pages: usize,
    /// What they cost.
    pub(super) work: u32,
}

impl<P: Platform> BlockBack<P> {
    /// Takes requests from the front ends that have asked, each in turn and within its budget. It is never inlined: what each
    /// request runs stands together.
    #[inline(never)]
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
        if !incoming.is_empty() {
            self.fetch(incoming);
        }
    }

    /// Fetches data and gives what needed it to its disks.
    #[inline(never)]
    fn fetch(&mut self, mut incoming: Copied<P>) {
        self.copy();
        let copies = core::mem::take(&mut self.copies);
        let mut left = copies.iter();
        for (work, count) in incoming.drain(..) {
            let fetched = left.by_ref().take(count).filter(|copy| copy.status != GrantStatus::Okay.raw());
            if fetched.count() > 0 {
                self.wrong(&work.job);
                self.answer(work, BlockStatus::Error);
            } else {
                self.submit(work);
            }
        }
        self.reuse(copies, incoming);
    }

    /// Takes what one front end has asked for, and has it owe what that costs, whatever comes of it.
    fn take_from(&mut self, id: VbdId, incoming: &mut Copied<P>) -> Result<Taken, BlockError> {
        let mut spent = Spent::default();
        let taken = self.take_some(id, incoming, &mut spent);
        self.note_work(id, spent.work);
        taken
    }

    /// Takes requests up to the budget: as many as go the short way, then one that does not, and so on.
    fn take_some(
        &mut self,
        id: VbdId,
        incoming: &mut Copied<P>,
        spent: &mut Spent,
    ) -> Result<Taken, BlockError> {
        let mut left = BUDGET;
        loop {
            left -= self.take_usual(id, left, spent).map_err(|_| BlockError::Overrun)?;
            if left == 0 {
                break;
            }
            if let Some(taken) = self.take_one(id, incoming, spent)? {
                return Ok(taken);
            }
            left -= 1;
        }
        // A ring full may have been all that there was; whether more has come is seen when this turn ends.
        let vbd = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut());
        match vbd.and_then(|vbd| vbd.link.mapped()) {
            Some(wire) if wire.ring.ready() == Ok(0) => Ok(Taken::Drained),
            _ => Ok(Taken::More),
        }
    }

    /// Takes one request, whatever it is, and does with it what is to be done. Says how far the ring was taken if no more can be.
    #[inline(never)]
    fn take_one(
        &mut self,
        id: VbdId,
        incoming: &mut Copied<P>,
        spent: &mut Spent,
    ) -> Result<Option<Taken>, BlockError> {
        const DRAINED: Result<Option<Taken>, BlockError> = Ok(Some(Taken::Drained));
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return DRAINED };
        let stale = slot.stale;
        let Some(vbd) = &mut slot.vbd else { return DRAINED };
        if vbd.barrier || stale > 0 {
            return DRAINED;
        }
        if vbd.wrong > WRONG_MAX {
            return Err(BlockError::Requests);
        }
        if let Some(held) = vbd.held.take() {
            self.request = held;
        } else {
            let Some(wire) = vbd.link.mapped() else { return DRAINED };
            if !wire.ring.pop_into(&mut self.request).map_err(|_| BlockError::Overrun)? {
                vbd.credit.end();
                return DRAINED;
            }
        }
        match self.judge(id) {
            Err(status) => self.refuse_request(id, status),
            Ok(judged) => match self.begin(id, judged, spent) {
                Begun::Held(taken) => return Ok(Some(taken)),
                Begun::Work(work, 0) => self.submit(work),
                Begun::Work(work, fetch) => self.note_copied(incoming, work, fetch),
            },
        }
        Ok(None)
    }

    /// Answers the request that was taken and found wrong.
    #[cold]
    fn refuse_request(&mut self, id: VbdId, status: BlockStatus) {
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return };
        let Some(vbd) = &mut slot.vbd else { return };
        vbd.wrong += 1;
        vbd.answer(self.request.id, self.request.operation, status);
        vbd.count(1, status);
        self.totals.answered += 1;
        self.totals.failed += 1;
    }

    /// Makes the request that was judged, with its runs, into work; or holds it.
    fn begin(&mut self, id: VbdId, judged: Judged, spent: &mut Spent) -> Begun<Data<P>> {
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return Begun::Held(Taken::Drained) };
        let (epoch, has_overlay) = (slot.epoch, slot.overlay.is_some());
        let Some(vbd) = &mut slot.vbd else { return Begun::Held(Taken::Drained) };
        let request = &self.request;
        let is_barrier = request.operation == BlockOp::WriteBarrier.raw();
        let need = self.runs.len();
        // Nobody takes more than half of what is left, so that a flood finds its end before its neighbours do.
        let greedy = vbd.pages > 0 && vbd.pages + need > (self.room + vbd.pages) / 2;
        let cost = cost(need);
        let hold = match () {
            () if is_barrier && vbd.in_flight > 0 => Some(Taken::Drained),
            () if need > self.room => Some(Taken::Short),
            () if spent.pages > 0 && spent.pages + need > PAGES_BUDGET => Some(Taken::More),
            () if greedy => Some(Taken::Drained),
            () if !vbd.credit.spend(cost) => Some(Taken::More),
            () => None,
        };
        if let Some(taken) = hold {
            vbd.held = Some(*request);
            return Begun::Held(taken);
        }
        spent.pages += need;
        spent.work = spent.work.saturating_add(cost);
        vbd.in_flight += 1;
        vbd.pages += need;
        vbd.barrier = is_barrier;
        self.room -= need;
        let Judged { operation, sector, sectors } = judged;
        let mut work = self.jobs.empty();
        self.jobs.begin(1);
        (work.operation, work.sector, work.sectors) = (operation, sector, sectors);
        work.job = Job {
            of: Connection::new(id, epoch),
            id: request.id,
            operation: request.operation,
            stage: Stage::first(is_barrier, operation),
            sector,
        };
        let fetch = self.gather(id, &mut work);
        let in_place = work.pieces.iter().all(|piece| matches!(piece.page, Data::Theirs(_)));
        if in_place && !is_barrier && !has_overlay {
            work.job.stage = Stage::InPlace;
        }
        Begun::Work(work, fetch)
    }

    /// Finds a place for each run of the request that was judged: the front end's own page if it can be mapped, else one of
    /// ours, to be filled by a copy if it is written. Returns how many copies that takes.
    fn gather(&mut self, id: VbdId, work: &mut Work<Data<P>>) -> usize {
        let Some(vbd) = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut()) else {
            return 0;
        };
        let (peer, fetch) = (vbd.client.peer, work.operation == DiskOp::Write);
        let Some(wire) = vbd.link.mapped() else { return 0 };
        let (mut in_place, mut copies) = (0, 0);
        for run in &self.runs {
            let (reference, offset, bytes) = (run.reference, run.offset, run.bytes);
            if let Some(page) = wire.lent.page(&mut self.platform, peer, reference, &mut self.lent) {
                in_place += 1;
                work.pieces.push(Piece { page: Data::Theirs(page), offset, bytes });
                continue;
            }
            // There is a page of ours for each that may be begun with.
            let Some(page) = self.pool.pop() else { break };
            if fetch {
                let dest = CopySide { offset, ..page.side() };
                let source = theirs_at(peer.0, reference, offset);
                self.copies.push(copy_of(source, dest, bytes, copy_flags::SOURCE_GREF));
                copies += 1;
            }
            work.pieces.push(Piece { page: Data::Ours { page, reference: Some(reference) }, offset, bytes });
        }
        vbd.counters.in_place += in_place;
        vbd.counters.copied += copies;
        self.totals.in_place += in_place;
        copies as usize
    }

    /// Judges the request that was taken against what its front end may do. Its runs are those that were found then.
    fn judge(&mut self, id: VbdId) -> Result<Judged, BlockStatus> {
        let slot = self.slots.get(usize::from(id)).and_then(|slot| slot.vbd.as_ref());
        let vbd = slot.ok_or(BlockStatus::Error)?;
        let (share, shelf) = (vbd.client.share, vbd.shelf);
        let asked = request::decode(&self.request, &mut self.runs).map_err(|wrong| match wrong {
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
                let disk_can = self.disks.get(shelf).is_some_and(|shelf| shelf.disk.can_discard());
                if !share.may_discard(disk_can) {
                    return Err(BlockStatus::NotSupported);
                }
                if !share.holds(sector, sectors) || sectors == 0 {
                    return Err(BlockStatus::Error);
                }
                return Ok(Judged { operation: DiskOp::Discard, sector, sectors });
            }
        };
        let sectors = request::sectors(&self.runs);
        let writes = matches!(operation, BlockOp::Write | BlockOp::WriteBarrier);
        if !share.holds(sector, sectors) || writes && share.access == Access::Read {
            return Err(BlockStatus::Error);
        }
        if operation == BlockOp::Flush && share.access == Access::Read {
            return Err(BlockStatus::NotSupported);
        }
        let operation = if operation == BlockOp::Read {
            DiskOp::Read
        } else if writes && !self.runs.is_empty() {
            DiskOp::Write
        } else {
            DiskOp::Flush
        };
        Ok(Judged { operation, sector, sectors })
    }

    /// Copies the segments of an indirect request out of its front end, once, and judges them.
    #[inline(never)]
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

    /// Gives the next step of a request to its front end's overlay or disk.
    pub(super) fn submit(&mut self, mut work: Box<Work<Data<P>>>) {
        let Some(slot) = self.slots.get_mut(usize::from(work.job.of.vbd())) else { return };
        let Some(vbd) = slot.vbd.as_ref().filter(|_| slot.epoch == work.job.of.epoch()) else {
            // Its connection has ended before anything was begun.
            self.answer(work, BlockStatus::Error);
            return;
        };
        let first = vbd.client.share.first;
        let Some(shelf) = self.disks.get_mut(vbd.shelf) else { return };
        match (&mut slot.overlay, work.job.stage == Stage::BarrierBefore) {
            // What an overlay holds is as durable as it gets.
            (Some(_), true) => self.finished.push((work, Ok(()))),
            (Some((_, overlay)), false) => {
                overlay::route(overlay, first, work, shelf, &mut self.finished);
            }
            (None, true) => {
                // The data waits with the flush that comes before it.
                work.operation = DiskOp::Flush;
                shelf.push(work);
            }
            (None, false) => shelf.push_at(first, work),
        }
    }
}

/// A request that was found right.
#[derive(Clone, Copy, Debug)]
struct Judged {
    operation: DiskOp,
    sector: u64,
    sectors: u64,
}
