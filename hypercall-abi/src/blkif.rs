//! What travels in the ring of a block device, with the layouts of Xen's blkif on 64-bit x86.
//! Data stays in granted pages; a request names sectors of the disk and runs of sectors in those pages.
//!
//! A slot holds one of three requests, told apart by its first byte: [`BlockRequest`] for reads, writes, barriers and
//! flushes, [`DiscardRequest`], and [`IndirectRequest`], whose segments stand in granted pages of their own.

use core::mem::offset_of;

use crate::ring::Protocol;

abi_enum! {
    /// What a request wants (`BLKIF_OP_*`).
    pub enum BlockOp: u8 {
        /// Sectors of the disk into the segments.
        Read = 0,
        /// The segments into sectors of the disk.
        Write = 1,
        /// A write that comes after everything answered or asked before it, and before everything after it; durable
        /// when it is answered.
        WriteBarrier = 2,
        /// Everything that was answered before is durable when this is answered.
        Flush = 3,
        /// The content of these sectors is not needed any more.
        Discard = 5,
        /// A read or write whose segments stand in pages of their own.
        Indirect = 6,
    }
}

abi_enum! {
    /// What became of a request (`BLKIF_RSP_*`).
    pub enum BlockStatus: i16 {
        /// This disk cannot do that.
        NotSupported = -2,
        /// Refused, or failed on the disk: nothing is known of the sectors.
        Error = -1,
        /// Done.
        Okay = 0,
    }
}

abi_struct! {
    /// A run of sectors in one granted page (`blkif_request_segment`). Written by the front end.
    pub struct BlockSegment(8) {
        /// Grant of the page.
        0 => gref: u32,
        /// First sector in the page, 0 to 7.
        4 => first_sector: u8,
        /// Last sector in the page, itself included.
        5 => last_sector: u8,
        /// Unused.
        6 => pad: u16,
    }
}

abi_struct! {
    /// Front end: a read, write, barrier or flush (`blkif_request`).
    pub struct BlockRequest(112) {
        /// A [`BlockOp`].
        0 => operation: u8,
        /// Segments that count, at most [`SEGMENTS_MAX`]; 0 for a flush.
        1 => segments: u8,
        /// Unused: a ring serves one disk.
        2 => handle: u16,
        /// Unused.
        4 => pad: u32,
        /// Echoed in the response.
        8 => id: u64,
        /// First sector on the disk.
        16 => sector: u64,
        /// The segments, in the order of the disk's sectors.
        24 => segment: [BlockSegment; 11],
    }
}

abi_struct! {
    /// Front end: sectors that are not needed any more (`blkif_request_discard`).
    pub struct DiscardRequest(112) {
        /// [`BlockOp::Discard`].
        0 => operation: u8,
        /// [`DISCARD_SECURE`] or 0; of other bits nothing is known.
        1 => flag: u8,
        /// Unused.
        2 => handle: u16,
        /// Unused.
        4 => pad: u32,
        /// Echoed in the response.
        8 => id: u64,
        /// First sector on the disk.
        16 => sector: u64,
        /// How many.
        24 => sectors: u64,
        /// Unused.
        32 => pad2: [u64; 10],
    }
}

abi_struct! {
    /// Front end: a read or write with many segments (`blkif_request_indirect`).
    pub struct IndirectRequest(112) {
        /// [`BlockOp::Indirect`].
        0 => operation: u8,
        /// [`BlockOp::Read`] or [`BlockOp::Write`].
        1 => indirect_operation: u8,
        /// Segments, at most what the back end's half of the device page says.
        2 => segments: u16,
        /// Unused.
        4 => pad: u32,
        /// Echoed in the response.
        8 => id: u64,
        /// First sector on the disk.
        16 => sector: u64,
        /// Unused.
        24 => handle: u16,
        /// Unused.
        26 => pad2: u16,
        /// Grants of the pages full of [`BlockSegment`]s, [`SEGMENTS_PER_PAGE`] in each.
        28 => pages: [u32; 8],
        /// Unused.
        60 => pad3: [u32; 13],
    }
}

abi_struct! {
    /// Back end: a request is done (`blkif_response`).
    pub struct BlockResponse(16) {
        /// From the request.
        0 => id: u64,
        /// From the request.
        8 => operation: u8,
        /// Unused.
        9 => pad: u8,
        /// A [`BlockStatus`].
        10 => status: i16,
        /// Unused.
        12 => pad2: u32,
    }
}

/// Bytes of a sector: the unit of every number of a request.
pub const SECTOR_BYTES: usize = 512;
/// Sectors in a page.
pub const SECTORS_PER_PAGE: usize = crate::PAGE_SIZE / SECTOR_BYTES;
/// The most segments of a [`BlockRequest`] (`BLKIF_MAX_SEGMENTS_PER_REQUEST`).
pub const SEGMENTS_MAX: usize = 11;
/// The most pages of segments (`BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`).
pub const INDIRECT_PAGES_MAX: usize = 8;
/// Segments in a page of them.
pub const SEGMENTS_PER_PAGE: usize = crate::PAGE_SIZE / size_of::<BlockSegment>();

/// In [`DiscardRequest::flag`]: what was there must not be readable afterwards (`BLKIF_DISCARD_SECURE`). Only where the back end
/// has said that it can; those of Denizen cannot, and refuse it.
pub const DISCARD_SECURE: u8 = 1 << 0;

/// The ring of a block device.
#[derive(Clone, Copy, Debug)]
pub enum Block {}

impl Protocol for Block {
    type Request = BlockRequest;
    type Response = BlockResponse;

    fn request_words(first: u32) -> usize {
        let [operation, segments, ..] = first.to_le_bytes();
        let bytes = match BlockOp::from_raw(operation) {
            Some(BlockOp::Discard) => offset_of!(DiscardRequest, pad2),
            Some(BlockOp::Indirect) => offset_of!(IndirectRequest, pad3),
            _ => offset_of!(BlockRequest, segment) + usize::from(segments) * size_of::<BlockSegment>(),
        };
        bytes / size_of::<u32>()
    }
}

const _: () = assert!(Block::SLOTS == 32, "slots of Xen's blkif ring");

impl BlockRequest {
    /// The same slot as a discard.
    #[must_use]
    pub fn as_discard(&self) -> DiscardRequest {
        zerocopy::transmute!(*self)
    }

    /// The same slot as an indirect request.
    #[must_use]
    pub fn as_indirect(&self) -> IndirectRequest {
        zerocopy::transmute!(*self)
    }
}

impl From<DiscardRequest> for BlockRequest {
    fn from(request: DiscardRequest) -> Self {
        zerocopy::transmute!(request)
    }
}

impl From<IndirectRequest> for BlockRequest {
    fn from(request: IndirectRequest) -> Self {
        zerocopy::transmute!(request)
    }
}
