//! Latencies by size: exact below 128 us, within 1/64 above. It adds up over clients, which percentiles do not.

use alloc::vec::Vec;

/// Buckets of each doubling.
const PARTS: u32 = 64;
const PARTS_LOG: u32 = PARTS.trailing_zeros();

/// Counts by bucket.
#[derive(Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
}

/// The bucket of a value. The host knows the same rule.
const fn bucket(value: u32) -> u32 {
    if value < 2 * PARTS {
        return value;
    }
    let shift = 31 - value.leading_zeros() - PARTS_LOG;
    shift * PARTS + (value >> shift)
}

impl Histogram {
    /// Adds a value.
    pub(crate) fn add(&mut self, value: u32) {
        let at = bucket(value) as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
    }

    /// The buckets that are not empty, with their counts.
    pub(crate) fn filled(&self) -> impl Iterator<Item = (usize, u32)> {
        self.counts.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }
}
