//! A stream's writer: fills blocks in a circle, and knows what it overwrote or had to drop.
//! A block's extent is written after its records, so whoever reads at any moment finds whole records only. It has the
//! stream to itself, so reserving room is one addition; an NMI that comes in between writes to a stream of its own.

use super::layout::{
    BLOCK_HEADER, KIND_TIME, STREAM_BLOCK_WORDS, STREAM_BLOCKS, STREAM_CONSUMED, STREAM_DROPPED,
    STREAM_FIRST, STREAM_HEAD, STREAM_OF, STREAM_OVERWRITTEN, STREAM_WORDS, STREAMS_START, TICK_BITS, head,
};

/// Where records go, and the clock that they are stamped with. A machine without a trace has nothing to say.
pub trait Storage {
    /// The clock in ticks; never goes backwards.
    fn ticks(&self) -> u64 {
        0
    }
    /// Writes a word; an index past the end is ignored. Stores become visible in their order.
    fn trace_store(&mut self, index: usize, word: u64) {
        let _ = (index, word);
    }
    /// Reads a word; 0 past the end.
    fn trace_load(&self, index: usize) -> u64 {
        let _ = index;
        0
    }
    /// Writes a word and those that follow it.
    #[inline(always)]
    fn trace_store_record<const N: usize>(&mut self, index: usize, head: u64, fields: [u64; N]) {
        for (word, at) in core::iter::once(head).chain(fields).zip(index..) {
            self.trace_store(at, word);
        }
    }
}

/// What a stream does when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The newest records win.
    #[default]
    Flight,
    /// The oldest records stay until the host has taken them.
    Live,
}

/// The writer of one stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// Where the next record goes.
    at: usize,
    /// Past the end of the block in use.
    end: usize,
    /// The last point of time.
    base: u64,
    /// `records << 32 | words used` of the block in use.
    extent: u64,
    /// First word of the block in use.
    block: usize,
    /// Its sequence number; 0 before the first.
    sequence: u64,
    /// Ordinal of its first record.
    before: u64,
    first: usize,
    blocks: usize,
    block_words: usize,
    /// First word of the descriptor.
    descriptor: usize,
    mode: Mode,
    overwritten: u64,
    dropped: u64,
}

impl Stream {
    /// A writer for `blocks` blocks from `first` on, which is described in the header as stream `index`.
    #[must_use]
    pub fn new(index: usize, first: usize, blocks: usize, block_words: usize, mode: Mode) -> Self {
        let descriptor = STREAMS_START.saturating_add(index.saturating_mul(STREAM_WORDS));
        Self { first, blocks, block_words, descriptor, mode, ..Self::default() }
    }

    /// A writer that goes on where a header says that this stream lies.
    pub fn described<S: Storage>(s: &S, index: usize) -> Self {
        let descriptor = STREAMS_START.saturating_add(index.saturating_mul(STREAM_WORDS));
        let word = |offset| usize::try_from(s.trace_load(descriptor.wrapping_add(offset))).unwrap_or(0);
        Self::new(index, word(STREAM_FIRST), word(STREAM_BLOCKS), word(STREAM_BLOCK_WORDS), Mode::Flight)
    }

    /// Whether the header still describes this stream as it is.
    pub fn is_described<S: Storage>(&self, s: &S) -> bool {
        s.trace_load(self.descriptor.wrapping_add(STREAM_FIRST)) == word(self.first)
            && s.trace_load(self.descriptor.wrapping_add(STREAM_HEAD)) == self.sequence
    }

    /// Describes the empty stream in the header.
    pub fn begin<S: Storage>(&self, s: &mut S, of: u64) {
        for offset in 0..STREAM_WORDS {
            s.trace_store(self.descriptor.wrapping_add(offset), 0);
        }
        for block in 0..self.blocks {
            s.trace_store(self.start(block), 0);
        }
        s.trace_store(self.descriptor.wrapping_add(STREAM_OF), of << 32);
        s.trace_store(self.descriptor.wrapping_add(STREAM_FIRST), word(self.first));
        s.trace_store(self.descriptor.wrapping_add(STREAM_BLOCK_WORDS), word(self.block_words));
        s.trace_store(self.descriptor.wrapping_add(STREAM_BLOCKS), word(self.blocks));
    }

    /// Records written since the start.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.before.saturating_add(self.extent >> 32)
    }

    /// Of those, records that newer ones overwrote.
    #[must_use]
    pub const fn overwritten(&self) -> u64 {
        self.overwritten
    }

    /// Records that there was no room for.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether the next record begins a block.
    #[must_use]
    pub const fn is_at_end(&self, words: usize) -> bool {
        self.at.wrapping_add(words) > self.end
    }

    /// Writes a record: its first word without the time, and its fields. Returns whether there was room.
    #[inline(always)]
    pub fn write<S: Storage, const N: usize>(&mut self, s: &mut S, head: u64, fields: [u64; N]) -> bool {
        self.write_at_hand(s, head, fields)
            || (self.make_room(s, N.wrapping_add(1)) && self.write_at_hand(s, head, fields))
    }

    /// The same if there is room in the block, and the last point of time is not too far away.
    #[inline(always)]
    pub(super) fn write_at_hand<S: Storage, const N: usize>(
        &mut self,
        s: &mut S,
        head: u64,
        fields: [u64; N],
    ) -> bool {
        let since = s.ticks().wrapping_sub(self.base);
        let at = self.at;
        let next = at.wrapping_add(N).wrapping_add(1);
        if since >> TICK_BITS != 0 || next > self.end {
            return false;
        }
        s.trace_store_record(at, head | (since << (64 - TICK_BITS)), fields);
        self.at = next;
        self.extent = self.extent.wrapping_add((1 << 32) | (word(N).wrapping_add(1)));
        s.trace_store(self.block.wrapping_add(3), self.extent);
        true
    }

    /// Room for a record of so many words, and a point of time before it, in this block or the next.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room<S: Storage>(&mut self, s: &mut S, words: usize) -> bool {
        let now = s.ticks();
        if self.is_at_end(words.wrapping_add(2)) {
            return self.next_block(s, now);
        }
        s.trace_store(self.at, head(KIND_TIME, 1, 0, 0));
        s.trace_store(self.at.wrapping_add(1), now);
        self.at = self.at.wrapping_add(2);
        self.extent = self.extent.wrapping_add(2);
        self.base = now;
        true
    }

    fn next_block<S: Storage>(&mut self, s: &mut S, now: u64) -> bool {
        let blocks = word(self.blocks);
        if self.mode == Mode::Live {
            let consumed = s.trace_load(self.descriptor.wrapping_add(STREAM_CONSUMED)).min(self.sequence);
            if self.sequence.wrapping_sub(consumed) >= blocks {
                self.drop_one(s);
                return false;
            }
        }
        if blocks == 0 {
            return false;
        }
        self.before = self.written();
        let index = self.sequence.checked_rem(blocks).unwrap_or(0);
        let block = self.start(usize::try_from(index).unwrap_or(0));
        if self.sequence >= blocks && self.mode == Mode::Flight {
            let records = s.trace_load(block.wrapping_add(3)) >> 32;
            self.overwritten = self.overwritten.saturating_add(records);
        }
        self.sequence = self.sequence.saturating_add(1);
        (self.block, self.at) = (block, block.wrapping_add(BLOCK_HEADER));
        self.end = block.wrapping_add(self.block_words);
        (self.base, self.extent) = (now, word(BLOCK_HEADER));
        s.trace_store(block, 0);
        s.trace_store(block.wrapping_add(1), now);
        s.trace_store(block.wrapping_add(2), self.before);
        s.trace_store(block.wrapping_add(3), self.extent);
        s.trace_store(block, self.sequence);
        s.trace_store(self.descriptor.wrapping_add(STREAM_OVERWRITTEN), self.overwritten);
        s.trace_store(self.descriptor.wrapping_add(STREAM_HEAD), self.sequence);
        true
    }

    fn drop_one<S: Storage>(&mut self, s: &mut S) {
        self.dropped = self.dropped.saturating_add(1);
        s.trace_store(self.descriptor.wrapping_add(STREAM_DROPPED), self.dropped);
        // The block stays full: each further record asks again whether the host has made room.
        self.at = self.end;
    }

    const fn start(&self, block: usize) -> usize {
        self.first.wrapping_add(block.wrapping_mul(self.block_words))
    }
}

fn word(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
