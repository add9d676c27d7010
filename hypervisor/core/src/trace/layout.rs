//! How the trace lies in its storage, in words of 64 bits.
//! It is one page of header, a table of names, then blocks that each stand for themselves, so that a reader
//! that finds damage goes on at the next block.
//!
//! - Header: the words named here; the rest of the page is zero.
//! - Names: entries of four words: domain number in the low half of the first, its length in the third byte, then
//!   the text. The writer goes round; of two entries for one number the later one counts.
//! - Blocks: sequence number from 1, time of its first record in ns, ordinal of its first record since the start,
//!   then `records << 32 | words used`. Records follow each other and never cross a block's end.
//! - Record: `kind | words << 8 | domain << 16 | ns since the block's time << 32`, then its fields.

/// First word of the header: `DENTRACE`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"DENTRACE");
/// Version of this layout.
pub const VERSION: u64 = 1;

/// Index of the magic.
pub const WORD_MAGIC: usize = 0;
/// Index of the version.
pub const WORD_VERSION: usize = 1;
/// Index of the TSC's frequency in kHz.
pub const WORD_TSC_KHZ: usize = 2;
/// Index of the number of blocks.
pub const WORD_BLOCKS: usize = 3;
/// Index of the newest block's sequence number; 0 before the first.
pub const WORD_HEAD: usize = 4;
/// Index of the number of records that were overwritten.
pub const WORD_LOST: usize = 5;
/// Index of the number of names entered.
pub const WORD_NAMES: usize = 6;

/// First word of the names.
pub const NAMES_START: usize = 512;
/// Names that there is room for.
pub const NAMES: usize = 1024;
/// Words of one name.
pub const NAME_WORDS: usize = 4;
/// Bytes of text in a name.
pub const NAME_BYTES: usize = 29;
/// First word of the blocks.
pub const BLOCKS_START: usize = NAMES_START + NAMES * NAME_WORDS;
/// Words of a block.
pub const BLOCK_WORDS: usize = 512;
/// Words of a block's header.
pub const BLOCK_HEADER: usize = 4;
