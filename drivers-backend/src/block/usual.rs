//! The short way of nearly all requests: reads and writes with their segments in themselves, on pages that are mapped.
//! One pass judges each where it lies and makes it into work; what one front end's requests have in common is looked up once a turn.
//!
//! Whatever this way does not take stays in the ring, untouched, for the long one, which knows all that there is and says what is wrong.
//! So a front end that changes a request meanwhile has chosen the way, and each judges what it has read itself.

use alloc::vec::Vec;
use core::mem::offset_of;

use hypercall_abi::blkif::{BlockOp, BlockRequest, BlockSegment, SEGMENTS_MAX};
use hypercall_abi::ring::{self, Overrun};

use super::blockback::BlockBack;
use super::credit::{REQUEST, cost};
use super::data::Data;
use super::disk::{DiskOp, Piece};
use super::jobs::{Connection, Job, Stage};
use super::lent::Lent;
use super::overlay;
use super::request::Run;
use super::share::Access;
use super::slot::Slot;
use super::take::{PAGES_BUDGET, Spent, WRONG_MAX};
use super::vbd::{Vbd, VbdId};
use crate::platform::Platform;

/// Words of a request.
const ID: usize = offset_of!(BlockRequest, id) / 8;
const SECTOR: usize = offset_of!(BlockRequest, sector) / 8;
const SEGMENT: usize = offset_of!(BlockRequest, segment) / 8;

impl<P: Platform> BlockBack<P> {
    /// Begins requests of the usual kind, as many as follow each other and find all that they need, but `most`. Returns how many.
    #[inline(always)]
    pub(super) fn take_usual(&mut self, id: VbdId, most: u32, spent: &mut Spent) -> Result<u32, Overrun> {
        let Some(Slot { vbd: Some(vbd), overlay, epoch, stale: 0, .. }) = self.slots.get_mut(usize::from(id))
        else {
            return Ok(0);
        };
        let Vbd { client, link, held: None, barrier: false, wrong: 0..=WRONG_MAX, .. } = vbd else {
            return Ok(0);
        };
        let (Some(wire), Some(shelf)) = (link.mapped(), self.disks.get_mut(vbd.shelf)) else { return Ok(0) };
        if wire.lent.is_none_ever() {
            return Ok(0);
        }
        let (share, of) = (client.share, Connection::new(id, *epoch));
        let may_write = share.access != Access::Read;
        let stage = if overlay.is_none() { Stage::InPlace } else { Stage::Only };
        let count = wire.ring.look()?.min(most).min(vbd.credit.left() / cost(1));
        // With so many pages nobody is greedy, and as many requests can be paid.
        let fair = ((self.room + vbd.pages) / 2).saturating_sub(vbd.pages);
        let payable = vbd.credit.left() - count * REQUEST;
        let pages_max = fair.min(PAGES_BUDGET.saturating_sub(spent.pages)).min(payable as usize) as u32;
        let (mut begun, mut pages_left) = (0, pages_max);
        while begun < count {
            let slot = wire.ring.slot(begun);
            let Some((raw, operation, segments)) = usual(slot.wide(0), may_write, pages_left) else { break };
            let (name, sector) = (slot.wide(ID), slot.wide(SECTOR));
            let mut work = self.jobs.empty();
            let sectors = find(&slot, segments, &wire.lent, &mut work.pieces);
            let Some(sectors) = sectors.filter(|sectors| share.holds(sector, *sectors)) else {
                // The connection keeps the pages that were found.
                work.pieces.clear();
                self.jobs.keep(work);
                break;
            };
            (work.operation, work.sector, work.sectors) = (operation, sector, sectors);
            work.job = Job { of, id: name, operation: raw, stage, sector };
            match overlay {
                None => shelf.push_at(share.first, work),
                Some((_, overlay)) => {
                    overlay::route(overlay, share.first, work, shelf, &mut self.finished);
                }
            }
            begun += 1;
            pages_left -= segments;
        }
        wire.ring.skip(begun);
        let pages = pages_max - pages_left;
        let work = pages + begun * REQUEST;
        let _paid = vbd.credit.spend(work);
        vbd.in_flight += begun;
        vbd.pages += pages as usize;
        vbd.counters.in_place += u64::from(pages);
        self.totals.in_place += u64::from(pages);
        self.room -= pages as usize;
        self.jobs.begin(begun);
        spent.pages += pages as usize;
        spent.work = spent.work.saturating_add(work);
        Ok(begun)
    }
}

/// What a request's first word says, if it is a read or a write that may be, with segments in itself and not too many: its
/// operation, twice, and how many segments there are.
#[inline(always)]
fn usual(first: u64, may_write: bool, most: u32) -> Option<(u8, DiskOp, u32)> {
    const READ: u8 = BlockOp::Read.raw();
    const WRITE: u8 = BlockOp::Write.raw();
    let [raw, segments, ..] = first.to_le_bytes();
    let operation = match raw {
        READ => DiskOp::Read,
        WRITE if may_write => DiskOp::Write,
        _ => return None,
    };
    let segments = u32::from(segments);
    (1..=most.min(SEGMENTS_MAX as u32)).contains(&segments).then_some((raw, operation, segments))
}

/// Finds the pages of segments, and how many sectors those are; `None` if one makes no sense or its page is not mapped.
#[inline(always)]
fn find<P: Platform>(
    slot: &ring::Slot<'_, P::Page>,
    segments: u32,
    lent: &Lent<P::Page>,
    pieces: &mut Vec<Piece<Data<P>>>,
) -> Option<u64> {
    let mut sectors = 0;
    for at in 0..segments as usize {
        let segment: BlockSegment = zerocopy::transmute!(slot.wide(SEGMENT + at));
        let run = Run::of(&segment)?;
        let page = Data::Theirs(lent.find(run.reference)?);
        pieces.push(Piece { page, offset: run.offset, bytes: run.bytes });
        sectors += run.sectors();
    }
    Some(sectors)
}
