//! A shared page for tests: atomics on the host's heap, so that two ends in one process share it without unsafe code.
//! Each clone is the same page, as two mappings of one frame are.

extern crate alloc;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::SharedPage;
use crate::PAGE_SIZE;

/// A page of atomics; clones share it.
#[derive(Clone, Debug)]
pub struct FakePage {
    words: Arc<[AtomicU32; PAGE_SIZE / 4]>,
}

impl Default for FakePage {
    fn default() -> Self {
        Self { words: Arc::new([const { AtomicU32::new(0) }; PAGE_SIZE / 4]) }
    }
}

impl FakePage {
    /// Mappings of this page that exist, this one included.
    #[must_use]
    pub fn mappings(&self) -> usize {
        Arc::strong_count(&self.words)
    }

    /// Whether both are the same page.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.words, &other.words)
    }
}

impl SharedPage for FakePage {
    fn load(&self, offset: usize) -> u32 {
        self.words[offset / 4].load(Ordering::Relaxed)
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        self.words[offset / 4].load(Ordering::Acquire)
    }
    fn store(&self, offset: usize, value: u32) {
        self.words[offset / 4].store(value, Ordering::Relaxed);
    }
    fn store_release(&self, offset: usize, value: u32) {
        self.words[offset / 4].store(value, Ordering::Release);
    }
    fn store_wide(&self, offset: usize, value: u64) {
        self.store(offset, value as u32);
        self.store(offset + 4, (value >> 32) as u32);
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        for (at, byte) in (offset..).zip(into.iter_mut()) {
            *byte = self.load(at & !3).to_le_bytes()[at & 3];
        }
    }
    fn copy_in(&self, offset: usize, from: &[u8]) {
        for (at, byte) in (offset..).zip(from) {
            let mut word = self.load(at & !3).to_le_bytes();
            word[at & 3] = *byte;
            self.store(at & !3, u32::from_le_bytes(word));
        }
    }
}
