//! One connection: the ring, its grant and its port, and operations written as requests.

use hypercall_abi::blkif::{
    Block, BlockOp, BlockRequest, BlockSegment, DiscardRequest, IndirectRequest, SECTORS_PER_PAGE,
    SEGMENTS_MAX,
};
use hypercall_abi::ring::{FrontRing, SharedPage};
use hypercall_abi::{DomId, Errno, GrantRef, Port};
use zerocopy::IntoBytes;

use super::operations::{Operation, Ticket};
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

/// Writes an operation as a request. Takes a page for segments if it needs one, and notes it in the operation.
pub(super) fn request<G: SharedPage>(
    ticket: Ticket,
    operation: &mut Operation,
    pages: &mut Pages<G>,
    segments_max: usize,
    request: &mut BlockRequest,
) -> Result<(), Unsendable> {
    let (id, sector, count) = (ticket.id(), operation.sector, operation.pages.len());
    if count <= SEGMENTS_MAX && operation.kind != BlockOp::Discard {
        short_request(ticket, operation, pages, request);
        return Ok(());
    }
    *request = match operation.kind {
        BlockOp::Discard => {
            let discard =
                DiscardRequest { id, sector, sectors: operation.sectors, ..DiscardRequest::zeroed() };
            DiscardRequest { operation: BlockOp::Discard.raw(), ..discard }.into()
        }
        kind if count <= segments_max => {
            let page = pages.take_one().ok_or(Unsendable::Later)?;
            operation.segments = Some(page);
            let shared = pages.page(page).ok_or(Unsendable::Never)?;
            let places = (0..).step_by(size_of::<BlockSegment>());
            for (at, segment) in places.zip(segments(operation, pages)) {
                shared.copy_in(at, segment.as_bytes());
            }
            let gref = pages.reference(page).ok_or(Unsendable::Never)?.0;
            IndirectRequest {
                operation: BlockOp::Indirect.raw(),
                indirect_operation: kind.raw(),
                segments: u16::try_from(count).map_err(|_| Unsendable::Never)?,
                id,
                sector,
                pages: [gref, 0, 0, 0, 0, 0, 0, 0],
                ..IndirectRequest::zeroed()
            }
            .into()
        }
        _ => return Err(Unsendable::Never),
    };
    Ok(())
}

/// Writes an operation whose segments fit in its request.
#[inline]
pub(super) fn short_request<G: SharedPage>(
    ticket: Ticket,
    operation: &Operation,
    pages: &Pages<G>,
    request: &mut BlockRequest,
) {
    (request.operation, request.segments) = (operation.kind.raw(), operation.pages.len() as u8);
    // What an indirect request had here means nothing now.
    (request.handle, request.pad) = (0, 0);
    (request.id, request.sector) = (ticket.id(), operation.sector);
    for (place, segment) in request.segment.iter_mut().zip(segments(operation, pages)) {
        *place = segment;
    }
}

/// The segments of an operation: whole pages, but for the last.
fn segments<G: SharedPage>(operation: &Operation, pages: &Pages<G>) -> impl Iterator<Item = BlockSegment> {
    let per_page = SECTORS_PER_PAGE as u64;
    let mut rest = operation.sectors;
    operation.pages.iter().map(move |page| {
        let gref = pages.reference(*page).map_or(0, |found| found.0);
        let last_sector = (rest.clamp(1, per_page) - 1) as u8;
        rest = rest.saturating_sub(per_page);
        BlockSegment { gref, first_sector: 0, last_sector, pad: 0 }
    })
}
