//! Where a trace is kept: words that others may read at any moment, and the clock that records are stamped with.

use core::sync::atomic::Ordering;

/// A word of the storage. In tests it tells of each store to it, so that they can look at what lies there at any moment.
#[cfg(not(test))]
pub type Word = core::sync::atomic::AtomicU64;
#[cfg(test)]
pub use crate::testing::Word;

/// Where records go, and the clock that they are stamped with. A machine without a trace has nothing to say.
pub trait Storage {
    /// The clock in ticks; never goes backwards.
    fn ticks(&self) -> u64 {
        0
    }
    /// The words that the trace is kept in, which others may read at any moment.
    fn trace_words(&self) -> &'static [Word] {
        &[]
    }
    /// Writes a word; an index past the end is ignored. Stores become visible in their order.
    fn trace_store(&mut self, index: usize, word: u64) {
        if let Some(slot) = self.trace_words().get(index) {
            slot.store(word, Ordering::Release);
        }
    }
    /// Reads a word; 0 past the end.
    fn trace_load(&self, index: usize) -> u64 {
        self.trace_words().get(index).map_or(0, |slot| slot.load(Ordering::Acquire))
    }
}

/// Storage by itself, of whose clock somebody else knows.
impl Storage for &'static [Word] {
    fn trace_words(&self) -> &'static [Word] {
        self
    }
}
