//! Requests that are right in some places, over pages that were granted, were granted once, or never were.

use alloc::vec::Vec;

use fastrand::Rng;
use hypercall_abi::blkif::{
    BlockOp, BlockRequest, BlockSegment, DiscardRequest, INDIRECT_PAGES_MAX, IndirectRequest,
    SECTORS_PER_PAGE,
};

/// Sectors of the disk that requests are mostly within.
const NEAR: u64 = 520;
/// Segments of a list; more than a back end takes.
const LIST: usize = 70;

/// What requests may name.
pub(crate) struct Names<'a> {
    /// References that were given, some of them taken back again.
    pub(crate) references: &'a [u32],
}

impl Names<'_> {
    fn reference(&self, random: &mut Rng) -> u32 {
        match random.choice(self.references) {
            Some(known) if random.u32(0..4) > 0 => *known,
            _ if random.bool() => random.u32(0..64),
            _ => random.u32(..),
        }
    }

    fn segment(&self, random: &mut Rng) -> BlockSegment {
        let wild = random.u32(0..6) == 0;
        let mut sector = || if wild { random.u8(..) } else { random.u8(0..SECTORS_PER_PAGE as u8) };
        let (one, other) = (sector(), sector());
        let (first_sector, last_sector) = if wild { (one, other) } else { (one.min(other), one.max(other)) };
        BlockSegment { gref: self.reference(random), first_sector, last_sector, pad: 0 }
    }

    /// The list of an indirect request.
    pub(crate) fn list(&self, random: &mut Rng) -> Vec<BlockSegment> {
        (0..LIST).map(|_| self.segment(random)).collect()
    }

    /// A request.
    pub(crate) fn request(&self, random: &mut Rng) -> BlockRequest {
        let sector = if random.u32(0..3) > 0 { random.u64(0..NEAR) } else { random.u64(..) };
        let id = random.u64(..);
        match random.u32(0..6) {
            0 => DiscardRequest {
                operation: BlockOp::Discard.raw(),
                flag: random.u8(..),
                id,
                sector,
                sectors: if random.bool() { random.u64(..) } else { random.u64(0..9) },
                ..DiscardRequest::zeroed()
            }
            .into(),
            1 => {
                let mut pages = [0; INDIRECT_PAGES_MAX];
                pages.fill_with(|| self.reference(random));
                let request = IndirectRequest {
                    operation: BlockOp::Indirect.raw(),
                    indirect_operation: random.u8(0..3),
                    segments: if random.u32(0..8) == 0 { random.u16(..) } else { random.u16(0..80) },
                    id,
                    sector,
                    pages,
                    ..IndirectRequest::zeroed()
                };
                request.into()
            }
            _ => {
                let mut request = BlockRequest {
                    operation: if random.u32(0..5) == 0 { random.u8(..) } else { random.u8(0..4) },
                    segments: random.u8(0..13),
                    handle: random.u16(..),
                    id,
                    sector,
                    ..BlockRequest::zeroed()
                };
                request.segment.fill_with(|| self.segment(random));
                request
            }
        }
    }
}
