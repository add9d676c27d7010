//! A whole trace read into memory, for tests and short traces.
//! Long ones are read record by record: see [`super::reader`].

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use hypercall_abi::DomId;

use super::reader::Reader;
pub use super::reader::{Entry, NoTrace};

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

/// Reads a trace from the bytes of its storage.
///
/// # Errors
/// [`NoTrace`] if the header is not that of a trace. Damage after the header is counted, not an error.
pub fn decode(bytes: &[u8]) -> Result<Decoded, NoTrace> {
    let mut reader = Reader::new(bytes)?;
    let entries = reader.by_ref().collect();
    let tally = reader.tally();
    Ok(Decoded {
        tsc_khz: reader.tsc_khz(),
        names: reader.names().clone(),
        entries,
        overwritten: tally.overwritten,
        lost: tally.lost.saturating_add(tally.dropped),
        damaged_blocks: tally.damaged_blocks,
        truncated: tally.truncated,
    })
}
