//! A stream's writer: fills blocks in a circle, and knows what it overwrote or had to drop.
//! A record's first word is written last, behind it a zero, so whoever reads at any moment finds whole records only. The
//! writer has the stream to itself, so reserving room is one addition; an NMI that comes in between writes to a stream
//! of its own.

use core::sync::atomic::Ordering;

use super::layout::{
    BLOCK_HEADER, BLOCK_WORDS, KIND_TIME, STREAM_BLOCK_WORDS, STREAM_BLOCKS, STREAM_CONSUMED, STREAM_DROPPED,
    STREAM_FIRST, STREAM_HEAD, STREAM_OF, STREAM_OVERWRITTEN, STREAM_WORDS, STREAMS_START, TICK_BITS, head,
};
use super::pack::WORDS_MAX;
use super::storage::{Storage, Word};
use super::window::Window;

/// Words that must be free before a record: more than the longest one has, and the zero behind it. It is one number for
/// all, so that one comparison is all that a record needs before its words are written; eight lie behind the first one,
/// as many as three bits can count.
const ROOM: usize = 1 + 8;
const _: () = assert!(WORDS_MAX < 8);
/// The same before several records at once: as much as if each were written by itself, the longest first.
const ROW: usize = WORDS_MAX + ROOM;
/// Where in a row the last record may begin.
const ROW_LAST: u32 = 6;
const _: () = assert!(WORDS_MAX == 6);

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
    /// What is left of the block in use.
    pub(super) window: Window,
    /// The last point of time.
    base: u64,
    /// All words of the trace.
    words: &'static [Word],
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
    /// A writer for `blocks` blocks from word `first` on, which is described in the header as stream `index`.
    #[must_use]
    pub fn new(
        words: &'static [Word],
        index: usize,
        (first, blocks, block_words): (usize, usize, usize),
        mode: Mode,
    ) -> Self {
        let descriptor = STREAMS_START.saturating_add(index.saturating_mul(STREAM_WORDS));
        Self { words, first, blocks, block_words, descriptor, mode, ..Self::default() }
    }

    /// A writer that goes on where a header says that this stream lies.
    pub fn described<S: Storage>(s: &S, index: usize) -> Self {
        let descriptor = STREAMS_START.saturating_add(index.saturating_mul(STREAM_WORDS));
        let word = |offset| usize::try_from(s.trace_load(descriptor.wrapping_add(offset))).unwrap_or(0);
        let place = (word(STREAM_FIRST), word(STREAM_BLOCKS), word(STREAM_BLOCK_WORDS));
        Self::new(s.trace_words(), index, place, Mode::Flight)
    }

    /// Whether the header still describes this stream as it is.
    pub fn is_described(&self) -> bool {
        self.load(self.descriptor.wrapping_add(STREAM_FIRST)) == word(self.first)
            && self.load(self.descriptor.wrapping_add(STREAM_HEAD)) == self.sequence
    }

    /// Describes the empty stream in the header.
    pub fn begin(&self, of: u64) {
        for offset in 0..STREAM_WORDS {
            self.store(self.descriptor.wrapping_add(offset), 0);
        }
        for block in 0..self.blocks {
            self.store(self.start(block), 0);
        }
        self.store(self.descriptor.wrapping_add(STREAM_OF), of << 32);
        self.store(self.descriptor.wrapping_add(STREAM_FIRST), word(self.first));
        self.store(self.descriptor.wrapping_add(STREAM_BLOCK_WORDS), word(self.block_words));
        self.store(self.descriptor.wrapping_add(STREAM_BLOCKS), word(self.blocks));
    }

    /// Records written since the start.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.before.wrapping_add(self.window.records())
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

    /// Writes a record at `now` in ticks: its first word without the time, and its fields. Returns whether there was room,
    /// of which the storage is asked when a block is full.
    #[inline(always)]
    pub fn write<const N: usize>(&mut self, s: &impl Storage, now: u64, head: u64, fields: [u64; N]) -> bool {
        self.write_some(s, (now, head), fields, N)
    }

    /// The same with the first `count` fields.
    #[inline(always)]
    pub(super) fn write_some<const N: usize>(
        &mut self,
        s: &impl Storage,
        (now, head): (u64, u64),
        fields: [u64; N],
        count: usize,
    ) -> bool {
        self.write_some_at_hand(now, head, fields, count)
            || (self.make_room(s, now) && self.write_some_at_hand(now, head, fields, count))
    }

    /// The same if there is room in the block, and the last point of time is not too far away.
    #[inline(always)]
    pub(super) fn write_at_hand<const N: usize>(&mut self, now: u64, head: u64, fields: [u64; N]) -> bool {
        self.write_some_at_hand(now, head, fields, N)
    }

    /// The same, of whose fields only the first `count` are the record's; the others lie where the next one will.
    #[inline(always)]
    pub(super) fn write_some_at_hand<const N: usize>(
        &mut self,
        now: u64,
        head: u64,
        fields: [u64; N],
        count: usize,
    ) -> bool {
        self.write_fields_at_hand::<N>(now, head, |field| fields.get(field).copied().unwrap_or(0), count)
    }

    /// The same with fields that are looked up one by one, so that they need not all be in registers.
    #[inline(always)]
    pub(super) fn write_fields_at_hand<const N: usize>(
        &mut self,
        now: u64,
        head: u64,
        field: impl Fn(usize) -> u64,
        count: usize,
    ) -> bool {
        let since = now.wrapping_sub(self.base);
        if since >> TICK_BITS != 0 {
            return false;
        }
        let Some([first, behind @ ..]) = self.window.at_hand::<ROOM>() else { return false };
        for (slot, at) in behind.iter().zip(0..N) {
            slot.store(field(at), Ordering::Relaxed);
        }
        if let Some(next) = behind.get(count) {
            next.store(0, Ordering::Relaxed);
        }
        first.store(head | (since << (64 - TICK_BITS)), Ordering::Release);
        self.window.advance(count.wrapping_add(1), 1);
        true
    }

    /// Writes records that become visible together, as one row of words: in it a bit of `HEADS` for each first word, which has
    /// no time yet. Returns whether there was room.
    #[inline(always)]
    pub(super) fn write_row_at_hand<const N: usize, const HEADS: u32>(
        &mut self,
        now: u64,
        row: [u64; N],
    ) -> bool {
        // So much that each of them had found room by itself.
        const { assert!(HEADS & 1 == 1 && HEADS.ilog2() <= ROW_LAST && N < ROW) }
        let since = now.wrapping_sub(self.base);
        if since >> TICK_BITS != 0 {
            return false;
        }
        let Some(slots) = self.window.at_hand::<ROW>() else { return false };
        let time = since << (64 - TICK_BITS);
        let mut words = slots.iter().zip(row).zip(0_u32..);
        let first = words.next();
        for ((slot, word), at) in words {
            let is_head = HEADS.wrapping_shr(at) & 1 != 0;
            slot.store(if is_head { word | time } else { word }, Ordering::Relaxed);
        }
        if let Some(next) = slots.get(N) {
            next.store(0, Ordering::Relaxed);
        }
        if let Some(((slot, word), _)) = first {
            slot.store(word | time, Ordering::Release);
        }
        self.window.advance(N, const { HEADS.count_ones() });
        true
    }

    /// Writes two records, one of as many fields as its first word says, which are looked up one by one, and one of a field,
    /// that become visible together. Returns whether there was room.
    #[inline(always)]
    pub(crate) fn write_pair_at_hand<const N: usize>(
        &mut self,
        (then, head, field): (u64, u64, impl Fn(usize) -> u64),
        (now, head_of_second, result): (u64, u64, u64),
    ) -> bool {
        let since = now.wrapping_sub(self.base);
        if since >> TICK_BITS != 0 {
            return false;
        }
        let Some([first, behind @ ..]) = self.window.at_hand::<ROW>() else { return false };
        for (slot, at) in behind.iter().zip(0..N) {
            slot.store(field(at), Ordering::Relaxed);
        }
        let count = words_of(head);
        let Some([second, one, next]) = behind.get(count..).and_then(<[_]>::first_chunk) else {
            return false;
        };
        one.store(result, Ordering::Relaxed);
        next.store(0, Ordering::Relaxed);
        second.store(head_of_second | (since << (64 - TICK_BITS)), Ordering::Relaxed);
        let then = then.wrapping_sub(self.base) << (64 - TICK_BITS);
        first.store(head | then, Ordering::Release);
        self.window.advance(count.wrapping_add(3), 2);
        true
    }

    /// Room for a record and a point of time before it, in this block or the next.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room<S: Storage>(&mut self, s: &S, now: u64) -> bool {
        let Some([first, second, next, ..]) = self.window.at_hand::<{ 2 + ROOM }>() else {
            return self.next_block(s, now);
        };
        second.store(now, Ordering::Relaxed);
        next.store(0, Ordering::Relaxed);
        first.store(head(KIND_TIME, 1, 0, 0), Ordering::Release);
        self.window.advance(2, 0);
        self.base = now;
        true
    }

    /// Room in the next block, which begins at `now`. Returns whether there was any; if not, a record is counted as dropped.
    pub(crate) fn next_block<S: Storage>(&mut self, s: &S, now: u64) -> bool {
        let blocks = word(self.blocks);
        if self.mode == Mode::Live {
            // Of all words this one alone is the host's, so it is read where a recording of the run sees it.
            let consumed = s.trace_load(self.descriptor.wrapping_add(STREAM_CONSUMED)).min(self.sequence);
            if self.sequence.wrapping_sub(consumed) >= blocks {
                // The block stays full: each further record asks again whether the host has made room.
                self.dropped = self.dropped.saturating_add(1);
                self.store(self.descriptor.wrapping_add(STREAM_DROPPED), self.dropped);
                return false;
            }
        }
        if blocks == 0 {
            return false;
        }
        if self.sequence > 0 {
            let used = word(self.block_words.wrapping_sub(self.window.room().len()));
            self.store(self.block.wrapping_add(3), (self.window.records() << 32) | used);
        }
        if self.block_words > BLOCK_WORDS {
            return false;
        }
        self.before = self.written();
        let index = self.sequence.checked_rem(blocks).unwrap_or(0);
        let block = self.start(usize::try_from(index).unwrap_or(0));
        if self.sequence >= blocks && self.mode == Mode::Flight {
            let records = self.load(block.wrapping_add(3)) >> 32;
            self.overwritten = self.overwritten.saturating_add(records);
        }
        self.sequence = self.sequence.saturating_add(1);
        self.block = block;
        self.base = now;
        self.window = Window::of(self.words, block, self.block_words, BLOCK_HEADER);
        self.store(block, 0);
        self.store(block.wrapping_add(1), now);
        self.store(block.wrapping_add(2), self.before);
        self.store(block.wrapping_add(3), 0);
        self.store(block.wrapping_add(BLOCK_HEADER), 0);
        self.store(block, self.sequence);
        self.store(self.descriptor.wrapping_add(STREAM_OVERWRITTEN), self.overwritten);
        self.store(self.descriptor.wrapping_add(STREAM_HEAD), self.sequence);
        true
    }

    /// Counts more records as dropped.
    pub(super) fn drop_more(&mut self, records: u64) {
        self.dropped = self.dropped.wrapping_add(records);
        self.store(self.descriptor.wrapping_add(STREAM_DROPPED), self.dropped);
    }

    pub(super) fn store(&self, index: usize, word: u64) {
        if let Some(slot) = self.words.get(index) {
            slot.store(word, Ordering::Release);
        }
    }

    pub(super) fn load(&self, index: usize) -> u64 {
        self.words.get(index).map_or(0, |slot| slot.load(Ordering::Acquire))
    }

    const fn start(&self, block: usize) -> usize {
        self.first.wrapping_add(block.wrapping_mul(self.block_words))
    }
}

/// Words of fields that a record has by its first word.
#[inline(always)]
pub(super) fn words_of(head: u64) -> usize {
    usize::try_from((head >> 7) & 7).unwrap_or(0)
}

fn word(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
