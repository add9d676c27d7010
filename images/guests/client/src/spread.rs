//! How requests spread over the guests and over time: by Zipf's law or evenly; one after the other or as a Poisson
//! process. All of it is drawn from a seed, in whole numbers where that can be.

use alloc::vec::Vec;

/// The weight of the most wanted target.
const WEIGHT_FIRST: u64 = 1 << 32;

/// Which target a request goes to.
pub(crate) struct Spread {
    /// Sum of the weights up to each target.
    sums: Vec<u64>,
    /// Target of each rank.
    ranks: Vec<usize>,
}

impl Spread {
    /// The spread over `count` targets: the `k`th most wanted gets `1/k` of the first's requests, or each the same.
    /// Which is the most wanted is drawn from `seed`, the same for every client.
    pub(crate) fn new(count: usize, zipf: bool, seed: u64) -> Self {
        let mut ranks: Vec<usize> = (0..count).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut ranks);
        let mut sum = 0;
        let sums = (1..=count as u64)
            .map(|rank| {
                sum += if zipf { WEIGHT_FIRST / rank } else { WEIGHT_FIRST };
                sum
            })
            .collect();
        Self { sums, ranks }
    }

    /// Draws a target; 0 if there are none.
    pub(crate) fn draw(&self, chance: &mut fastrand::Rng) -> usize {
        let total = self.sums.last().copied().unwrap_or(1);
        let point = chance.u64(0..total);
        let rank = self.sums.partition_point(|&sum| sum <= point);
        self.ranks.get(rank).copied().unwrap_or(0)
    }
}

/// A time between two requests of a Poisson process with `mean_us` between them on the average.
pub(crate) fn pause_us(chance: &mut fastrand::Rng, mean_us: f64) -> u64 {
    // A number in (0, 1].
    let uniform = (chance.u64(0..1 << 52) + 1) as f64 / (1_u64 << 52) as f64;
    (-logarithm(uniform) * mean_us) as u64
}

/// The natural logarithm of a positive, normal number: `core` has none.
fn logarithm(value: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mantissa = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    // ln m = 2 artanh((m - 1) / (m + 1)), whose series needs few terms between 1 and 2.
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let mut power = ratio;
    let mut sum = 0.0;
    for odd in (1..24).step_by(2) {
        sum += power / f64::from(odd);
        power *= square;
    }
    2.0 * sum + exponent as f64 * core::f64::consts::LN_2
}
