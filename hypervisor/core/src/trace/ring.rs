//! The trace's writer: fills blocks in a circle and knows what it overwrites.
//! A block's count is written after its records, so whoever reads at any moment finds whole records only.

use alloc::vec::Vec;

use hypercall_abi::DomId;

use super::layout::{
    BLOCK_HEADER, BLOCK_WORDS, BLOCKS_START, MAGIC, NAME_BYTES, NAME_WORDS, NAMES, NAMES_START, VERSION,
    WORD_BLOCKS, WORD_HEAD, WORD_LOST, WORD_MAGIC, WORD_NAMES, WORD_TSC_KHZ, WORD_VERSION,
};
use super::records::Record;
use crate::machine::Machine;

/// The writer's state.
#[derive(Debug)]
pub(super) struct Ring {
    /// Records in each block when it was left.
    counts: Vec<u16>,
    /// Index of the block in use.
    block: usize,
    /// Its sequence number; 0 before the first.
    sequence: u64,
    /// Time of its first record.
    base_ns: u64,
    /// Words used in it.
    used: usize,
    /// Records in it.
    records: u64,
    /// Records in the blocks before it.
    before: u64,
    lost: u64,
    names: usize,
}

impl Ring {
    /// A writer for so many words; `None` if they do not hold two blocks, or there is no memory for the writer.
    pub(super) fn new(words: usize) -> Option<Self> {
        let blocks = words.checked_sub(BLOCKS_START)? / BLOCK_WORDS;
        if blocks < 2 {
            return None;
        }
        let mut counts = Vec::new();
        counts.try_reserve_exact(blocks).ok()?;
        counts.resize(blocks, 0);
        Some(Self {
            counts,
            block: blocks.saturating_sub(1),
            sequence: 0,
            base_ns: 0,
            used: BLOCK_WORDS,
            records: 0,
            before: 0,
            lost: 0,
            names: 0,
        })
    }

    pub(super) fn begin<M: Machine>(&self, m: &mut M, tsc_khz: u64) {
        for word in 0..NAMES_START {
            m.trace_store(word, 0);
        }
        for block in 0..self.counts.len() {
            m.trace_store(start(block), 0);
        }
        m.trace_store(WORD_VERSION, VERSION);
        m.trace_store(WORD_TSC_KHZ, tsc_khz);
        m.trace_store(WORD_BLOCKS, word(self.counts.len()));
        m.trace_store(WORD_MAGIC, MAGIC);
    }

    pub(super) const fn written(&self) -> u64 {
        self.before.saturating_add(self.records)
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn name<M: Machine>(&mut self, m: &mut M, id: DomId, name: &str) {
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
        m.trace_store(WORD_NAMES, word(self.names));
    }

    pub(super) fn put<M: Machine>(&mut self, m: &mut M, domain: DomId, record: &Record) {
        let packed = record.pack();
        let fields = packed.words();
        let words = fields.len().saturating_add(1);
        let now = m.now().0;
        let mut since = u32::try_from(now.saturating_sub(self.base_ns)).ok();
        if self.used.saturating_add(words) > BLOCK_WORDS || since.is_none() {
            self.next_block(m, now);
            since = Some(0);
        }
        let first = start(self.block);
        let at = first.saturating_add(self.used);
        let head = u64::from(record.kind())
            | (word(words) << 8)
            | (u64::from(domain.0) << 16)
            | (u64::from(since.unwrap_or(0)) << 32);
        m.trace_store(at, head);
        for (field, index) in fields.iter().zip(at.saturating_add(1)..) {
            m.trace_store(index, *field);
        }
        self.used = self.used.saturating_add(words);
        self.records = self.records.saturating_add(1);
        m.trace_store(first.saturating_add(3), (self.records << 32) | word(self.used));
    }

    #[cold]
    fn next_block<M: Machine>(&mut self, m: &mut M, now: u64) {
        if let Some(count) = self.counts.get_mut(self.block) {
            *count = u16::try_from(self.records).unwrap_or(u16::MAX);
        }
        self.before = self.before.saturating_add(self.records);
        self.block = self.block.saturating_add(1).checked_rem(self.counts.len()).unwrap_or(0);
        let overwritten = self.counts.get(self.block).copied().unwrap_or(0);
        self.lost = self.lost.saturating_add(u64::from(overwritten));
        self.sequence = self.sequence.saturating_add(1);
        (self.base_ns, self.used, self.records) = (now, BLOCK_HEADER, 0);
        let first = start(self.block);
        m.trace_store(first.saturating_add(3), word(BLOCK_HEADER));
        m.trace_store(first, self.sequence);
        m.trace_store(first.saturating_add(1), now);
        m.trace_store(first.saturating_add(2), self.before);
        m.trace_store(WORD_HEAD, self.sequence);
        m.trace_store(WORD_LOST, self.lost);
    }
}

/// First word of a block.
const fn start(block: usize) -> usize {
    BLOCKS_START.saturating_add(block.saturating_mul(BLOCK_WORDS))
}

fn word(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
