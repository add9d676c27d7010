//! Free ranges of addresses, given out first fit and joined when they come back.
//! It is plain arithmetic, so that the window's bookkeeping is tested on the host.

extern crate alloc;

use alloc::vec::Vec;

/// Free ranges in order of address: `(start, bytes)`.
#[derive(Debug)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// A set of free ranges, from a list in order of address without overlaps.
    #[must_use]
    pub const fn new(free: Vec<(u64, u64)>) -> Self {
        Self(free)
    }

    /// Takes `bytes` from the first range that has them; returns the first address.
    #[must_use]
    pub fn take(&mut self, bytes: u64) -> Option<u64> {
        let index = self.0.iter().position(|&(_, free)| free >= bytes)?;
        let (start, free) = self.0.get_mut(index)?;
        let taken = *start;
        *start += bytes;
        *free -= bytes;
        if *free == 0 {
            self.0.remove(index);
        }
        Some(taken)
    }

    /// Returns a range that was taken, or adds one.
    pub fn give(&mut self, start: u64, bytes: u64) {
        let index = self.0.partition_point(|&(other, _)| other < start);
        self.0.insert(index, (start, bytes));
        self.join(index);
        if let Some(previous) = index.checked_sub(1) {
            self.join(previous);
        }
    }

    /// Joins the range at `index` with the next one if they touch.
    fn join(&mut self, index: usize) {
        let (Some(&(start, bytes)), Some(&(next, more))) = (self.0.get(index), self.0.get(index + 1)) else {
            return;
        };
        if start + bytes == next {
            self.0.remove(index + 1);
            if let Some(range) = self.0.get_mut(index) {
                range.1 = bytes + more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_joined_whatever_the_order() {
        let mut ranges = Ranges::new(Vec::new());
        ranges.give(0x1000, 0x4000);
        let taken: Vec<u64> = (0..4).filter_map(|_| ranges.take(0x1000)).collect();
        assert_eq!(taken, [0x1000, 0x2000, 0x3000, 0x4000]);
        assert_eq!(ranges.take(0x1000), None);
        for start in [0x3000, 0x1000, 0x4000, 0x2000] {
            ranges.give(start, 0x1000);
        }
        assert_eq!(ranges.0, [(0x1000, 0x4000)]);
    }

    #[test]
    fn a_large_request_skips_small_ranges() {
        let mut ranges = Ranges::new(Vec::new());
        ranges.give(0x1000, 0x1000);
        ranges.give(0x8000, 0x8000);
        assert_eq!(ranges.take(0x2000), Some(0x8000));
        assert_eq!(ranges.take(0x1000), Some(0x1000));
        assert_eq!(ranges.take(0x1000), Some(0xa000));
    }
}
