//! A trace's header as its reader sees it: modes, names, clock, losses, streams.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use hypercall_abi::DomId;

use super::category::Category;
use super::layout::{
    KINDS, LOST_START, MAGIC, NAME_WORDS, NAMES, NAMES_START, STREAM_BLOCK_WORDS, STREAM_BLOCKS,
    STREAM_CONSUMED, STREAM_DROPPED, STREAM_FIRST, STREAM_HEAD, STREAM_OF, STREAM_OF_NMI, STREAM_OVERWRITTEN,
    STREAM_WORDS, STREAMS_MAX, STREAMS_START, VERSION, WORD_CATEGORIES, WORD_FILTERED, WORD_MAGIC, WORD_MODE,
    WORD_NAMES, WORD_ORIGIN, WORD_SCALE, WORD_STREAMS, WORD_TRIGGERED, WORD_TSC_KHZ, WORD_VERSION,
    WRITTEN_START,
};
use super::reader::Source;
use super::records::Condition;
use super::stream::Mode;

/// Why a file is no trace at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTrace {
    /// It is shorter than a header.
    TooShort,
    /// It does not begin as a trace; the word that it begins with.
    Magic(u64),
    /// It is of a version that this reader does not know.
    Version(u64),
}

impl fmt::Display for NoTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "the file is shorter than a trace's header"),
            Self::Magic(word) => write!(f, "the file does not begin as a trace (first word {word:#018x})"),
            Self::Version(version) => write!(f, "the trace has version {version}; this tool reads {VERSION}"),
        }
    }
}

impl core::error::Error for NoTrace {}

/// A stream as the header describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamHeader {
    /// Processor that writes it.
    pub cpu: u8,
    /// Whether it holds that processor's non-maskable interrupts.
    pub of_nmis: bool,
    /// First word.
    pub first: usize,
    /// Blocks.
    pub blocks: u64,
    /// Words of a block.
    pub block_words: usize,
    /// Sequence number of the newest block; 0 before the first.
    pub head: u64,
    /// Sequence number up to which the host has consumed blocks.
    pub consumed: u64,
    /// Records that newer ones overwrote.
    pub overwritten: u64,
    /// Records for which there was no room.
    pub dropped: u64,
    /// Index of the word to which the host writes what it has consumed.
    pub consumed_at: usize,
}

impl StreamHeader {
    /// First word of the block at this place in the circle.
    #[must_use]
    pub fn block(&self, index: u64) -> Option<usize> {
        let index = usize::try_from(index).ok()?;
        self.first.checked_add(index.checked_mul(self.block_words)?)
    }
}

/// What a trace's header says.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// Frequency of the TSC in kHz.
    pub tsc_khz: u64,
    /// What the writer does when it is full.
    pub mode: Mode,
    /// Categories that are recorded now, a bit each; 0 if the trace is off.
    pub categories: u32,
    /// What is left out on purpose: bit 0 domains, bit 1 hypercalls, bit 2 short hypercalls.
    pub left_out: u64,
    /// What ended the recording by itself.
    pub triggered: Option<Condition>,
    /// Names of domains.
    pub names: BTreeMap<DomId, String>,
    /// Records for which there was no room, by category; only those above 0.
    pub dropped: BTreeMap<Category, u64>,
    /// Records written by kind, as the writer counted them when the trace went off; only those above 0.
    pub written: BTreeMap<u8, u64>,
    /// The streams.
    pub streams: Vec<StreamHeader>,
    origin: u64,
    multiplier: u32,
    shift: u32,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// [`NoTrace`] if it is none.
    pub fn read<S: Source>(source: &mut S) -> Result<Self, NoTrace> {
        let mut words = [0; NAMES_START];
        let found = source.read(0, &mut words);
        let words = words.get(..found).unwrap_or_default();
        let word = |index: usize| words.get(index).copied().ok_or(NoTrace::TooShort);
        let magic = word(WORD_MAGIC)?;
        if magic != MAGIC {
            return Err(NoTrace::Magic(magic));
        }
        let version = word(WORD_VERSION)?;
        if version != VERSION {
            return Err(NoTrace::Version(version));
        }
        // A page is whole or the file is no trace.
        word(NAMES_START.saturating_sub(1))?;
        let scale = word(WORD_SCALE)?;
        let streams = usize::try_from(word(WORD_STREAMS)?).unwrap_or(usize::MAX).min(STREAMS_MAX);
        Ok(Self {
            tsc_khz: word(WORD_TSC_KHZ)?,
            mode: if word(WORD_MODE)? == 1 { Mode::Live } else { Mode::Flight },
            categories: u32::try_from(word(WORD_CATEGORIES)?).unwrap_or(0),
            left_out: word(WORD_FILTERED)?,
            triggered: triggered(word(WORD_TRIGGERED)?),
            names: names(source, word(WORD_NAMES)?),
            dropped: counts(words, LOST_START, Category::ALL.iter().copied()),
            written: counts(words, WRITTEN_START, (0..=u8::MAX).take(KINDS)),
            streams: (0..streams).map(|index| stream(words, index)).collect(),
            origin: word(WORD_ORIGIN)?,
            multiplier: u32::try_from(scale & 0xffff_ffff).unwrap_or(0),
            shift: u32::try_from(scale >> 32).unwrap_or(0),
        })
    }

    /// System time in ns at a reading of the TSC.
    #[must_use]
    #[inline]
    pub fn ns(&self, ticks: u64) -> u64 {
        let shifted = ticks.wrapping_sub(self.origin).wrapping_shl(self.shift);
        let ns = u128::from(shifted).wrapping_mul(u128::from(self.multiplier)) >> 32;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// Counts above 0 by what they count.
fn counts<K: Ord>(words: &[u64], first: usize, keys: impl Iterator<Item = K>) -> BTreeMap<K, u64> {
    let counts = words.get(first..).unwrap_or_default();
    keys.zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
}

fn triggered(word: u64) -> Option<Condition> {
    Condition::from_raw(u8::try_from(word.checked_sub(1)?).ok()?)
}

fn stream(words: &[u64], index: usize) -> StreamHeader {
    let start = STREAMS_START.saturating_add(index.saturating_mul(STREAM_WORDS));
    let word = |offset| words.get(start.saturating_add(offset)).copied().unwrap_or(0);
    let of = word(STREAM_OF);
    StreamHeader {
        cpu: u8::try_from(of & 0xff).unwrap_or(0),
        of_nmis: of >> 32 == STREAM_OF_NMI,
        first: usize::try_from(word(STREAM_FIRST)).unwrap_or(usize::MAX),
        blocks: word(STREAM_BLOCKS),
        block_words: usize::try_from(word(STREAM_BLOCK_WORDS)).unwrap_or(0),
        head: word(STREAM_HEAD),
        consumed: word(STREAM_CONSUMED),
        overwritten: word(STREAM_OVERWRITTEN),
        dropped: word(STREAM_DROPPED),
        consumed_at: start.saturating_add(STREAM_CONSUMED),
    }
}

fn names<S: Source>(source: &mut S, entered: u64) -> BTreeMap<DomId, String> {
    let mut names = BTreeMap::new();
    let kept = u64::try_from(NAMES).unwrap_or(0);
    for entry in entered.saturating_sub(kept)..entered {
        let slot = usize::try_from(entry.checked_rem(kept).unwrap_or(0)).unwrap_or(0);
        let first = NAMES_START.saturating_add(slot.saturating_mul(NAME_WORDS));
        let mut words = [0; NAME_WORDS];
        if source.read(first, &mut words) < NAME_WORDS {
            break;
        }
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        let [low, high, length, text @ ..] = bytes.as_slice() else { break };
        let text = text.get(..usize::from(*length)).unwrap_or(text);
        // A domain has a name; one without is damage, and goes by its number.
        if text.is_empty() {
            continue;
        }
        names.insert(DomId(u16::from_le_bytes([*low, *high])), String::from_utf8_lossy(text).into_owned());
    }
    names
}
