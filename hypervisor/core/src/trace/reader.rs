//! The trace's reader, for the host tool: records come out one by one in order of time, and one block of each stream is
//! in memory at a time. It believes nothing: a block that does not add up is counted as damaged and passed over.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use hypercall_abi::DomId;

use super::blocks::Blocks;
pub use super::header::{Header, NoTrace, StreamHeader};
use super::records::Record;

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

/// A record with its time and vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// System time in ns.
    pub time_ns: u64,
    /// Processor that wrote it.
    pub cpu: u8,
    /// vCPU of the domain.
    pub vcpu: u8,
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
    /// Records for which there was no room, as the writer counted them; [`Header::dropped`] has them by category.
    pub dropped: u64,
    /// Records that should have been between those found but were not, overwritten ones included.
    pub lost: u64,
    /// Of those, the ones of kinds that this reader does not know.
    pub unknown: u64,
    /// Blocks that did not add up.
    pub damaged_blocks: u64,
    /// Whether the trace ends before the storage that its header describes.
    pub truncated: bool,
    /// Bytes of what was read, points of time included and blocks' headers not.
    pub bytes: u64,
    /// Words of the longest record that was read.
    pub longest_words: u64,
}

impl Tally {
    pub(super) const fn damaged(&mut self) {
        self.damaged_blocks = self.damaged_blocks.saturating_add(1);
    }

    /// Counts a record of so many words, or that its kind is not known.
    pub(super) fn found(&mut self, record: Option<Record>, words: u64) -> Option<Record> {
        if record.is_none() {
            self.unknown = self.unknown.saturating_add(1);
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(words.saturating_mul(8));
        self.longest_words = self.longest_words.max(words);
        record
    }
}

/// Reads a trace's records, oldest first.
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    header: Header,
    streams: Vec<Blocks>,
    tally: Tally,
}

impl<S: Source> Reader<S> {
    /// Begins to read a trace.
    ///
    /// # Errors
    /// [`NoTrace`] if the header is not that of a trace. Damage after the header is counted, not an error.
    pub fn new(source: S) -> Result<Self, NoTrace> {
        let mut reader =
            Self { source, header: Header::default(), streams: Vec::new(), tally: Tally::default() };
        reader.refresh()?;
        Ok(reader)
    }

    /// Looks again at a trace that is still being written: after it, records that came meanwhile are read.
    ///
    /// # Errors
    /// [`NoTrace`] if the header is not that of a trace, or no longer.
    pub fn refresh(&mut self) -> Result<(), NoTrace> {
        self.header = Header::read(&mut self.source)?;
        let Self { source, header, streams, tally } = self;
        let sum = |of: fn(&StreamHeader) -> u64| header.streams.iter().map(of).fold(0, u64::saturating_add);
        tally.overwritten = sum(|stream| stream.overwritten);
        tally.dropped = sum(|stream| stream.dropped);
        streams.resize_with(header.streams.len(), Blocks::default);
        for (blocks, stream) in streams.iter_mut().zip(&header.streams) {
            blocks.refresh(source, stream, tally);
            if blocks.next.is_none() {
                blocks.advance(source, header, tally);
            }
        }
        Ok(())
    }

    /// What the header said when it was last looked at.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Frequency of the TSC in kHz.
    #[must_use]
    pub const fn tsc_khz(&self) -> u64 {
        self.header.tsc_khz
    }

    /// Names of domains.
    #[must_use]
    pub const fn names(&self) -> &BTreeMap<DomId, String> {
        &self.header.names
    }

    /// What was read so far, and what is missing: whole when the last record was read.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// What the host writes, once it has read all that there is, so that a live trace goes on: index of a word, and
    /// what belongs there.
    pub fn consumed(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.streams.iter().map(|stream| (stream.consumed_at(), stream.consumed()))
    }
}

impl<S: Source> Iterator for Reader<S> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let Self { source, header, streams, tally } = self;
        let earliest = streams
            .iter_mut()
            .filter(|stream| stream.next.is_some())
            .min_by_key(|stream| stream.next.map_or(u64::MAX, |entry| entry.time_ns))?;
        let entry = earliest.next;
        earliest.advance(source, header, tally);
        entry
    }
}
