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
pub(crate) mod places;
mod put;
pub mod reader;
pub mod records;
mod storage;
pub mod stream;
mod switch;
mod window;

use hypercall_abi::DomId;

use crate::machine::Machine;
use crate::time::TimeScale;
pub(crate) use calls::{
    call_at_hand, call_entry, call_entry_at_hand, call_exit, call_exit_row, known_exit, part_entry,
    part_exit, traced_number,
};
pub use category::Category;
use choice::Choice;
use layout::{
    BLOCK_WORDS, BLOCK_WORDS_MIN, BLOCKS_START, KINDS, MAGIC, NAME_BYTES, NAME_WORDS, NAMES, NAMES_START,
    NMI_BLOCKS, STREAM_OF_GUESTS, STREAM_OF_HYPERVISOR, STREAM_OF_NMI, VERSION, WORD_CATEGORIES,
    WORD_FILTERED, WORD_MAGIC, WORD_MODE, WORD_NAMES, WORD_ORIGIN, WORD_SCALE, WORD_STREAMS, WORD_TRIGGERED,
    WORD_TSC_KHZ, WORD_VERSION, WRITTEN_START,
};
pub(crate) use notes::{
    Left, guest_record, returned, run_state, switched, timed_call, timer_set, told, told_apart, wake,
};
pub(crate) use put::{laid_out, with_first};
pub use records::Record;
pub use storage::{Storage, Word};
pub use stream::{Mode, Stream};
pub(crate) use switch::{first_times, last_counters, set, set_on, tell_guest, triggered};

/// Whether recording is compiled in.
pub const COMPILED_IN: bool = cfg!(feature = "trace");

/// The trace of a world. What is large comes last: it is for records alone, as [`crate::world::World`] has it.
#[derive(Debug)]
#[repr(C)]
pub struct Trace {
    stream: Stream,
    /// What guests record in their pages.
    guests: Stream,
    /// When they were last taken in, in ticks.
    time_of_guests: u64,
    /// What is to be recorded while the trace is on.
    pub(crate) choice: Choice,
    /// Words of storage.
    words: usize,
    names: usize,
    tsc_khz: u64,
    /// What is recorded now, a bit a category; 0 while the trace is off.
    mask: u32,
    /// Whether each record must be held against the choice; the stream gives no room at hand then.
    filtered: bool,
    written: [u64; KINDS],
    /// How many records of it are recorded now in a place that begins so.
    wanted_of_guests: guests::ByLowest<u64>,
    /// How many places were taken in that begin so.
    taken_in: guests::ByLowest<u64>,
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
            wanted_of_guests: [0; 256],
            taken_in: [0; 256],
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
        self.taken_in = [0; 256];
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
        self.wanted_of_guests = guests::wanted(categories);
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

    /// Brings the header up to date.
    fn close<M: Machine>(&self, m: &mut M) {
        m.trace_store(WORD_CATEGORIES, u64::from(self.mask));
        m.trace_store(WORD_FILTERED, self.choice.left_out());
        const OTHERS: u8 = Record::Nmi { rip: 0 }.kind();
        let mut written = self.written;
        for (kind, count) in self.taken_in() {
            if let Some(sum) = written.get_mut(kind) {
                *sum = sum.wrapping_add(count);
            }
        }
        for ((kind, count), at) in (0..).zip(written).zip(WRITTEN_START..) {
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
