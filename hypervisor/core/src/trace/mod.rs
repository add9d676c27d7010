//! The trace: typed records of what happened, in a ring that outlives the run.
//! Each record is declared once in [`records`]; encoder, decoder and documentation come from that declaration, so
//! the host tool cannot misread what the hypervisor wrote.
//!
//! Counters count everything always; the trace adds order and durations while it is on. What is recorded is chosen in
//! [`choice`]; where it goes is [`layout`]'s, and [`stream`] writes it.

mod blocks;
mod calls;
pub mod category;
pub mod choice;
pub mod declare;
pub mod decode;
pub mod document;
mod guests;
mod header;
pub mod layout;
mod notes;
mod numbers;
mod pack;
pub mod reader;
pub mod records;
pub mod stream;
mod switch;

use hypercall_abi::DomId;

use crate::machine::Machine;
use crate::time::TimeScale;
pub(crate) use calls::{call_at_once, call_entry, call_exit, part_entry, part_exit, traced_number};
pub use category::Category;
use choice::Choice;
use layout::{
    BLOCK_WORDS, BLOCK_WORDS_MIN, BLOCKS_START, KINDS, LOST_START, MAGIC, NAME_BYTES, NAME_WORDS, NAMES,
    NAMES_START, NMI_BLOCKS, STREAM_OF_GUESTS, STREAM_OF_HYPERVISOR, STREAM_OF_NMI, VERSION, WORD_CATEGORIES,
    WORD_FILTERED, WORD_MAGIC, WORD_MODE, WORD_NAMES, WORD_ORIGIN, WORD_SCALE, WORD_STREAMS, WORD_TRIGGERED,
    WORD_TSC_KHZ, WORD_VERSION, WRITTEN_START, head,
};
pub(crate) use notes::{event_raised, guest_record, run_state, timed_call, wake};
use pack::Packed;
pub use records::Record;
use stream::words_of;
pub use stream::{Mode, Storage, Stream, Word};
pub(crate) use switch::{first_times, last_counters, set, set_on, tell_guest, triggered};

/// Whether recording is compiled in.
pub const COMPILED_IN: bool = cfg!(feature = "trace");

/// The trace of a world.
#[derive(Debug)]
pub struct Trace {
    /// What is recorded now, a bit a category; 0 while the trace is off.
    mask: u32,
    /// Whether each record must be held against the choice; the stream gives no room at hand then.
    filtered: bool,
    stream: Stream,
    /// What guests record in their pages.
    guests: Stream,
    /// The last time in it, in ticks.
    time_of_guests: u64,
    /// What of it is recorded now.
    heads_of_guests: guests::Heads,
    written: [u64; KINDS],
    /// What is to be recorded while the trace is on.
    pub(crate) choice: Choice,
    /// Words of storage.
    words: usize,
    names: usize,
    tsc_khz: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Trace {
    /// A trace that is off, with so many words of storage; too few for two blocks a stream are not used.
    #[must_use]
    pub fn new(words: usize) -> Self {
        Self {
            mask: 0,
            filtered: false,
            stream: Stream::default(),
            guests: Stream::default(),
            time_of_guests: 0,
            heads_of_guests: guests::heads(0),
            written: [0; KINDS],
            choice: Choice::default(),
            words,
            names: 0,
            tsc_khz: 0,
        }
    }

    /// Writes the header, so that an empty trace can be read. What was recorded before is gone.
    pub fn begin<M: Machine>(&mut self, m: &mut M, tsc_khz: u64) {
        if !COMPILED_IN {
            return;
        }
        self.tsc_khz = tsc_khz;
        self.written = [0; KINDS];
        let Some(Plan { blocks, guests, block_words, nmi }) = Plan::of(self.words, self.choice.buffer_words)
        else {
            (self.stream, self.guests) = (Stream::default(), Stream::default());
            return;
        };
        for word in 0..NAMES_START {
            // The names of domains that are there already stay.
            if word != WORD_NAMES {
                m.trace_store(word, 0);
            }
        }
        let mode = self.choice.mode;
        let TimeScale { origin, multiplier, shift } = m.trace_scale();
        m.trace_store(WORD_VERSION, VERSION);
        m.trace_store(WORD_TSC_KHZ, tsc_khz);
        m.trace_store(WORD_STREAMS, 3);
        m.trace_store(WORD_MODE, u64::from(mode == Mode::Live));
        m.trace_store(WORD_ORIGIN, origin);
        m.trace_store(WORD_SCALE, u64::from(multiplier) | (u64::from(shift.unsigned_abs()) << 32));
        let words = m.trace_words();
        self.stream = Stream::new(words, 0, (BLOCKS_START, blocks, block_words), mode);
        self.stream.begin(STREAM_OF_HYPERVISOR);
        let first = BLOCKS_START.saturating_add(blocks.saturating_mul(block_words));
        Stream::new(words, 1, (first, NMI_BLOCKS, nmi), Mode::Flight).begin(STREAM_OF_NMI);
        let first = first.saturating_add(NMI_BLOCKS.saturating_mul(nmi));
        self.guests = Stream::new(words, 2, (first, guests, block_words), mode);
        self.guests.begin(STREAM_OF_GUESTS);
        m.trace_store(WORD_MAGIC, MAGIC);
    }

    /// Whether there is storage to record in.
    #[must_use]
    pub fn has_storage(&self) -> bool {
        COMPILED_IN && Plan::of(self.words, 0).is_some()
    }

    /// Whether records are written.
    #[must_use]
    #[inline(always)]
    pub const fn is_on(&self) -> bool {
        COMPILED_IN && self.mask != 0
    }

    /// Whether records of a category are written.
    #[must_use]
    #[inline(always)]
    pub const fn wants(&self, category: Category) -> bool {
        COMPILED_IN && self.mask & category.bit() != 0
    }

    /// Whether the parts of multicalls are recorded. Where only long hypercalls are, a multicall stands for its parts:
    /// they are not timed one by one.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn wants_parts(&self) -> bool {
        self.wants(Category::Hypercall) && self.choice.longer() == 0
    }

    /// Categories that are recorded now, a bit each.
    #[must_use]
    pub const fn categories(&self) -> u32 {
        self.mask
    }

    /// Sets what is recorded from now on.
    fn record_only(&mut self, categories: u32) {
        self.mask = categories;
        self.heads_of_guests = guests::heads(categories);
    }

    /// Enters a domain's name, whether the trace is on or not.
    pub fn name<M: Machine>(&mut self, m: &mut M, id: DomId, name: &str) {
        self.choice.named(id, name);
        if !self.has_storage() {
            return;
        }
        let slot = self.names.checked_rem(NAMES).unwrap_or(0);
        let first = NAMES_START.saturating_add(slot.saturating_mul(NAME_WORDS));
        let mut bytes = [0; 32];
        let text = name.as_bytes();
        let text = text.get(..NAME_BYTES).unwrap_or(text);
        let length = u8::try_from(text.len()).unwrap_or(0);
        let [low, high] = id.0.to_le_bytes();
        for (to, from) in bytes.iter_mut().zip([low, high, length].iter().chain(text)) {
            *to = *from;
        }
        let (words, _) = bytes.as_chunks::<8>();
        for (word, index) in words.iter().zip(first..) {
            m.trace_store(index, u64::from_le_bytes(*word));
        }
        self.names = self.names.saturating_add(1);
        m.trace_store(WORD_NAMES, u64::try_from(self.names).unwrap_or(u64::MAX));
    }

    /// Writes a record about a domain, if its category is recorded.
    #[inline(always)]
    pub fn put<M: Machine>(&mut self, m: &mut M, domain: DomId, record: &Record) {
        if self.wants(record.category()) {
            self.put_wanted(m, domain, record);
        }
    }

    /// The same for a category that is known to be recorded. A record's shape is known where it is written, so of all
    /// this a call with its words in registers is left.
    #[inline(always)]
    pub(crate) fn put_wanted<M: Machine>(&mut self, m: &mut M, domain: DomId, record: &Record) {
        let packed = record.pack();
        let Packed { small, words: [a, b, c, d, e, f], .. } = packed;
        let kind = record.kind();
        let head = |words| head(kind, words, domain.0, small);
        self.count(kind);
        match packed.count() {
            0 => self.write(m, head(0), []),
            1 if a == 0 => self.write(m, head(0), []),
            1 => self.write(m, head(1), [a]),
            2 if b == 0 => self.write(m, head(1), [a]),
            2 => self.write(m, head(2), [a, b]),
            3 if c == 0 => self.write(m, head(2), [a, b]),
            3 => self.write(m, head(3), [a, b, c]),
            4 if d == 0 => self.write(m, head(3), [a, b, c]),
            4 => self.write(m, head(4), [a, b, c, d]),
            5 if e == 0 => self.write(m, head(4), [a, b, c, d]),
            5 => self.write(m, head(5), [a, b, c, d, e]),
            _ => self.write(m, head(6), [a, b, c, d, e, f]),
        }
    }

    /// The same with a reading of the clock that was taken just before, for figures that are of that moment.
    #[cold]
    pub(crate) fn put_at<M: Machine>(&mut self, m: &M, ticks: u64, domain: DomId, record: &Record) {
        if self.wants(record.category()) {
            let (kind, packed) = (record.kind(), record.pack());
            self.count(kind);
            let words = u8::try_from(packed.count()).unwrap_or(u8::MAX);
            self.write_at(m, (ticks, head(kind, words, domain.0, packed.small)), packed.words);
        }
    }

    /// Writes a record that is counted: its first word without the time, and its fields.
    #[inline(never)]
    fn write<M: Machine, const N: usize>(&mut self, m: &M, head: u64, fields: [u64; N]) {
        if !self.stream.write_at_hand(m.ticks(), head, fields) {
            // At the end, so that the short way above need not keep anything over it.
            self.write_slowly(m, head, fields);
        }
    }

    /// The same if there is room, with as many of the fields as the first word says.
    #[inline(always)]
    fn write_some_at_hand<M: Machine, const N: usize>(&mut self, m: &M, head: u64, fields: [u64; N]) -> bool {
        self.stream.write_some_at_hand(m.ticks(), head, fields, words_of(head))
    }

    /// The same where there is something to look at, or no room.
    #[cold]
    #[inline(never)]
    fn write_slowly<M: Machine, const N: usize>(&mut self, m: &M, head: u64, fields: [u64; N]) {
        self.write_at(m, (m.ticks(), head), fields);
    }

    /// The same with a reading of the clock.
    fn write_at<M: Machine, const N: usize>(&mut self, m: &M, (now, head): (u64, u64), fields: [u64; N]) {
        if self.filtered {
            if !self.choice.passes(head) {
                return self.uncount(head);
            }
            self.stream.release();
        }
        if !self.stream.write_some(m, (now, head), fields, words_of(head)) {
            self.uncount(head);
            lose(&self.stream, head);
        }
        if self.filtered {
            self.stream.hold();
        }
    }

    /// Counts a record of a kind.
    #[inline(always)]
    fn count(&mut self, kind: u8) {
        if let Some(count) = self.written.get_mut(usize::from(kind)) {
            *count = count.wrapping_add(1);
        }
    }

    /// Takes it back: the record was not written.
    fn uncount(&mut self, head: u64) {
        if let Some(count) = usize::try_from(head & 0x7f).ok().and_then(|kind| self.written.get_mut(kind)) {
            *count = count.wrapping_sub(1);
        }
    }

    /// Brings the header up to date.
    fn close<M: Machine>(&self, m: &mut M) {
        m.trace_store(WORD_CATEGORIES, u64::from(self.mask));
        m.trace_store(WORD_FILTERED, self.choice.left_out());
        const OTHERS: u8 = Record::Nmi { rip: 0 }.kind();
        for ((kind, count), at) in (0..).zip(self.written).zip(WRITTEN_START..) {
            // Non-maskable interrupts count what they write.
            if kind != OTHERS {
                m.trace_store(at, count);
            }
        }
    }

    /// Notes in the header why the recording ended by itself.
    fn note_trigger<M: Machine>(m: &mut M, condition: records::Condition) {
        m.trace_store(WORD_TRIGGERED, u64::from(condition.raw()).saturating_add(1));
    }

    /// Records that were written since the start.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.stream.written().saturating_add(self.guests.written())
    }

    /// Records that newer ones have overwritten, or for which there was no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let of = |stream: &Stream| stream.overwritten().saturating_add(stream.dropped());
        of(&self.stream).saturating_add(of(&self.guests))
    }
}

/// Counts a record for which there was no room.
#[cold]
#[inline(never)]
fn lose(stream: &Stream, head: u64) {
    let kind = u8::try_from(head & 0x7f).unwrap_or(0);
    let Some(description) = records::description(kind) else { return };
    let at = LOST_START.saturating_add(usize::from(description.category.raw()));
    stream.store(at, stream.load(at).saturating_add(1));
}

/// How the storage is divided.
struct Plan {
    blocks: usize,
    /// Blocks of the guests' stream: a fourth of all.
    guests: usize,
    block_words: usize,
    /// Words of a block of the NMIs' stream.
    nmi: usize,
}

impl Plan {
    /// For so many words of storage and at most so many of buffer, 0 for no limit; `None` if that holds no two blocks for each stream.
    fn of(words: usize, limit: usize) -> Option<Self> {
        let nmi = if words < 64 * BLOCK_WORDS { BLOCK_WORDS_MIN } else { BLOCK_WORDS };
        let room = words.checked_sub(BLOCKS_START)?.checked_sub(NMI_BLOCKS.checked_mul(nmi)?)?;
        let room = if limit == 0 { room } else { room.min(limit) };
        let block_words = if room < 8 * BLOCK_WORDS { BLOCK_WORDS_MIN } else { BLOCK_WORDS };
        let blocks = room.checked_div(block_words)?;
        let guests = (blocks >> 2).max(2);
        let blocks = blocks.checked_sub(guests).filter(|blocks| *blocks >= 2)?;
        Some(Self { blocks, guests, block_words, nmi })
    }
}
