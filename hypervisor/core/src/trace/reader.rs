//! The trace's reader, for the host tool: records come out one by one, and one block is in memory at a time.
//! It believes nothing: a block that does not add up is counted as damaged and passed over.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use hypercall_abi::DomId;

use super::layout::{
    BLOCK_HEADER, BLOCK_WORDS, BLOCKS_START, MAGIC, NAME_WORDS, NAMES, NAMES_START, VERSION, WORD_BLOCKS,
    WORD_HEAD, WORD_LOST, WORD_MAGIC, WORD_NAMES, WORD_TSC_KHZ, WORD_VERSION,
};
use super::records::{self, Record};

/// Where a trace is read from.
pub trait Source {
    /// Reads words from index `first` on; returns how many of `into` are filled: fewer only at the trace's end.
    fn read(&mut self, first: usize, into: &mut [u64]) -> usize;
}

/// A trace in memory, as its bytes.
impl Source for &[u8] {
    fn read(&mut self, first: usize, into: &mut [u64]) -> usize {
        let (words, _) = self.as_chunks::<8>();
        let words = words.get(first..).unwrap_or_default();
        for (to, from) in into.iter_mut().zip(words) {
            *to = u64::from_le_bytes(*from);
        }
        words.len().min(into.len())
    }
}

/// A record with its time and domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// System time in ns.
    pub time_ns: u64,
    /// Whom it is about.
    pub domain: DomId,
    /// What happened.
    pub record: Record,
}

/// What was read so far, and what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that were read.
    pub records: u64,
    /// Records that were overwritten by newer ones, as the writer counted them.
    pub overwritten: u64,
    /// Records that should have been between those found but were not, overwritten ones included.
    pub lost: u64,
    /// Of those, the ones of kinds that this reader does not know.
    pub unknown: u64,
    /// Blocks that did not add up.
    pub damaged_blocks: u64,
    /// Whether the trace ends before the storage that its header describes.
    pub truncated: bool,
}

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

/// Reads a trace's records, oldest first.
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    tsc_khz: u64,
    names: BTreeMap<DomId, String>,
    /// Sequence numbers and first words of the blocks still to be read, newest first.
    blocks: Vec<(u64, usize)>,
    /// Sequence number of the newest block that was entered.
    newest: u64,
    /// The block being read.
    block: Vec<u64>,
    /// Index in it of the next record.
    at: usize,
    /// Words used in it.
    used: usize,
    /// Records in it that are still to be read.
    left: u64,
    /// Of those, the ones to pass over because they were read before.
    skip: u64,
    /// Time of its first record.
    base_ns: u64,
    /// Ordinal of the record after all that were read or given up.
    expected: u64,
    tally: Tally,
}

impl<S: Source> Reader<S> {
    /// Begins to read a trace.
    ///
    /// # Errors
    /// [`NoTrace`] if the header is not that of a trace. Damage after the header is counted, not an error.
    pub fn new(source: S) -> Result<Self, NoTrace> {
        let mut reader = Self {
            source,
            tsc_khz: 0,
            names: BTreeMap::new(),
            blocks: Vec::new(),
            newest: 0,
            block: alloc::vec![0; BLOCK_WORDS],
            at: 0,
            used: 0,
            left: 0,
            skip: 0,
            base_ns: 0,
            expected: 0,
            tally: Tally::default(),
        };
        reader.refresh()?;
        Ok(reader)
    }

    /// Looks again at a trace that is still being written: after it, records that came meanwhile are read.
    ///
    /// # Errors
    /// [`NoTrace`] if the header is not that of a trace, or no longer.
    pub fn refresh(&mut self) -> Result<(), NoTrace> {
        let mut header = [0; HEADER];
        let found = self.source.read(0, &mut header);
        let word = |index: usize| header.get(..found).and_then(|header| header.get(index)).copied();
        let word = |index| word(index).ok_or(NoTrace::TooShort);
        let magic = word(WORD_MAGIC)?;
        if magic != MAGIC {
            return Err(NoTrace::Magic(magic));
        }
        let version = word(WORD_VERSION)?;
        if version != VERSION {
            return Err(NoTrace::Version(version));
        }
        let (blocks, head, names) = (word(WORD_BLOCKS)?, word(WORD_HEAD)?, word(WORD_NAMES)?);
        self.tally.overwritten = word(WORD_LOST)?;
        self.tsc_khz = word(WORD_TSC_KHZ)?;
        self.read_names(names);
        self.find_blocks(blocks, head);
        Ok(())
    }

    /// Frequency of the TSC in kHz.
    #[must_use]
    pub const fn tsc_khz(&self) -> u64 {
        self.tsc_khz
    }

    /// Names of domains.
    #[must_use]
    pub const fn names(&self) -> &BTreeMap<DomId, String> {
        &self.names
    }

    /// What was read so far, and what is missing: whole when the last record was read.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    fn read_names(&mut self, entered: u64) {
        let kept = u64::try_from(NAMES).unwrap_or(0);
        for entry in entered.saturating_sub(kept)..entered {
            let slot = usize::try_from(entry.checked_rem(kept).unwrap_or(0)).unwrap_or(0);
            let first = NAMES_START.saturating_add(slot.saturating_mul(NAME_WORDS));
            let mut words = [0; NAME_WORDS];
            if self.source.read(first, &mut words) < NAME_WORDS {
                break;
            }
            let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            let [low, high, length, text @ ..] = bytes.as_slice() else { break };
            let text = text.get(..usize::from(*length)).unwrap_or(text);
            let text = String::from_utf8_lossy(text).into_owned();
            self.names.insert(DomId(u16::from_le_bytes([*low, *high])), text);
        }
    }

    fn find_blocks(&mut self, blocks: u64, head: u64) {
        self.blocks.clear();
        for block in 0..blocks.min(head) {
            let start = usize::try_from(block)
                .ok()
                .and_then(|block| BLOCKS_START.checked_add(block.checked_mul(BLOCK_WORDS)?));
            let mut sequence = [0];
            let start = start.filter(|start| self.source.read(*start, &mut sequence) == 1);
            match (start, sequence) {
                (None, _) => {
                    self.tally.truncated = true;
                    break;
                }
                (_, [0]) => {}
                (Some(start), [sequence]) if sequence <= head => {
                    // The newest one may have grown.
                    if sequence >= self.newest {
                        self.blocks.push((sequence, start));
                    }
                }
                _ => self.damaged(),
            }
        }
        self.blocks.sort_unstable_by(|one, other| other.cmp(one));
    }

    const fn damaged(&mut self) {
        self.tally.damaged_blocks = self.tally.damaged_blocks.saturating_add(1);
    }

    /// Gives up what is left of the block.
    const fn leave_block(&mut self) {
        self.tally.lost = self.tally.lost.saturating_add(self.left);
        self.left = 0;
    }

    /// Goes on to the next block that adds up; `false` after the last.
    fn next_block(&mut self) -> bool {
        while let Some((sequence, start)) = self.blocks.pop() {
            let found = self.source.read(start, &mut self.block);
            let head = self.block.get(..found).and_then(|block| block.first_chunk::<BLOCK_HEADER>());
            let Some(&[now, base_ns, ordinal, extent]) = head else {
                self.tally.truncated = true;
                continue;
            };
            if now != sequence {
                // Overwritten meanwhile: what is lost shows at the next block's ordinal.
                continue;
            }
            let (records, used) = (extent >> 32, usize::try_from(extent & 0xffff_ffff).unwrap_or(usize::MAX));
            let end = ordinal.saturating_add(records);
            let known = if sequence == self.newest { self.expected.saturating_sub(ordinal) } else { 0 };
            if ordinal.saturating_add(known) < self.expected || !(BLOCK_HEADER..=BLOCK_WORDS).contains(&used)
            {
                self.damaged();
                continue;
            }
            let gap = ordinal.saturating_sub(self.expected);
            self.tally.lost = self.tally.lost.saturating_add(gap);
            self.newest = sequence;
            (self.base_ns, self.left, self.skip, self.at) = (base_ns, records, known, BLOCK_HEADER);
            self.expected = end.max(self.expected);
            self.used = used.min(found);
            self.tally.truncated |= found < used;
            return true;
        }
        false
    }

    /// The next record of the block; `None` at its end.
    fn next_in_block(&mut self) -> Option<Entry> {
        while self.left > 0 && self.at < self.used {
            let rest = self.block.get(self.at..self.used)?;
            let head = rest.first().copied()?;
            let [kind, length, low, high, ..] = head.to_le_bytes();
            let length = usize::from(length);
            let Some(fields) = rest.get(1..length) else { break };
            let record = Record::unpack(kind, fields);
            if record.is_none() && records::is_known(kind) {
                break;
            }
            self.at = self.at.saturating_add(length);
            self.left = self.left.saturating_sub(1);
            if self.skip > 0 {
                self.skip = self.skip.saturating_sub(1);
                continue;
            }
            let Some(record) = record else {
                self.tally.unknown = self.tally.unknown.saturating_add(1);
                self.tally.lost = self.tally.lost.saturating_add(1);
                continue;
            };
            self.tally.records = self.tally.records.saturating_add(1);
            let time_ns = self.base_ns.saturating_add(head >> 32);
            return Some(Entry { time_ns, domain: DomId(u16::from_le_bytes([low, high])), record });
        }
        if self.left > 0 && self.at < self.used {
            self.damaged();
        }
        self.leave_block();
        None
    }
}

impl<S: Source> Iterator for Reader<S> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.next_in_block() {
                return Some(entry);
            }
            if !self.next_block() {
                return None;
            }
        }
    }
}

/// Words of the header that are read.
const HEADER: usize = 8;
