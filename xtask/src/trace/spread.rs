//! How durations spread: count, sum, ends and percentiles.
//! It exists so that every table and every JSON file gives them by the same names.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Durations being gathered, in ns.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    total: u64,
    least: u64,
    most: u64,
    counts: Histogram<u32>,
}

/// Durations that were gathered, in ns. Percentiles are exact to one part in a hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) total_ns: u64,
    /// Mean.
    pub(crate) mean_ns: Option<f64>,
    /// Shortest.
    pub(crate) min_ns: u64,
    /// Median.
    pub(crate) p50_ns: u64,
    /// 99 of 100 are no longer.
    pub(crate) p99_ns: u64,
    /// Longest.
    pub(crate) max_ns: u64,
}

impl Default for Spread {
    fn default() -> Self {
        let mut counts = Histogram::new(2).expect("two digits are a precision that there is");
        counts.auto(true);
        Self { total: 0, least: u64::MAX, most: 0, counts }
    }
}

impl Spread {
    /// Adds a duration.
    pub(crate) fn add(&mut self, ns: u64) {
        self.total = self.total.saturating_add(ns);
        self.least = self.least.min(ns);
        self.most = self.most.max(ns);
        // Only a histogram that may not grow refuses a value.
        let _ = self.counts.record(ns);
    }

    /// Adds all that another holds.
    pub(crate) fn join(&mut self, other: &Self) {
        self.total = self.total.saturating_add(other.total);
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        self.counts += &other.counts;
    }

    /// The figures.
    pub(crate) fn summary(&self) -> Summary {
        let count = self.counts.len();
        if count == 0 {
            return Summary::default();
        }
        // The histogram answers with the end of a bucket, which may lie past the longest.
        let at = |percentile| self.counts.value_at_percentile(percentile).clamp(self.least, self.most);
        Summary {
            count,
            total_ns: self.total,
            mean_ns: Some((self.total as f64 / count as f64 * 10.0).round() / 10.0),
            min_ns: self.least,
            p50_ns: at(50.0),
            p99_ns: at(99.0),
            max_ns: self.most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_ends() {
        let mut spread = Spread::default();
        for ns in 1..=1000 {
            spread.add(ns * 1000);
        }
        let summary = spread.summary();
        assert_eq!((summary.count, summary.min_ns, summary.max_ns), (1000, 1000, 1_000_000));
        assert_eq!(summary.mean_ns, Some(500_500.0));
        assert!((495_000..=506_000).contains(&summary.p50_ns), "{summary:?}");
        assert!((985_000..=1_000_000).contains(&summary.p99_ns), "{summary:?}");
    }

    #[test]
    fn nothing_gives_no_mean() {
        assert_eq!(Spread::default().summary(), Summary::default());
    }
}
