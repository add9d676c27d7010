//! One operation, and the place that it has: what it wants, which pages hold its data, how far it is.
//! A buffer of the queue has a place for as long as somebody holds it, and each of its operations is there.

use alloc::vec::Vec;
use core::task::Waker;

use hypercall_abi::blkif::{BlockOp, BlockSegment, SECTORS_PER_PAGE, SEGMENTS_MAX};
use hypercall_abi::ring::SharedPage;
use zerocopy::FromZeros;

use super::pages::Pages;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The back end says that it failed: nothing is known of the sectors.
    Failed,
    /// The disk cannot do that.
    NotSupported,
    /// The back end has misbehaved too often, or is closed for good.
    Gone,
}

/// Names an operation until its result is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(super) place: u32,
    /// The operation's number, as far as it goes: a place has another one after 2^32 operations.
    pub(super) number: u32,
}

impl Ticket {
    /// Of an operation in a place, by its number.
    pub(super) const fn new(place: u32, number: u64) -> Self {
        Self { place, number: number as u32 }
    }

    /// The number that travels in the ring.
    pub(super) const fn id(self) -> u64 {
        (self.number as u64) << 32 | self.place as u64
    }

    /// The ticket that a number from the ring means, if there is one.
    pub(super) const fn from_id(id: u64) -> Self {
        Self { place: id as u32, number: (id >> 32) as u32 }
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is none, and the place is nobody's.
    Free,
    /// There is none, and the place is that of a buffer that somebody holds.
    Held,
    /// Not in the ring.
    Waiting,
    /// With the back end.
    Sent,
    /// The same, and its answer is of the queue alone: a buffer's, which nobody gave up, without a page of segments.
    Straight,
    /// Answered.
    Done(Result<(), DiskFault>),
}

/// An operation, or the place of one.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) state: State,
    pub(super) kind: BlockOp,
    /// Nobody waits for it.
    pub(super) abandoned: bool,
    /// The queue is told of its end.
    pub(super) queued: bool,
    /// The place is a buffer's.
    pub(super) buffer: bool,
    /// Page of its segments, while it is sent as an indirect request.
    pub(super) segment_page: Option<u16>,
    /// Which it is, of all that were begun.
    pub(super) number: u64,
    pub(super) sector: u64,
    pub(super) sectors: u64,
    /// With a buffer: where it begins before this sector, it may go straight into the ring of this connection; 0 if it is too
    /// long for that.
    pub(super) straight_end: u64,
    /// Pages of its data, in order.
    pub(super) pages: Vec<u16>,
    pub(super) waker: Option<Waker>,
    /// What [`Self::write_segments`] made of the pages, as far as they fit in a request.
    pub(super) segments: [BlockSegment; SEGMENTS_MAX],
}

impl Operation {
    /// A place with nothing in it.
    pub(super) fn none() -> Self {
        Self {
            state: State::Free,
            kind: BlockOp::Flush,
            abandoned: false,
            queued: false,
            buffer: false,
            segment_page: None,
            number: 0,
            sector: 0,
            sectors: 0,
            straight_end: 0,
            pages: Vec::new(),
            waker: None,
            segments: [BlockSegment::new_zeroed(); SEGMENTS_MAX],
        }
    }

    /// Whether there is an operation.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Free | State::Held)
    }

    /// Whether its segments fit in its request.
    pub(super) const fn is_short(&self) -> bool {
        self.pages.len() <= SEGMENTS_MAX && !matches!(self.kind, BlockOp::Discard)
    }

    /// Writes down the segments of a short one. They are others on the next connection, which grants the pages anew.
    pub(super) fn write_segments<G: SharedPage>(&mut self, pages: &Pages<G>) {
        for (place, segment) in self.segments.iter_mut().zip(segments(&self.pages, self.sectors, pages)) {
            *place = segment;
        }
    }

    /// Lets operations with this buffer go straight into the ring of a new connection, to a disk of so many sectors.
    pub(super) fn allow_straight<G: SharedPage>(&mut self, capacity: u64, pages: &Pages<G>) {
        let last = capacity.checked_sub(self.sectors).filter(|_| self.pages.len() <= SEGMENTS_MAX);
        self.straight_end = last.map_or(0, |last| last.saturating_add(1));
        self.write_segments(pages);
    }

    /// Ends it, and returns its pages.
    pub(super) fn end(&mut self) -> Vec<u16> {
        self.state = State::Free;
        self.waker = None;
        let mut pages = core::mem::take(&mut self.pages);
        if let Some(segments) = self.segment_page.take() {
            pages.push(segments);
        }
        pages
    }
}

/// The segments of so many sectors: whole pages, but for the last.
pub(super) fn segments<G: SharedPage>(
    list: &[u16],
    sectors: u64,
    pages: &Pages<G>,
) -> impl Iterator<Item = BlockSegment> {
    let per_page = SECTORS_PER_PAGE as u64;
    let mut rest = sectors;
    list.iter().map(move |page| {
        let gref = pages.reference(*page).map_or(0, |found| found.0);
        let last_sector = (rest.clamp(1, per_page) - 1) as u8;
        rest = rest.saturating_sub(per_page);
        BlockSegment { gref, first_sector: 0, last_sector, pad: 0 }
    })
}
