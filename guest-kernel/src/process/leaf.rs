//! Pages of two megabytes of addresses: what one page table of level 1 maps.
//! A frame that several leaves hold is shared until one of them is written; its count is the reference's own.

extern crate alloc;

use alloc::boxed::Box;
use alloc::rc::Rc;

use process_abi::layout::PAGE;

/// Entries of a page table.
pub const ENTRIES: usize = 512;
/// Bytes that a leaf maps.
pub const BYTES: u64 = PAGE * ENTRIES as u64;

/// A frame of memory that a page can show.
pub trait Frame: Sized {
    /// A frame of zeros; `None` when memory is used up.
    fn zeroed() -> Option<Self>;
    /// A frame with the same contents; `None` when memory is used up.
    fn copy(&self) -> Option<Self>;
    /// Reads from an offset; what lies past the frame's end is left out.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Writes at an offset, with the same limit.
    fn write(&self, offset: usize, from: &[u8]);
    /// The machine address by which page tables know it.
    fn machine_address(&self) -> u64;
}

/// A page that is there.
#[derive(Debug)]
pub struct Mapped<F> {
    /// Its frame.
    pub frame: Rc<F>,
    /// Whether its entry lets it be written.
    pub writable: bool,
}

/// The pages of one table.
#[derive(Debug)]
pub struct Leaf<F> {
    frames: Box<[Option<Rc<F>>; ENTRIES]>,
    writable: [u64; ENTRIES / 64],
    count: usize,
}

impl<F> Leaf<F> {
    /// Without pages.
    #[must_use]
    pub fn new() -> Self {
        Self { frames: Box::new([const { None }; ENTRIES]), writable: [0; ENTRIES / 64], count: 0 }
    }

    /// How many pages are there.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The frame of a page; indices count from 0 to 511.
    #[must_use]
    pub fn frame(&self, index: usize) -> Option<&Rc<F>> {
        self.frames[index].as_ref()
    }

    /// Whether a page may be written as it is.
    #[must_use]
    pub const fn is_writable(&self, index: usize) -> bool {
        self.writable[index / 64] >> (index % 64) & 1 != 0
    }

    /// Puts a page in its place; what was there before.
    pub fn set(&mut self, index: usize, page: Mapped<F>) -> Option<Rc<F>> {
        let bit = 1 << (index % 64);
        let word = &mut self.writable[index / 64];
        *word = if page.writable { *word | bit } else { *word & !bit };
        let old = self.frames[index].replace(page.frame);
        self.count += usize::from(old.is_none());
        old
    }

    /// Takes a page away.
    pub fn take(&mut self, index: usize) -> Option<Rc<F>> {
        self.writable[index / 64] &= !(1 << (index % 64));
        let old = self.frames[index].take();
        self.count -= usize::from(old.is_some());
        old
    }

    /// A leaf with the same frames, in which none may be written, here no more than there. `protected` is told
    /// the index of each page that could be.
    pub fn share(&mut self, mut protected: impl FnMut(usize)) -> Self {
        for (word_index, word) in self.writable.iter_mut().enumerate() {
            let mut left = core::mem::take(word);
            while left != 0 {
                protected(word_index * 64 + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
        Self { frames: self.frames.clone(), writable: self.writable, count: self.count }
    }

    /// All pages that are there, with their indices.
    pub fn pages(&self) -> impl Iterator<Item = (usize, &Rc<F>)> {
        self.frames.iter().enumerate().filter_map(|(index, frame)| frame.as_ref().map(|frame| (index, frame)))
    }
}

impl<F> Default for Leaf<F> {
    fn default() -> Self {
        Self::new()
    }
}
