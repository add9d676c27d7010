//! How long events wait and how many one upcall finds, drawn at the largest number of guests.
//! It exists because a policy changes the shape of both, and percentiles show two points of it.

use std::collections::BTreeMap;

use super::point::Point;
use super::report::place;
use super::sweep::Sweep;
use super::traced::Delays;
use crate::html::{Bars, written};

/// A histogram that is drawn.
pub(super) struct Histogram {
    /// For the file's name.
    pub(super) file: &'static str,
    /// Above it.
    pub(super) title: &'static str,
    /// Along its lower edge.
    pub(super) across: &'static str,
    counts: fn(&Delays) -> &BTreeMap<u64, u64>,
    /// The column that a count's key falls into, by its last key.
    bucket: fn(u64, u64) -> u64,
    /// A column's name.
    name: fn(u64, u64) -> String,
}

/// Most columns of single numbers.
const SINGLE: u64 = 16;

/// All of them.
pub(super) const HISTOGRAMS: &[Histogram] = &[
    Histogram {
        file: "delay-histogram",
        title: "how long events wait",
        across: "us from raise to handling, up to (twice the one before)",
        counts: |delays| &delays.histogram_ns,
        bucket: |ns, _| doubled(ns),
        name: |power, _| written((1_u64 << power) as f64 / 1e3),
    },
    Histogram {
        file: "events-histogram",
        title: "how many events an upcall finds",
        across: "events",
        counts: |delays| &delays.events_per_upcall,
        bucket: |events, most| if most <= SINGLE { events } else { events.min(1) + doubled(events) },
        name: |bucket, most| match (bucket, most <= SINGLE) {
            (0..=2, _) | (_, true) => bucket.to_string(),
            _ => format!("{}-{}", (1_u64 << (bucket - 2)) + 1, 1_u64 << (bucket - 1)),
        },
    },
];

/// The smallest power of two that is no less.
fn doubled(value: u64) -> u64 {
    value.checked_next_power_of_two().map_or(63, |power| power.trailing_zeros().into())
}

impl Histogram {
    /// Bars for each way in which the points of the most guests differ: percent of all.
    pub(super) fn bars(&self, figures: &Sweep) -> Bars {
        let most = most(figures);
        let at_most = figures.points.iter().filter(|point| point.guests == most);
        self.of(&at_most.map(|point| (place(figures, point).0, point)).collect::<Vec<_>>())
    }

    /// Bars of these points by name.
    fn of(&self, points: &[(String, &Point)]) -> Bars {
        let all: Vec<(&String, &BTreeMap<u64, u64>)> = points
            .iter()
            .filter_map(|(name, point)| Some((name, (self.counts)(point.delays.as_ref()?))))
            .collect();
        let keys = || all.iter().flat_map(|(_, counts)| counts.keys().copied());
        let largest = keys().max().unwrap_or(0);
        let bucket = |key| (self.bucket)(key, largest);
        let (Some(first), Some(last)) = (keys().map(bucket).min(), keys().map(bucket).max()) else {
            return Bars::default();
        };
        let heights = |counts: &BTreeMap<u64, u64>| {
            let sum = counts.values().sum::<u64>().max(1) as f64;
            let part = |of| {
                counts.iter().filter(|(key, _)| bucket(**key) == of).map(|(_, count)| count).sum::<u64>()
            };
            (first..=last).map(|of| part(of) as f64 / sum * 100.0).collect()
        };
        Bars {
            columns: (first..=last).map(|of| (self.name)(of, largest)).collect(),
            series: all.iter().map(|(name, counts)| ((*name).clone(), heights(counts))).collect(),
        }
    }
}

/// The most guests of a sweep.
pub(super) fn most(figures: &Sweep) -> u32 {
    figures.points.iter().map(|point| point.guests).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(which: usize, counts: &[(u64, u64)]) -> (String, Vec<f64>) {
        let counts: BTreeMap<u64, u64> = counts.iter().copied().collect();
        let delays = Delays { histogram_ns: counts.clone(), events_per_upcall: counts, ..Delays::default() };
        let point = Point { guests: 8, delays: Some(delays), ..Point::default() };
        let bars = HISTOGRAMS[which].of(&[("batched".to_owned(), &point)]);
        (bars.columns.join(" "), bars.series[0].1.clone())
    }

    #[test]
    fn delays_have_a_column_for_each_power_even_an_empty_one() {
        assert_eq!(bars(0, &[(1024, 1), (4096, 3)]), ("1.024 2.048 4.096".to_owned(), vec![25.0, 0.0, 75.0]));
    }

    #[test]
    fn few_numbers_of_events_have_columns_of_their_own_and_many_share() {
        assert_eq!(bars(1, &[(0, 1), (1, 2), (3, 1)]), ("0 1 2 3".to_owned(), vec![25.0, 50.0, 0.0, 25.0]));
        let many = [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (17, 2)];
        assert_eq!(
            bars(1, &many),
            ("1 2 3-4 5-8 9-16 17-32".to_owned(), vec![12.5, 12.5, 25.0, 25.0, 0.0, 25.0])
        );
    }
}
