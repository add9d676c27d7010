//! The trace's reader, for the host tool: a file image in, records in order of time out.
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
use super::records::Record;

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

/// A trace that was read.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Frequency of the TSC.
    pub tsc_khz: u64,
    /// Names of domains.
    pub names: BTreeMap<DomId, String>,
    /// The records, oldest first.
    pub entries: Vec<Entry>,
    /// Records that were overwritten by newer ones, as the writer counted them.
    pub overwritten: u64,
    /// Records that should have been between those found but were not, overwritten ones included.
    pub lost: u64,
    /// Blocks that did not add up.
    pub damaged_blocks: u64,
    /// Whether the file ends before the storage that its header describes.
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

/// Reads a trace from the bytes of its storage.
///
/// # Errors
/// [`NoTrace`] if the header is not that of a trace. Damage after the header is counted, not an error.
pub fn decode(bytes: &[u8]) -> Result<Decoded, NoTrace> {
    let (chunks, _) = bytes.as_chunks::<8>();
    let words = Words(chunks);
    let magic = words.get(WORD_MAGIC).ok_or(NoTrace::TooShort)?;
    if magic != MAGIC {
        return Err(NoTrace::Magic(magic));
    }
    let version = words.get(WORD_VERSION).ok_or(NoTrace::TooShort)?;
    if version != VERSION {
        return Err(NoTrace::Version(version));
    }
    let header = |index| words.get(index).ok_or(NoTrace::TooShort);
    let blocks = header(WORD_BLOCKS)?;
    let head = header(WORD_HEAD)?;
    let mut decoded = Decoded {
        tsc_khz: header(WORD_TSC_KHZ)?,
        overwritten: header(WORD_LOST)?,
        names: names(words, header(WORD_NAMES)?),
        ..Decoded::default()
    };
    let mut found: Vec<(u64, usize)> = Vec::new();
    for block in 0..blocks.min(head) {
        let start = usize::try_from(block)
            .ok()
            .and_then(|block| BLOCKS_START.checked_add(block.checked_mul(BLOCK_WORDS)?));
        match start.and_then(|start| Some((words.get(start)?, start))) {
            None => {
                decoded.truncated = true;
                break;
            }
            Some((0, _)) => {}
            Some((sequence, start)) if sequence <= head => found.push((sequence, start)),
            Some(_) => decoded.damaged_blocks = decoded.damaged_blocks.saturating_add(1),
        }
    }
    found.sort_unstable();
    let mut expected = 0;
    for (_, start) in found {
        block(words, start, &mut expected, &mut decoded);
    }
    Ok(decoded)
}

/// The file as words.
#[derive(Clone, Copy)]
struct Words<'a>(&'a [[u8; 8]]);

impl Words<'_> {
    fn get(self, index: usize) -> Option<u64> {
        self.0.get(index).map(|word| u64::from_le_bytes(*word))
    }
}

fn names(words: Words<'_>, entered: u64) -> BTreeMap<DomId, String> {
    let mut names = BTreeMap::new();
    let kept = u64::try_from(NAMES).unwrap_or(0);
    for entry in entered.saturating_sub(kept)..entered {
        let slot = usize::try_from(entry.checked_rem(kept).unwrap_or(0)).unwrap_or(0);
        let first = NAMES_START.saturating_add(slot.saturating_mul(NAME_WORDS));
        let bytes: Vec<u8> = (first..first.saturating_add(NAME_WORDS))
            .filter_map(|index| words.get(index))
            .flat_map(u64::to_le_bytes)
            .collect();
        let [low, high, length, text @ ..] = bytes.as_slice() else { break };
        let text = text.get(..usize::from(*length)).unwrap_or(text);
        names.insert(DomId(u16::from_le_bytes([*low, *high])), String::from_utf8_lossy(text).into_owned());
    }
    names
}

/// Reads one block's records. `expected` is the ordinal that its first record should have.
fn block(words: Words<'_>, start: usize, expected: &mut u64, decoded: &mut Decoded) {
    let word = |offset: usize| words.get(start.saturating_add(offset));
    let (Some(base), Some(ordinal), Some(extent)) = (word(1), word(2), word(3)) else {
        decoded.truncated = true;
        return;
    };
    let (records, used) = (extent >> 32, usize::try_from(extent & 0xffff_ffff).unwrap_or(usize::MAX));
    if ordinal < *expected || !(BLOCK_HEADER..=BLOCK_WORDS).contains(&used) {
        decoded.damaged_blocks = decoded.damaged_blocks.saturating_add(1);
        return;
    }
    let mut read = 0_u64;
    let mut at = BLOCK_HEADER;
    while at < used && read < records {
        let Some(head) = word(at) else {
            decoded.truncated = true;
            break;
        };
        let [kind, length, low, high, ..] = head.to_le_bytes();
        let end = at.saturating_add(usize::from(length));
        if length == 0 || end > used {
            decoded.damaged_blocks = decoded.damaged_blocks.saturating_add(1);
            break;
        }
        let fields: Vec<u64> = (at.saturating_add(1)..end).map_while(word).collect();
        let Some(record) = Record::unpack(kind, &fields) else {
            decoded.damaged_blocks = decoded.damaged_blocks.saturating_add(1);
            break;
        };
        decoded.entries.push(Entry {
            time_ns: base.saturating_add(head >> 32),
            domain: DomId(u16::from_le_bytes([low, high])),
            record,
        });
        read = read.saturating_add(1);
        at = end;
    }
    let gap = ordinal.saturating_sub(*expected).saturating_add(records.saturating_sub(read));
    decoded.lost = decoded.lost.saturating_add(gap);
    *expected = ordinal.saturating_add(records);
}
