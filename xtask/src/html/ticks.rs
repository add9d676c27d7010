//! Where the ticks of an axis stand and what is written beside them.
//! Each says its place exactly, and no two say the same.

use super::series::wide;
use crate::table::grouped;

/// Most ticks of an axis in even steps.
const MOST: f64 = 7.0;
/// Most places that are all ticks.
const EACH: usize = 16;
/// Pixels between two labels.
const APART: f64 = 8.0;

/// Round places in even steps from nothing up to `top`.
pub(super) fn even(top: f64) -> Vec<f64> {
    let decade = 10_f64.powf((top / MOST).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    let step = steps.into_iter().find(|step| top / step <= MOST).unwrap_or(top);
    (0_u32..).map(|index| f64::from(index) * step).take_while(|place| *place <= top * 1.000_001).collect()
}

/// A number with as many digits as it needs, of six that count.
pub(crate) fn written(value: f64) -> String {
    let whole = value.round();
    if (value - whole).abs() < 1e-6 * value.abs().max(1e-6) {
        return grouped(whole as u64);
    }
    let before = value.abs().log10().floor().max(-6.0) as i32;
    let digits = usize::try_from(5 - before).unwrap_or(0);
    let text = format!("{value:.digits$}");
    match text.split_once('.') {
        Some((_, after)) => format!("{}.{}", grouped(value.trunc() as u64), after.trim_end_matches('0')),
        None => text,
    }
}

/// Ticks of an axis that doubles, `width` pixels wide: the places where something was measured, or powers of two when they are many.
/// The last has a label; others have theirs where there is room.
pub(super) fn doubling(mut places: Vec<f64>, ends: (f64, f64), width: f64, letter: u32) -> Vec<f64> {
    places.sort_by(f64::total_cmp);
    places.dedup();
    if places.len() > EACH {
        let powers = (0..=60).map(|power| 2_f64.powi(power));
        let (first, last) = (places[0], places[places.len() - 1]);
        places = powers.filter(|power| (first..=last).contains(power)).collect();
    }
    let pixel = |place: f64| (place / ends.0).log2() / (ends.1 / ends.0).log2() * width;
    let half = |place: f64| f64::from(wide(&written(place), letter)) / 2.0;
    let mut kept: Vec<f64> = Vec::new();
    for place in places.into_iter().rev() {
        let room = |&right: &f64| pixel(right) - half(right) - APART >= pixel(place) + half(place);
        if kept.last().is_none_or(room) {
            kept.push(place);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distinct(places: &[f64]) -> Vec<String> {
        let labels: Vec<String> = places.iter().map(|place| written(*place)).collect();
        let mut once = labels.clone();
        once.dedup();
        assert_eq!(labels, once);
        labels
    }

    #[test]
    fn even_ticks_are_round_distinct_and_within_the_axis() {
        assert_eq!(distinct(&even(1.15)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(distinct(&even(12_000.0)), ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]);
        for top in [1e-3, 0.03, 0.7, 1.0, 2.5, 6.99, 7.0, 13.0, 99.0, 1e6] {
            let ticks = even(top);
            assert!((3..=8).contains(&ticks.len()) && ticks.iter().all(|tick| *tick <= top * 1.001), "{top}");
            distinct(&ticks);
        }
    }

    #[test]
    fn a_doubling_axis_has_its_ticks_where_something_was_measured() {
        assert_eq!(doubling(vec![8.0, 8.0], (4.0, 16.0), 400.0, 12), [8.0]);
        assert_eq!(doubling(vec![1.0, 8.0, 32.0, 8.0], (1.0, 32.0), 400.0, 12), [32.0, 8.0, 1.0]);
        assert_eq!(doubling(vec![1.0, 1000.0, 1001.0], (1.0, 1001.0), 400.0, 12), [1001.0, 1.0]);
        let many = (2..=100).map(f64::from).collect();
        assert_eq!(doubling(many, (2.0, 100.0), 400.0, 12), [64.0, 32.0, 16.0, 8.0, 4.0, 2.0]);
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        let texts = [0.0, 0.25, 1.024, 1_048.576, 8.0, 4_096.0, 0.000_5].map(written);
        assert_eq!(texts, ["0", "0.25", "1.024", "1,048.58", "8", "4,096", "0.0005"]);
    }
}
