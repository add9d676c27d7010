//! A page that may change under its reader's hands, as a hostile domain on another processor can make it.
//! Whoever reads a word twice, or believes what it wrote, fails here.

use std::cell::RefCell;

use hypercall_abi::ring::{FakePage, SharedPage};

/// A page, honest or rewritten before each read.
#[derive(Debug)]
pub struct FicklePage {
    page: FakePage,
    random: Option<RefCell<fastrand::Rng>>,
}

impl FicklePage {
    /// The page as it is, or with a hostile writer by his seed.
    #[must_use]
    pub fn new(page: FakePage, seed: Option<u64>) -> Self {
        Self { page, random: seed.map(|seed| RefCell::new(fastrand::Rng::with_seed(seed))) }
    }

    /// The page beneath.
    #[must_use]
    pub const fn inner(&self) -> &FakePage {
        &self.page
    }

    /// Rewrites a word in one of the ways that attackers choose: a step, a bit, a small number, anything.
    fn disturb(&self, offset: usize) {
        let Some(random) = &self.random else { return };
        let mut random = random.borrow_mut();
        let old = self.page.load(offset);
        let new = match random.u32(0..16) {
            0 => old.wrapping_add(random.u32(1..4)),
            1 => old ^ 1 << random.u32(0..32),
            2 => random.u32(0..300),
            3 => random.u32(..),
            _ => return,
        };
        self.page.store(offset, new);
    }
}

impl SharedPage for FicklePage {
    fn load(&self, offset: usize) -> u32 {
        self.disturb(offset);
        self.page.load(offset)
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        self.disturb(offset);
        self.page.load_acquire(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        self.page.store(offset, value);
    }
    fn store_release(&self, offset: usize, value: u32) {
        self.page.store_release(offset, value);
    }
    fn store_wide(&self, offset: usize, value: u64) {
        self.page.store_wide(offset, value);
    }
    fn fence(&self) {
        self.page.fence();
    }
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        for word in (offset & !3..offset + into.len()).step_by(4) {
            self.disturb(word);
        }
        self.page.copy_out(offset, into);
    }
    fn copy_in(&self, offset: usize, from: &[u8]) {
        self.page.copy_in(offset, from);
    }
}
