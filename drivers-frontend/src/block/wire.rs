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
) -> Result<BlockRequest, Unsendable> {
    let (id, sector, count) = (ticket.id(), operation.sector, operation.pages.len());
    match operation.kind {
        BlockOp::Discard => {
            let sectors = operation.sectors;
            let discard = DiscardRequest { id, sector, sectors, ..DiscardRequest::zeroed() };
            Ok(DiscardRequest { operation: BlockOp::Discard.raw(), ..discard }.into())
        }
        kind if count <= SEGMENTS_MAX => {
            let mut request = BlockRequest {
                operation: kind.raw(),
                segments: u8::try_from(count).map_err(|_| Unsendable::Never)?,
                id,
                sector,
                ..BlockRequest::zeroed()
            };
            for (at, place) in request.segment.iter_mut().take(count).enumerate() {
                *place = segment(operation, pages, at);
            }
            Ok(request)
        }
        kind if count <= segments_max => {
            let page = pages.take_one().ok_or(Unsendable::Later)?;
            operation.segments = Some(page);
            let shared = pages.page(page).ok_or(Unsendable::Never)?;
            for at in 0..count {
                let segment = segment(operation, pages, at);
                shared.copy_in(at * size_of::<BlockSegment>(), segment.as_bytes());
            }
            let gref = pages.reference(page).ok_or(Unsendable::Never)?.0;
            Ok(IndirectRequest {
                operation: BlockOp::Indirect.raw(),
                indirect_operation: kind.raw(),
                segments: u16::try_from(count).map_err(|_| Unsendable::Never)?,
                id,
                sector,
                pages: [gref, 0, 0, 0, 0, 0, 0, 0],
                ..IndirectRequest::zeroed()
            }
            .into())
        }
        _ => Err(Unsendable::Never),
    }
}

/// A segment of an operation: a whole page, but for the last.
fn segment<G: SharedPage>(operation: &Operation, pages: &Pages<G>, at: usize) -> BlockSegment {
    let per_page = SECTORS_PER_PAGE as u64;
    let page = operation.pages.get(at).copied();
    let gref = page.and_then(|page| pages.reference(page)).map_or(0, |found| found.0);
    let rest = operation.sectors.saturating_sub(at as u64 * per_page);
    let last_sector = (rest.clamp(1, per_page) - 1) as u8;
    BlockSegment { gref, first_sector: 0, last_sector, pad: 0 }
}
