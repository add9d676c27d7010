//! An axis whose ticks are where the plot wants them.
//! It exists because an axis that chooses its own puts ticks where nothing was measured.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::ticks;

/// From one end to another.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    ends: (f64, f64),
    ticks: Vec<f64>,
    /// Whether equal ways multiply instead of adding.
    doubles: bool,
}

impl Axis {
    /// From nothing up to `top`, with ticks in even steps.
    pub(super) fn even(top: f64) -> Self {
        Self { ends: (0.0, top), ticks: ticks::even(top), doubles: false }
    }

    /// Doubling, `width` pixels wide, with ticks at these places.
    pub(super) fn doubling(places: Vec<f64>, width: u32, letter: u32) -> Self {
        let first = places.iter().copied().fold(f64::INFINITY, f64::min).min(1e6);
        let last = places.iter().copied().fold(first, f64::max);
        // One place alone stands in the middle.
        let ends = if last > first { (first, last) } else { (first / 2.0, first * 2.0) };
        Self { ends, ticks: ticks::doubling(places, ends, f64::from(width), letter), doubles: true }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = if self.doubles {
            (value / self.ends.0).log2() / (self.ends.1 / self.ends.0).log2()
        } else {
            (value - self.ends.0) / (self.ends.1 - self.ends.0)
        };
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.ends.0..self.ends.1
    }
}
