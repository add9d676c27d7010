//! How long events wait and how many one upcall finds, drawn at the largest number of guests.
//! It exists because a policy changes the shape of both, and percentiles show two points of it.

use std::collections::BTreeMap;

use super::report::place;
use super::sweep::Sweep;
use super::traced::Delays;
use crate::html::Curve;

/// A histogram that is drawn.
pub(super) struct Histogram {
    /// For the file's name.
    pub(super) file: &'static str,
    /// Above it.
    pub(super) title: &'static str,
    /// Along its lower edge.
    pub(super) across: &'static str,
    counts: fn(&Delays) -> &BTreeMap<u64, u64>,
    /// Units of a count's key in one of the axis.
    unit: f64,
}

/// All of them.
pub(super) const HISTOGRAMS: &[Histogram] = &[
    Histogram {
        file: "delay-histogram",
        title: "how long events wait",
        across: "us from raise to handling, up to",
        counts: |delays| &delays.histogram_ns,
        unit: 1e3,
    },
    Histogram {
        file: "events-histogram",
        title: "how many events an upcall finds",
        across: "events",
        counts: |delays| &delays.events_per_upcall,
        unit: 1.0,
    },
];

impl Histogram {
    /// A curve for each way in which the points of the most guests differ: percent of all.
    pub(super) fn curves(&self, figures: &Sweep) -> Vec<Curve> {
        let most = most(figures);
        let at_most = figures.points.iter().filter(|point| point.guests == most);
        at_most
            .filter_map(|point| {
                let counts = (self.counts)(point.delays.as_ref()?);
                let all = counts.values().sum::<u64>().max(1) as f64;
                // An upcall that finds nothing has no place on an axis that doubles.
                let filled = counts.iter().filter(|(key, _)| **key > 0);
                let points = filled
                    .map(|(&key, &count)| (key as f64 / self.unit, count as f64 / all * 100.0))
                    .collect();
                Some(Curve { name: place(figures, point).0, points })
            })
            .collect()
    }
}

/// The most guests of a sweep.
pub(super) fn most(figures: &Sweep) -> u32 {
    figures.points.iter().map(|point| point.guests).max().unwrap_or(0)
}
