//! How the trace lies in its storage, in words of 64 bits.
//! It is one page of header, a table of names, then streams of blocks that each stand for themselves, so that a
//! reader that finds damage goes on at the next block.
//!
//! - Header: the words named here; the rest of the page is zero. It holds, one after the other, the losses by
//!   category, the records written by kind, and a descriptor of each stream.
//! - Names: entries of four words: domain number in the low half of the first, its length in the third byte, then
//!   the text. The writer goes round; of two entries for one number the later one counts.
//! - Streams: one writer each, so that no writer ever waits for another: a processor's hypervisor, that
//!   processor's non-maskable interrupts, and what its guests record in their pages. Each is a circle of blocks.
//! - Blocks: sequence number from 1, or 0 while the block is made anew; ticks at which it begins; ordinal of its first
//!   record in the stream; then `records << 32 | words used`, written when it is full. Until then it is 0, and a word of
//!   0 follows the last record. Records follow each other and never cross a block's end.
//! - Record: one word, then its fields' words. From the lowest bit: kind (7), words that follow (4), vCPU (6), domain
//!   (15), the first field if that is a byte (8), ticks since the last point of time (24). A block's beginning is a
//!   point of time; a record of kind 0 is another, and its one word holds the ticks. It counts as no record.
//! - What guests record in their pages lies in its stream as it lay there: a record of kind 127, whose first field says how many
//!   places there are and whose one word holds the ticks at which they were taken in, and behind it three words for each place. The
//!   first of them holds, from the lowest bit, the number of a [`hypercall_abi::extension::GuestRecord`] and 1 (4), 8 bits
//!   of no meaning, ticks as the guest says (52); the others are that record's. Or it holds a
//!   [`hypercall_abi::shared_info::RING_TURN`], in which there are up to four records. A guest's time counts as far as it lies
//!   between the record before, at first the block's beginning, and the taking in. Each record counts,
//!   what they lie under does not.
//! - Time: ticks become ns of system time as a guest's clock does: `((ticks - origin) << shift) * multiplier >> 32`.
//!
//! As a flight recorder the writer overwrites the oldest block. Live, it overwrites only blocks up to the
//! sequence number that the host has put into the stream's [`STREAM_CONSUMED`]; while there is none it drops
//! records and counts them by category. A block is complete when the stream's [`STREAM_HEAD`] is past it. Of the newest
//! one there are whole records at any moment, for whoever reads its words in rising order: a record's first word is written
//! last, after the 0 that follows.

/// First word of the header: `DENTRACE`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"DENTRACE");
/// Version of this layout.
pub const VERSION: u64 = 6;

/// Index of the magic.
pub const WORD_MAGIC: usize = 0;
/// Index of the version.
pub const WORD_VERSION: usize = 1;
/// Index of the TSC's frequency in kHz.
pub const WORD_TSC_KHZ: usize = 2;
/// Index of the number of streams.
pub const WORD_STREAMS: usize = 3;
/// Index of the mode: 0 flight recorder, 1 live.
pub const WORD_MODE: usize = 4;
/// Index of the categories that are recorded, a bit each; 0 while the trace is off.
pub const WORD_CATEGORIES: usize = 5;
/// Index of the number of names entered.
pub const WORD_NAMES: usize = 6;
/// Index of the ticks at system time 0.
pub const WORD_ORIGIN: usize = 7;
/// Index of the clock's scale: multiplier in the lower half, shift of the ticks in the upper.
pub const WORD_SCALE: usize = 8;
/// Index of what ended the recording by itself: a [`super::records::Condition`] and 1, or 0.
pub const WORD_TRIGGERED: usize = 9;
/// Index of what is left out on purpose: bit 0 domains, bit 1 hypercalls, bit 2 short hypercalls.
pub const WORD_FILTERED: usize = 10;
/// First of the losses by category, as many as there are bits in a set of categories.
pub const LOST_START: usize = 32;
/// First of the records written by kind; [`KINDS`] of them, up to date when the trace goes off; those of non-maskable
/// interrupts at any moment.
pub const WRITTEN_START: usize = 64;
/// Kinds that there is room for.
pub const KINDS: usize = 128;
/// First descriptor of a stream.
pub const STREAMS_START: usize = 256;
/// Words of a descriptor.
pub const STREAM_WORDS: usize = 16;
/// Streams that there is room for.
pub const STREAMS_MAX: usize = 16;

/// In a descriptor: the processor, and in the upper half what it records: a `STREAM_OF_...`.
pub const STREAM_OF: usize = 0;
/// In a descriptor: first word of the first block.
pub const STREAM_FIRST: usize = 1;
/// In a descriptor: how many blocks.
pub const STREAM_BLOCKS: usize = 2;
/// In a descriptor: words of a block.
pub const STREAM_BLOCK_WORDS: usize = 3;
/// In a descriptor: sequence number of the newest block; 0 before the first.
pub const STREAM_HEAD: usize = 4;
/// In a descriptor, written by the host: sequence number up to which blocks are consumed.
pub const STREAM_CONSUMED: usize = 5;
/// In a descriptor: records that were overwritten by newer ones.
pub const STREAM_OVERWRITTEN: usize = 6;
/// In a descriptor: records dropped because there was no room, all categories.
pub const STREAM_DROPPED: usize = 7;

/// A stream of what the hypervisor does.
pub const STREAM_OF_HYPERVISOR: u64 = 0;
/// A stream of non-maskable interrupts.
pub const STREAM_OF_NMI: u64 = 1;
/// A stream of what guests record in their shared pages.
pub const STREAM_OF_GUESTS: u64 = 2;

/// First word of the names.
pub const NAMES_START: usize = 512;
/// Names that there is room for.
pub const NAMES: usize = 1024;
/// Words of one name.
pub const NAME_WORDS: usize = 4;
/// Bytes of text in a name.
pub const NAME_BYTES: usize = 29;
/// First word of the streams.
pub const BLOCKS_START: usize = NAMES_START + NAMES * NAME_WORDS;
/// Words of a block where there is room for many.
pub const BLOCK_WORDS: usize = 512;
/// Words of the smallest block.
pub const BLOCK_WORDS_MIN: usize = 64;
/// Words of a block's header.
pub const BLOCK_HEADER: usize = 4;
/// Blocks of the stream of non-maskable interrupts.
pub const NMI_BLOCKS: usize = 4;

/// Kind of a point of time.
pub const KIND_TIME: u8 = 0;
/// Kind of what records of a guest lie under that were taken in together.
pub const KIND_TAKEN_IN: u8 = 127;
/// Bits of a record's time.
pub const TICK_BITS: u32 = 24;

/// A record's first word without its time.
#[must_use]
#[inline(always)]
pub const fn head(kind: u8, words: u8, domain: u16, small: u64) -> u64 {
    #[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
    let (kind, words, domain) = (kind as u64, words as u64, domain as u64);
    kind | (words << 7) | ((domain & 0x7fff) << 17) | (small << 32)
}
