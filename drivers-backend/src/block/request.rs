//! A request as a front end made it, and what it means if it makes sense.
//! Everything that can be wrong with the numbers of a request is found here, on a copy of it.

use alloc::vec::Vec;

use hypercall_abi::GrantRef;
use hypercall_abi::blkif::{
    BlockOp, BlockRequest, BlockSegment, DISCARD_SECURE, SECTOR_BYTES, SECTORS_PER_PAGE, SEGMENTS_MAX,
    SEGMENTS_PER_PAGE,
};

/// A run of bytes in a page that the front end granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) reference: GrantRef,
    pub(super) offset: u16,
    pub(super) bytes: u16,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A read, a write or a barrier, of the runs that were found.
    Transfer { operation: BlockOp, sector: u64 },
    /// A read or a write, once its segments have been fetched from this page.
    Indirect { operation: BlockOp, sector: u64, segments: usize, page: u32 },
    /// A flush.
    Flush,
    /// A discard.
    Discard { sector: u64, sectors: u64 },
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// No such operation, or not one that may be indirect.
    Operation,
    /// No segments, or too many.
    Count,
    /// A segment that leaves its page or ends before it begins.
    Segment,
}

/// Bytes of one sector, as requests count.
const SECTOR: u16 = SECTOR_BYTES as u16;

/// Decodes a slot; its runs, if it has some in itself, are what is in `runs` afterwards.
pub(super) fn decode(request: &BlockRequest, runs: &mut Vec<Run>) -> Result<Asked, Wrong> {
    runs.clear();
    match BlockOp::from_raw(request.operation).ok_or(Wrong::Operation)? {
        BlockOp::Flush => Ok(Asked::Flush),
        operation @ (BlockOp::Read | BlockOp::Write | BlockOp::WriteBarrier) => {
            let count = usize::from(request.segments);
            if count > SEGMENTS_MAX || count == 0 && operation != BlockOp::WriteBarrier {
                return Err(Wrong::Count);
            }
            request.segment.iter().take(count).try_for_each(|segment| find_run(segment, runs))?;
            Ok(Asked::Transfer { operation, sector: request.sector })
        }
        BlockOp::Discard => {
            let discard = request.as_discard();
            // Nobody was told that this can be had: what is discarded is forgotten where it is convenient, and not wiped.
            if discard.flag & DISCARD_SECURE != 0 {
                return Err(Wrong::Operation);
            }
            Ok(Asked::Discard { sector: discard.sector, sectors: discard.sectors })
        }
        BlockOp::Indirect => {
            // What a back end tells is the most fits in one page.
            const { assert!(super::SEGMENTS_MAX <= SEGMENTS_PER_PAGE) }
            let indirect = request.as_indirect();
            let operation = BlockOp::from_raw(indirect.indirect_operation)
                .filter(|operation| matches!(operation, BlockOp::Read | BlockOp::Write))
                .ok_or(Wrong::Operation)?;
            let segments = usize::from(indirect.segments);
            if segments == 0 || segments > super::SEGMENTS_MAX {
                return Err(Wrong::Count);
            }
            let [page, ..] = indirect.pages;
            Ok(Asked::Indirect { operation, sector: indirect.sector, segments, page })
        }
    }
}

/// Adds a segment as a run of bytes.
pub(super) fn find_run(segment: &BlockSegment, runs: &mut Vec<Run>) -> Result<(), Wrong> {
    runs.push(Run::of(segment).ok_or(Wrong::Segment)?);
    Ok(())
}

impl Run {
    /// A segment as a run of bytes; `None` if it leaves its page or ends before it begins.
    #[inline(always)]
    pub(super) fn of(segment: &BlockSegment) -> Option<Self> {
        const LAST: i16 = SECTORS_PER_PAGE as i16 - 1;
        let (first, last) = (i16::from(segment.first_sector), i16::from(segment.last_sector));
        // Both at once: one of them is negative.
        if (LAST - last) | (last - first) < 0 {
            return None;
        }
        let (first, last) = (first as u16, last as u16);
        let reference = GrantRef(segment.gref);
        Some(Self { reference, offset: first * SECTOR, bytes: (last - first + 1) * SECTOR })
    }

    /// Sectors that it holds.
    #[inline(always)]
    pub(super) fn sectors(&self) -> u64 {
        (self.bytes / SECTOR).into()
    }
}

/// Sectors that runs hold.
pub(super) fn sectors(runs: &[Run]) -> u64 {
    runs.iter().map(Run::sectors).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall_abi::blkif::{DiscardRequest, IndirectRequest};

    fn request(operation: BlockOp, segments: u8, first: u8, last: u8) -> BlockRequest {
        let mut request = BlockRequest { operation: operation.raw(), segments, ..BlockRequest::zeroed() };
        request.segment = [BlockSegment { gref: 9, first_sector: first, last_sector: last, pad: 0 }; 11];
        request
    }

    #[test]
    fn segments_that_make_no_sense_are_refused() {
        let judge = |operation, segments, first, last| {
            decode(&request(operation, segments, first, last), &mut Vec::new()).map(|_| ())
        };
        assert_eq!(judge(BlockOp::Read, 11, 0, 7), Ok(()));
        assert_eq!(judge(BlockOp::Read, 1, 7, 7), Ok(()));
        assert_eq!(judge(BlockOp::Read, 0, 0, 7), Err(Wrong::Count));
        assert_eq!(judge(BlockOp::Write, 12, 0, 7), Err(Wrong::Count));
        assert_eq!(judge(BlockOp::Write, 1, 0, 8), Err(Wrong::Segment));
        assert_eq!(judge(BlockOp::Write, 1, 5, 4), Err(Wrong::Segment));
        assert_eq!(judge(BlockOp::WriteBarrier, 0, 0, 0), Ok(()), "a barrier alone");
        let unknown = BlockRequest { operation: 4, ..BlockRequest::zeroed() };
        assert_eq!(decode(&unknown, &mut Vec::new()), Err(Wrong::Operation));
    }

    #[test]
    fn a_discard_that_is_to_wipe_is_refused() {
        let judge = |flag| {
            let request = DiscardRequest { operation: 5, flag, sectors: 8, ..DiscardRequest::zeroed() };
            decode(&request.into(), &mut Vec::new()).map(|_| ())
        };
        assert_eq!([0, 1, 2, 3].map(judge), [Ok(()), Err(Wrong::Operation), Ok(()), Err(Wrong::Operation)]);
    }

    #[test]
    fn indirect_requests_read_or_write_within_the_limit() {
        let judge = |operation: u8, segments| {
            let request = IndirectRequest {
                operation: BlockOp::Indirect.raw(),
                indirect_operation: operation,
                segments,
                ..IndirectRequest::zeroed()
            };
            decode(&request.into(), &mut Vec::new()).map(|_| ())
        };
        assert_eq!(judge(0, 64), Ok(()));
        assert_eq!(judge(1, 1), Ok(()));
        assert_eq!(judge(0, 65), Err(Wrong::Count));
        assert_eq!(judge(0, 0), Err(Wrong::Count));
        for operation in 2..=255 {
            assert_eq!(judge(operation, 1), Err(Wrong::Operation));
        }
    }

    #[test]
    fn a_run_counts_its_bytes() {
        let segments = [
            BlockSegment { gref: 1, first_sector: 0, last_sector: 7, pad: 0 },
            BlockSegment { gref: 2, first_sector: 3, last_sector: 3, pad: 0 },
        ];
        let mut runs = Vec::new();
        segments.iter().try_for_each(|segment| find_run(segment, &mut runs)).unwrap();
        assert_eq!(runs[1], Run { reference: GrantRef(2), offset: 1536, bytes: 512 });
        assert_eq!(sectors(&runs), 9);
    }
}
