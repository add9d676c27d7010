//! Which pages lie past the end of the heap, and which of them are free.
//! It is plain arithmetic, so that what pages cost, and that none is given out twice, is tested on the host.
//!
//! Pages are numbered downwards from the end of memory, so those next to the heap have the highest numbers. The free page with the
//! lowest number is taken first: those next to the heap are the first that it can have back.

extern crate alloc;

use alloc::vec::Vec;
use core::ops::Range;

use hypercall_abi::PAGE_SIZE;

/// Bits of a word.
const BITS: usize = u64::BITS as usize;
/// Pages that there may be at most: 1 GiB of them.
const MOST: usize = BITS * BITS * BITS;

/// A set of numbers below a bound, by one bit each.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    const NONE: Self = Self(Vec::new());

    fn new(bound: usize) -> Self {
        Self(alloc::vec![0; bound.div_ceil(BITS)])
    }

    fn contains(&self, number: usize) -> bool {
        self.0.get(number / BITS).is_some_and(|word| word & 1 << (number % BITS) != 0)
    }

    /// Adds a number; true if it is the first of its word.
    fn insert(&mut self, number: usize) -> bool {
        let Some(word) = self.0.get_mut(number / BITS) else { return false };
        let before = *word;
        *word |= 1 << (number % BITS);
        before == 0
    }

    /// Takes a number out; true if it was the last of its word.
    fn remove(&mut self, number: usize) -> bool {
        let Some(word) = self.0.get_mut(number / BITS) else { return false };
        *word &= !(1 << (number % BITS));
        *word == 0
    }

    /// The lowest number in a word that has one.
    fn lowest(&self, word: usize) -> Option<usize> {
        Some(word * BITS + self.0.get(word)?.trailing_zeros() as usize)
    }

    /// The lowest number from `from` up.
    fn next(&self, from: usize) -> Option<usize> {
        let first = from / BITS;
        let rest = self.0.get(first)? & (u64::MAX << (from % BITS));
        if rest != 0 {
            return Some(first * BITS + rest.trailing_zeros() as usize);
        }
        let words = self.0.get(first + 1..)?;
        let word = first + 1 + words.iter().position(|word| *word != 0)?;
        self.lowest(word)
    }
}

/// The pages past the end of the heap.
#[derive(Debug)]
pub struct Pages {
    /// The address past the first of them.
    end: u64,
    /// How many there are: the heap ends where they begin.
    count: usize,
    /// How many there may be.
    most: usize,
    /// Those that are free, and which words of that, and of that in turn, are not 0.
    free: Bits,
    upper: Bits,
    top: u64,
    /// Those that the heap has back though others lie between, and the first of each such range.
    lent: Bits,
    firsts: Bits,
}

impl Pages {
    /// No pages, and no room for any.
    pub const NONE: Self = Self {
        end: 0,
        count: 0,
        most: 0,
        free: Bits::NONE,
        upper: Bits::NONE,
        top: 0,
        lent: Bits::NONE,
        firsts: Bits::NONE,
    };

    /// No pages yet, and room for all that lie between two addresses.
    #[must_use]
    pub fn within(range: &Range<u64>) -> Self {
        let most = Self::most_within(range);
        Self {
            end: range.end & !(PAGE_SIZE as u64 - 1),
            most,
            free: Bits::new(most),
            upper: Bits::new(most.div_ceil(BITS)),
            lent: Bits::new(most),
            firsts: Bits::new(most),
            ..Self::NONE
        }
    }

    /// How many may lie between two addresses.
    #[must_use]
    pub fn most_within(range: &Range<u64>) -> usize {
        let end = range.end & !(PAGE_SIZE as u64 - 1);
        (end.saturating_sub(range.start) / PAGE_SIZE as u64).min(MOST as u64) as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there may be.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }

    /// The address of a page.
    #[must_use]
    pub const fn address(&self, number: usize) -> u64 {
        self.end - (number as u64 + 1) * PAGE_SIZE as u64
    }

    /// The lowest address that one may have.
    #[must_use]
    pub const fn lowest(&self) -> u64 {
        self.end - self.most as u64 * PAGE_SIZE as u64
    }

    /// The address at which they begin.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.end - self.count as u64 * PAGE_SIZE as u64
    }

    /// Takes a free page.
    #[must_use]
    pub fn take(&mut self) -> Option<u64> {
        if self.top == 0 {
            return None;
        }
        let number = self.free.lowest(self.upper.lowest(self.top.trailing_zeros() as usize)?)?;
        self.remove(number);
        Some(self.address(number))
    }

    /// Gives back a page that was taken; false if it is the heap's.
    #[must_use]
    pub fn give(&mut self, address: u64) -> bool {
        // An address past the end becomes a number that is too large.
        let number = (self.end.wrapping_sub(address) / PAGE_SIZE as u64).wrapping_sub(1) as usize;
        let is_ours = number < self.count && !self.lent.contains(number);
        if is_ours {
            self.insert(number);
        }
        is_ours
    }

    /// The address of the page before the others, if there may be one more.
    #[must_use]
    pub fn before(&self) -> Option<u64> {
        (self.count < self.most).then(|| self.address(self.count))
    }

    /// The heap has given up the page before the others, which is taken from now on.
    pub fn grow(&mut self) {
        self.count += 1;
    }

    /// Gives free pages up, as many as lie next to the heap; false if none does.
    #[must_use]
    pub fn shrink(&mut self) -> bool {
        let before = self.count;
        while let Some(last) = self.count.checked_sub(1).filter(|last| self.free.contains(*last)) {
            self.remove(last);
            self.count = last;
        }
        self.count < before
    }

    /// Lends the heap a range of so many free pages, the nearest to it.
    #[must_use]
    pub fn lend(&mut self, pages: usize) -> Option<Range<usize>> {
        if self.top == 0 {
            return None;
        }
        let mut found = 0;
        let is_enough = |number: &usize| {
            found = if self.free.contains(*number) { found + 1 } else { 0 };
            found == pages
        };
        let first = (0..self.count).rev().find(is_enough)?;
        for number in first..first + pages {
            self.remove(number);
            self.lent.insert(number);
        }
        self.firsts.insert(first);
        Some(first..first + pages)
    }

    /// The first range from page `from` up that is lent.
    #[must_use]
    pub fn lent(&self, from: usize) -> Option<Range<usize>> {
        let first = self.firsts.next(from)?;
        let is_another = |number: &usize| !self.lent.contains(*number) || self.firsts.contains(*number);
        let end = (first + 1..self.count).find(is_another).unwrap_or(self.count);
        Some(first..end)
    }

    /// Has back a range that was lent.
    pub fn take_back(&mut self, lent: Range<usize>) {
        self.firsts.remove(lent.start);
        for number in lent {
            self.lent.remove(number);
            self.insert(number);
        }
    }

    fn insert(&mut self, number: usize) {
        if self.free.insert(number) && self.upper.insert(number / BITS) {
            self.top |= 1 << (number / BITS / BITS);
        }
    }

    fn remove(&mut self, number: usize) {
        if self.free.remove(number) && self.upper.remove(number / BITS) {
            self.top &= !(1 << (number / BITS / BITS));
        }
    }
}

#[cfg(test)]
mod tests;
