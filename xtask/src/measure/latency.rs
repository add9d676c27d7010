//! Latencies by the clients' buckets: exact below 128 us, within 1/64 above.
//! It exists because percentiles of several clients, or rounds, cannot be made from theirs.

use std::collections::BTreeMap;

/// Buckets of each doubling, as the clients have them.
const PARTS: u64 = 64;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency(BTreeMap<u64, u64>);

impl Latency {
    /// Adds a bucket's count.
    pub(crate) fn add(&mut self, bucket: u64, count: u64) {
        *self.0.entry(bucket).or_default() += count;
    }

    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(&bucket, &count)| self.add(bucket, count));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The latency in us that `percent` of all do not exceed, as the largest of its bucket.
    pub(crate) fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(&bucket, &count)| {
            seen += count;
            (seen >= rank).then(|| largest(bucket))
        })
    }
}

/// The largest value of a bucket.
const fn largest(bucket: u64) -> u64 {
    if bucket < 2 * PARTS {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    ((bucket - shift * PARTS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clients' rule.
    fn bucket(value: u32) -> u32 {
        if value < 128 {
            return value;
        }
        let shift = 31 - value.leading_zeros() - 6;
        shift * 64 + (value >> shift)
    }

    #[test]
    fn a_bucket_holds_what_is_said_of_it() {
        for value in (1..2_000_000).step_by(37) {
            let at = u64::from(bucket(value));
            assert!(u64::from(value) <= largest(at), "{value}");
            assert!(at == 0 || u64::from(value) > largest(at - 1), "{value}");
            assert!(largest(at) <= u64::from(value) + u64::from(value) / 64, "{value}");
        }
    }

    #[test]
    fn percentiles_are_by_rank() {
        let mut latency = Latency::default();
        latency.add(10, 98);
        latency.add(50, 2);
        assert_eq!((latency.percentile(50), latency.percentile(99)), (Some(10), Some(50)));
        assert_eq!(Latency::default().percentile(50), None);
    }
}
