//! A figure that the host disturbs: how often it was taken, its median, and how far it spreads.

use serde::{Deserialize, Serialize};

use super::point::round;

/// Of a ratio of times on the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// How many pairs were compared.
    pub(crate) n: usize,
    /// The smallest.
    pub(crate) min: Option<f64>,
    /// The largest.
    pub(crate) max: Option<f64>,
    /// Seconds that the rounds took.
    pub(crate) seconds: f64,
}

impl Ratio {
    /// Of these ratios.
    pub(crate) fn of(ratios: &[f64], seconds: f64) -> Self {
        Self {
            n: ratios.len(),
            min: ratios.iter().copied().reduce(f64::min).map(round),
            max: ratios.iter().copied().reduce(f64::max).map(round),
            seconds: round(seconds),
        }
    }
}

/// The middle one; of two in the middle their mean.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let value = match sorted.len() % 2 {
        _ if sorted.is_empty() => return None,
        1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    };
    Some(round(value))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }
}
