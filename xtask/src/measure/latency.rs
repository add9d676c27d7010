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

    /// Adds so many of one latency.
    pub(crate) fn add_us(&mut self, us: u64, count: u64) {
        self.add(bucket(us), count);
    }

    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(&bucket, &count)| self.add(bucket, count));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The latency in us that so many of 1,000 do not exceed, as the largest of its bucket.
    pub(crate) fn of_1000(&self, share: u64) -> Option<u64> {
        let rank = (self.count() * share).div_ceil(1000).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(&bucket, &count)| {
            seen += count;
            (seen >= rank).then(|| largest(bucket))
        })
    }
}

/// The bucket of a value.
const fn bucket(us: u64) -> u64 {
    if us < 2 * PARTS {
        return us;
    }
    let shift = us.ilog2() as u64 - PARTS.ilog2() as u64;
    shift * PARTS + (us >> shift)
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

    #[test]
    fn a_bucket_holds_what_is_said_of_it() {
        for value in (1..2_000_000).step_by(37) {
            let at = bucket(value);
            assert!(value <= largest(at), "{value}");
            assert!(at == 0 || value > largest(at - 1), "{value}");
            assert!(largest(at) <= value + value / 64, "{value}");
        }
    }

    #[test]
    fn percentiles_are_by_rank() {
        let mut latency = Latency::default();
        latency.add(10, 98);
        latency.add(50, 2);
        assert_eq!((latency.of_1000(500), latency.of_1000(990)), (Some(10), Some(50)));
        latency.add(70, 1);
        assert_eq!((latency.of_1000(980), latency.of_1000(1000)), (Some(50), Some(70)));
        assert_eq!(Latency::default().of_1000(500), None);
    }
}
