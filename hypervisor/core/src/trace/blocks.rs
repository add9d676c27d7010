//! The records of one stream: blocks found, read one at a time, and what is missing between them.

use alloc::vec::Vec;

use hypercall_abi::DomId;
use hypercall_abi::shared_info::RECORD_WORDS;

use super::guests;
use super::header::{Header, StreamHeader};
use super::layout::{BLOCK_HEADER, KIND_TAKEN_IN, KIND_TIME, TICK_BITS};
use super::reader::{Entry, Source, Tally};
use super::records::{self, Record};

/// Most words of a block that is believed.
const BLOCK_WORDS_MAX: usize = 1 << 20;

/// What records of a guest lie under.
#[derive(Clone, Copy, Debug, Default)]
struct Under {
    /// How many are still to be read.
    left: u64,
    /// First word.
    head: u64,
    /// Ticks at which they were taken in.
    now: u64,
}

/// A stream being read.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    header: StreamHeader,
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
    /// Records in it that are still to be read; unknown while it is written.
    left: Option<u64>,
    /// Ordinal of the next record in it.
    ordinal: u64,
    /// Of those, the ones to pass over because they were read before.
    skip: u64,
    /// Ticks at the last point of time.
    base: u64,
    /// Ticks of the last record that a guest made.
    before: u64,
    /// Records of a guest that come next, and what they lie under.
    under: Under,
    /// Records of the place that was read last that are still to come.
    in_place: [Option<Record>; guests::IN_PLACE],
    /// Its words, of which the first of them is told.
    place_words: u64,
    /// Ordinal of the record after all that were read or given up.
    expected: u64,
    /// The next record.
    pub(super) next: Option<Entry>,
}

impl Blocks {
    /// Sequence number of the newest block that is read to its end and will not grow.
    pub(super) const fn consumed(&self) -> u64 {
        self.newest.saturating_sub(1)
    }

    /// Where the host says so.
    pub(super) const fn consumed_at(&self) -> usize {
        self.header.consumed_at
    }

    /// Looks for blocks that were not read yet.
    pub(super) fn refresh<S: Source>(&mut self, source: &mut S, header: &StreamHeader, tally: &mut Tally) {
        self.header = *header;
        self.blocks.clear();
        let sound = (BLOCK_HEADER..=BLOCK_WORDS_MAX).contains(&header.block_words);
        if !sound {
            tally.damaged_blocks = tally.damaged_blocks.saturating_add(u64::from(header.head > 0));
            return;
        }
        self.block.resize(header.block_words, 0);
        for index in 0..header.blocks.min(header.head) {
            let mut sequence = [0];
            let start = header.block(index).filter(|start| source.read(*start, &mut sequence) == 1);
            match (start, sequence) {
                (None, _) => {
                    tally.truncated = true;
                    break;
                }
                (_, [0]) => {}
                (Some(start), [sequence]) if sequence <= header.head => {
                    // The newest one may have grown.
                    if sequence >= self.newest {
                        self.blocks.push((sequence, start));
                    }
                }
                // It was begun after the header was read.
                (_, [sequence]) if sequence <= header.head.saturating_add(header.blocks) => {}
                _ => tally.damaged(),
            }
        }
        self.blocks.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// Finds the next record.
    pub(super) fn advance<S: Source>(&mut self, source: &mut S, clock: &Header, tally: &mut Tally) {
        loop {
            self.next = self.next_in_block(clock, tally);
            if self.next.is_some() || !self.next_block(source, tally) {
                return;
            }
        }
    }

    /// Goes on to the next block that adds up; `false` after the last.
    fn next_block<S: Source>(&mut self, source: &mut S, tally: &mut Tally) -> bool {
        while let Some((sequence, start)) = self.blocks.pop() {
            let found = source.read(start, &mut self.block);
            let head = self.block.get(..found).and_then(|block| block.first_chunk::<BLOCK_HEADER>());
            let Some(&[now, base, ordinal, extent]) = head else {
                tally.truncated = true;
                continue;
            };
            // Looked at once more: it may have been made anew between two of its words.
            let mut still = [0];
            source.read(start, &mut still);
            if now != sequence || still != [sequence] {
                // Overwritten meanwhile: what is lost shows at the next block's ordinal.
                continue;
            }
            let used = usize::try_from(extent & 0xffff_ffff).unwrap_or(usize::MAX);
            // A block that is still written has no extent: it ends with a word of zero.
            let (records, used) = match extent {
                0 => (None, self.header.block_words),
                _ => (Some(extent >> 32), used),
            };
            let known = if sequence == self.newest { self.expected.saturating_sub(ordinal) } else { 0 };
            let fits = (BLOCK_HEADER..=self.header.block_words).contains(&used);
            if ordinal.saturating_add(known) < self.expected || !fits {
                tally.damaged();
                continue;
            }
            tally.lost = tally.lost.saturating_add(ordinal.saturating_sub(self.expected));
            self.newest = sequence;
            (self.base, self.left, self.skip, self.at) = (base, records, known, BLOCK_HEADER);
            self.ordinal = ordinal;
            (self.under, self.before) = (Under::default(), self.before.max(base));
            self.in_place = [None; guests::IN_PLACE];
            self.expected = ordinal.saturating_add(records.unwrap_or(0)).max(self.expected);
            self.used = used.min(found);
            tally.truncated |= found < used;
            return true;
        }
        false
    }

    /// The next record of the block; `None` at its end.
    fn next_in_block(&mut self, clock: &Header, tally: &mut Tally) -> Option<Entry> {
        while self.left != Some(0) && (self.at < self.used || self.in_place.iter().any(Option::is_some)) {
            if let Some(record) = self.in_place.iter_mut().find_map(Option::take) {
                let words = core::mem::take(&mut self.place_words);
                if self.was_read() {
                    continue;
                }
                if let Some(record) = tally.found(Some(record), words) {
                    return Some(self.entry(clock, self.under.head, self.before, record));
                }
            }
            let rest = self.block.get(self.at..self.used)?;
            if self.under.left > 0 {
                let Some(place) = rest.first_chunk().copied() else { break };
                self.next_place(place, tally);
                continue;
            }
            let head = rest.first().copied()?;
            if head == 0 && self.left.is_none() {
                self.at = self.used;
                break;
            }
            let length = usize::try_from((head >> 7) & 0xf).unwrap_or(0).saturating_add(1);
            let Some(fields) = rest.get(1..length) else { break };
            let kind = u8::try_from(head & 0x7f).unwrap_or(0);
            self.at = self.at.saturating_add(length);
            let words = u64::try_from(length).unwrap_or(0);
            if kind == KIND_TIME {
                tally.bytes = tally.bytes.saturating_add(words.saturating_mul(8));
                self.base = fields.first().copied().unwrap_or(self.base);
                continue;
            }
            let small = u8::try_from((head >> 32) & 0xff).unwrap_or(0);
            if kind == KIND_TAKEN_IN {
                tally.bytes = tally.bytes.saturating_add(words.saturating_mul(8));
                self.under = Under { left: small.into(), head, now: fields.first().copied().unwrap_or(0) };
                continue;
            }
            let record = Record::unpack(kind, small, fields);
            if self.was_read() {
                continue;
            }
            debug_assert!(record.is_some() || !records::is_known(kind));
            if let Some(record) = tally.found(record, words) {
                let ticks = self.base.wrapping_add(head >> (64 - TICK_BITS));
                return Some(self.entry(clock, head, ticks, record));
            }
        }
        if self.left != Some(0) && self.at < self.used {
            tally.damaged();
        }
        // What is left of it is given up.
        tally.lost = tally.lost.saturating_add(self.left.unwrap_or(0));
        (self.left, self.at) = (Some(0), self.used);
        None
    }

    /// Counts one more record of the block; whether it was read before.
    fn was_read(&mut self) -> bool {
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.ordinal = self.ordinal.saturating_add(1);
        self.expected = self.expected.max(self.ordinal);
        let was_read = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        was_read
    }

    /// Takes up the records of a guest's next place.
    fn next_place(&mut self, place: [u64; RECORD_WORDS], tally: &mut Tally) {
        let [first, ..] = place;
        self.at = self.at.saturating_add(RECORD_WORDS);
        self.under.left = self.under.left.saturating_sub(1);
        self.before = guests::time_of(first, self.under.now, self.before);
        self.in_place = guests::at_place(place);
        self.place_words = u64::try_from(RECORD_WORDS).unwrap_or(0);
        if self.in_place.iter().all(Option::is_none) && !self.was_read() {
            tally.found(None, self.place_words);
        }
    }

    fn entry(&self, clock: &Header, head: u64, ticks: u64, record: Record) -> Entry {
        Entry {
            time_ns: clock.ns(ticks),
            cpu: self.header.cpu,
            vcpu: u8::try_from((head >> 11) & 0x3f).unwrap_or(0),
            domain: DomId(u16::try_from((head >> 17) & 0x7fff).unwrap_or(0)),
            record,
        }
    }
}
