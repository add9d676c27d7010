//! One connection: the ring, its grant and its port, and operations written as requests.

use hypercall_abi::blkif::{Block, BlockOp, BlockSegment, DiscardRequest, IndirectRequest};
use hypercall_abi::ring::{FrontRing, Full, SharedPage};
use hypercall_abi::{DomId, Errno, GrantRef, Port};
use zerocopy::IntoBytes;

use super::operation::{Operation, Ticket, segments};
use super::pages::Pages;
use crate::platform::{Access, Platform};
use crate::rings::{Shared, take_back};

/// The ring and the port of one connection.
#[derive(Debug)]
pub(super) struct Wire<G> {
    pub(super) ring: FrontRing<G, Block>,
    pub(super) reference: GrantRef,
    pub(super) port: Port,
}

impl<G: SharedPage> Wire<G> {
    /// Allocates and grants everything for `peer`, or nothing.
    pub(super) fn open<P: Platform<Page = G>>(
        platform: &mut P,
        peer: DomId,
        quarantine: &mut Shared<G>,
    ) -> Result<Self, Errno> {
        let page = platform.allocate()?;
        let reference = platform.grant(&page, peer, Access::ReadWrite)?;
        match platform.open_port(peer) {
            Ok(port) => Ok(Self { ring: FrontRing::new(page), reference, port }),
            Err(errno) => {
                take_back(platform, [(page, reference)], quarantine);
                Err(errno)
            }
        }
    }

    /// Puts an operation into the ring, which is not full. Takes a page for segments if it needs one, and notes it in the operation.
    pub(super) fn send(
        &mut self,
        ticket: Ticket,
        operation: &mut Operation,
        pages: &mut Pages<G>,
        segments_max: usize,
    ) -> Result<(), Unsendable> {
        let full = |Full| Unsendable::Later;
        if operation.is_short() {
            operation.write_segments(pages);
            let (kind, sector) = (operation.kind, operation.sector);
            return self.send_short(ticket, kind, sector, operation).map_err(full);
        }
        let request = match operation.kind {
            BlockOp::Discard => discard(ticket, operation).into(),
            _ => indirect(ticket, operation, pages, segments_max)?.into(),
        };
        self.ring.push(&request).map_err(full)
    }

    /// Puts an operation into the ring whose segments fit in its request, and are written down.
    ///
    /// # Errors
    /// [`Full`].
    #[inline(always)]
    pub(super) fn send_short(
        &mut self,
        ticket: Ticket,
        kind: BlockOp,
        sector: u64,
        operation: &Operation,
    ) -> Result<(), Full> {
        // Made where it is used, so that it goes to the ring or to the call at once and is kept nowhere else.
        let head = || words(ticket, kind, sector, operation);
        if operation.pages.len() > 1 {
            self.send_several(head(), operation)
        } else {
            self.ring.push_words(head(), [])
        }
    }

    /// The same, of more than one segment: what follows the first goes behind the head.
    #[inline(never)]
    fn send_several(&mut self, head: [u64; 4], operation: &Operation) -> Result<(), Full> {
        let more = operation.segments.iter().take(operation.pages.len()).skip(1);
        self.ring.push_words(head, more.map(|segment| zerocopy::transmute!(*segment)))
    }

    /// Takes everything back. What the back end still holds goes into quarantine.
    pub(super) fn close<P: Platform<Page = G>>(self, platform: &mut P, quarantine: &mut Shared<G>) {
        platform.close_port(self.port);
        take_back(platform, [(self.ring.into_page(), self.reference)], quarantine);
    }
}

/// An operation that cannot be sent to this back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsendable {
    /// A page for its segments is needed, and none is free.
    Later,
    /// It has more segments than the back end takes.
    Never,
}

/// A request as the words that it is, as far as its first segment.
#[inline(always)]
fn words(ticket: Ticket, kind: BlockOp, sector: u64, operation: &Operation) -> [u64; 4] {
    let Operation { pages, segments: [first, ..], .. } = operation;
    let head = u64::from_le_bytes([kind.raw(), pages.len() as u8, 0, 0, 0, 0, 0, 0]);
    [head, ticket.id(), sector, zerocopy::transmute!(*first)]
}

fn discard(ticket: Ticket, operation: &Operation) -> DiscardRequest {
    DiscardRequest {
        operation: BlockOp::Discard.raw(),
        id: ticket.id(),
        sector: operation.sector,
        sectors: operation.sectors,
        ..DiscardRequest::zeroed()
    }
}

/// Writes the segments of an operation into a page of their own.
fn indirect<G: SharedPage>(
    ticket: Ticket,
    operation: &mut Operation,
    pages: &mut Pages<G>,
    segments_max: usize,
) -> Result<IndirectRequest, Unsendable> {
    let count = operation.pages.len();
    if count > segments_max {
        return Err(Unsendable::Never);
    }
    let page = pages.take_one().ok_or(Unsendable::Later)?;
    operation.segment_page = Some(page);
    let shared = pages.page(page).ok_or(Unsendable::Never)?;
    let places = (0..).step_by(size_of::<BlockSegment>());
    for (at, segment) in places.zip(segments(&operation.pages, operation.sectors, pages)) {
        shared.copy_in(at, segment.as_bytes());
    }
    let gref = pages.reference(page).ok_or(Unsendable::Never)?.0;
    Ok(IndirectRequest {
        operation: BlockOp::Indirect.raw(),
        indirect_operation: operation.kind.raw(),
        segments: u16::try_from(count).map_err(|_| Unsendable::Never)?,
        id: ticket.id(),
        sector: operation.sector,
        pages: [gref, 0, 0, 0, 0, 0, 0, 0],
        ..IndirectRequest::zeroed()
    })
}
