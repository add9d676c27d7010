//! Latencies of which percentiles are asked: all of them, or an even choice when there are too many.

use alloc::vec::Vec;

/// The most samples that are kept.
const KEPT_MAX: usize = 200_000;

/// Samples in the order of their coming.
pub(crate) struct Samples {
    kept: Vec<u32>,
    seen: u64,
    chance: fastrand::Rng,
}

impl Samples {
    pub(crate) fn new(seed: u64) -> Self {
        Self { kept: Vec::new(), seen: 0, chance: fastrand::Rng::with_seed(seed) }
    }

    /// Adds a sample. Past [`KEPT_MAX`] each one so far has the same chance to be among those kept.
    pub(crate) fn add(&mut self, sample: u32) {
        self.seen += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(sample);
        } else if let Some(place) = self.kept.get_mut(self.chance.u64(0..self.seen) as usize) {
            *place = sample;
        }
    }

    /// The smallest sample that at least `percent` of all do not exceed; 0 without samples.
    pub(crate) fn percentile(&mut self, percent: usize) -> u32 {
        self.kept.sort_unstable();
        let rank = (self.kept.len() * percent).div_ceil(100).saturating_sub(1);
        self.kept.get(rank).copied().unwrap_or(0)
    }
}
