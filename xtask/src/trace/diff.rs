//! What changed between two runs: which work of the hypervisor, which delays, and how much of the whole.
//! It exists because two tables side by side leave the reader to find the line that matters.

use std::path::Path;

use anyhow::Result;
use hypervisor_core::trace::records::DESCRIPTIONS;
use serde::Serialize;

use super::stats::Stats;
use super::{stats_of, write_json};
use crate::BadInput;
use crate::cli::Json;
use crate::table::new;

/// What is said of runs in which the hypervisor did the same.
const NO_DIFFERENCE: &str = "there is no difference in the hypervisor's work";

/// Two runs compared.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Diff {
    /// What the figures are for: a second of the trace, or one record.
    per: String,
    /// The hypervisor's work, the largest change first.
    work: Vec<Change>,
    /// What is a consequence: time of guests, time with nothing to do.
    rest: Vec<Change>,
    /// Delays of events by stage, all targets together, the largest change first.
    delays: Vec<Change>,
    /// The largest change, in words.
    largest: String,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
struct Change {
    /// What.
    what: String,
    /// Occurrences in the first run and in the second.
    count: [f64; 2],
    /// Time in ns in the first run and in the second.
    ns: [f64; 2],
    /// Share of all changes of time in its table.
    share: f64,
}

impl Change {
    fn new(what: impl Into<String>, one: (u64, u64), other: (u64, u64), per: [f64; 2]) -> Self {
        let scaled = |a: u64, b: u64| [a as f64 / per[0], b as f64 / per[1]];
        Self { what: what.into(), count: scaled(one.0, other.0), ns: scaled(one.1, other.1), share: 0.0 }
    }

    fn changed(&self) -> bool {
        self.ns[0] != self.ns[1] || self.count[0] != self.count[1]
    }

    fn delta(&self) -> f64 {
        self.ns[1] - self.ns[0]
    }
}

/// Compares two traces.
///
/// # Errors
/// [`BadInput`] for a file that is no trace, or a `per` that one of them has none of.
pub(super) fn diff(one: &Path, other: &Path, per: Option<&str>, json: &Json) -> Result<()> {
    let (first, second) = (stats_of(one)?, stats_of(other)?);
    let diff = of(&first, &second, per)?;
    print(&diff);
    for (path, stats) in [(one, &first), (other, &second)] {
        if stats.is_short() {
            say!("{}: {}", path.display(), stats.remark);
        }
    }
    write_json(json, &diff)
}

/// Compares two runs.
fn of(one: &Stats, other: &Stats, per: Option<&str>) -> Result<Diff, BadInput> {
    let (name, per) = match per {
        None => {
            ("a second of the trace".to_owned(), [one, other].map(|stats| stats.span_ns.max(1) as f64 / 1e9))
        }
        Some(word) => {
            let about = DESCRIPTIONS.iter().find(|about| about.name.eq_ignore_ascii_case(word));
            let about = about.ok_or_else(|| BadInput(format!("no record is called {word}")))?;
            let counts = [one, other].map(|stats| stats.kinds.get(about.name).copied().unwrap_or(0));
            if counts.contains(&0) {
                return Err(BadInput(format!("a trace has no {} to compare by", about.name)));
            }
            (format!("one {}", about.name), counts.map(|count| count as f64))
        }
    };
    let mut work: Vec<Change> = Vec::new();
    let names: std::collections::BTreeSet<&String> =
        one.hypercalls.keys().chain(other.hypercalls.keys()).collect();
    for name in names {
        let of =
            |stats: &Stats| stats.hypercalls.get(name).map_or((0, 0), |call| (call.count, call.total_ns));
        work.push(Change::new(format!("hypercall {name}"), of(one), of(other), per));
    }
    let of = |stats: &Stats| (stats.processor.switches, stats.processor.switches_ns);
    work.push(Change::new("domain switches", of(one), of(other), per));
    let of = |stats: &Stats| (stats.batches.values().sum(), stats.processor.upcalls_ns);
    work.push(Change::new("entries of upcalls", of(one), of(other), per));
    let of = |stats: &Stats| (0, stats.processor.guests_ns);
    let guests = Change::new("guests", of(one), of(other), per);
    let of = |stats: &Stats| (0, stats.processor.idle_ns);
    let idle = Change::new("nothing to do", of(one), of(other), per);
    let mut delays = stages(one, other, per);
    let mut rest = vec![guests, idle];
    for table in [&mut work, &mut rest, &mut delays] {
        ranked(table);
    }
    let changed = work.first().filter(|change| change.changed());
    let largest = changed.map_or_else(|| NO_DIFFERENCE.to_owned(), |change| sentence(change, &name));
    Ok(Diff { per: name, work, rest, delays, largest })
}

/// Delays by stage.
fn stages(one: &Stats, other: &Stats, per: [f64; 2]) -> Vec<Change> {
    let mut names: Vec<&str> = one.delays.iter().chain(&other.delays).map(|delay| delay.stage).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != "whole");
    let of = |stats: &Stats, name: &str| {
        let delays = stats.delays.iter().filter(|delay| delay.stage == name);
        delays.fold((0, 0_u64), |sum, delay| {
            (sum.0 + delay.spread.count, sum.1.saturating_add(delay.spread.total_ns))
        })
    };
    names.into_iter().map(|name| Change::new(name, of(one, name), of(other, name), per)).collect()
}

/// The largest change first, each with its share of all.
fn ranked(table: &mut [Change]) {
    let all: f64 = table.iter().map(|change| change.delta().abs()).sum();
    for change in table.iter_mut() {
        change.share = if all > 0.0 { change.delta().abs() / all } else { 0.0 };
    }
    // Where no time changed, what happened more or less often.
    table.sort_by(|one, other| {
        let by_share = other.share.total_cmp(&one.share);
        by_share.then(other.changed().cmp(&one.changed()))
    });
}

fn sentence(change: &Change, per: &str) -> String {
    let [a, b] = change.count;
    let how = if b < a { "fewer" } else { "more" };
    let time = change.delta() / 1e3;
    let (saved, share) = (if time < 0.0 { "saved" } else { "spent" }, change.share * 100.0);
    format!(
        "{}: {} {how} for {per} ({} to {}), {} us {saved}, {share:.0} % of the change in the hypervisor's work",
        change.what,
        number((b - a).abs()),
        number(a),
        number(b),
        number(time.abs()),
    )
}

/// A figure with as many digits as it deserves.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn print(diff: &Diff) {
    say!("figures for {}", diff.per);
    let tables =
        [("the hypervisor's work", &diff.work), ("the rest", &diff.rest), ("delays of events", &diff.delays)];
    for (name, rows) in tables {
        let mut table = new(&[name, "count", "then", "us", "then", "change us", "share of change"]);
        for change in rows {
            let [count, then] = change.count.map(number);
            let [us, later] = change.ns.map(|ns| number(ns / 1e3));
            let delta = number(change.delta() / 1e3);
            table.add_row([
                &change.what,
                &count,
                &then,
                &us,
                &later,
                &delta,
                &format!("{:.1} %", change.share * 100.0),
            ]);
        }
        say!("{table}\n");
    }
    if diff.largest == NO_DIFFERENCE {
        say!("{NO_DIFFERENCE}");
    } else {
        say!("largest change: {}", diff.largest);
    }
}

/// Compares whatever came out of two damaged traces.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn tried(one: &Stats, other: &Stats) {
    let _ = of(one, other, None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::stats::{Call, Processor};

    fn stats(switches: u64, calls: u64) -> Stats {
        let call = Call { count: calls, total_ns: calls * 400, ..Call::default() };
        Stats {
            span_ns: 2_000_000_000,
            hypercalls: [("event_channel_op".to_owned(), call)].into(),
            processor: Processor { switches, switches_ns: switches * 900, ..Processor::default() },
            kinds: [("Upcall".to_owned(), 10)].into(),
            ..Stats::default()
        }
    }

    #[test]
    fn the_largest_change_of_time_comes_first_and_shares_add_up() {
        let diff = of(&stats(8000, 900), &stats(3000, 1200), None).unwrap();
        assert_eq!(diff.work[0].what, "domain switches");
        assert!(
            diff.largest.starts_with("domain switches: 2500 fewer for a second of the trace (4000 to 1500)")
        );
        let shares: f64 = diff.work.iter().map(|change| change.share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    }

    #[test]
    fn figures_may_be_for_a_record_that_both_have() {
        let diff = of(&stats(20, 0), &stats(10, 0), Some("upcall")).unwrap();
        assert_eq!((diff.per.as_str(), diff.work[0].count), ("one Upcall", [2.0, 1.0]));
        assert!(of(&stats(20, 0), &stats(10, 0), Some("wake")).is_err());
        assert!(of(&stats(20, 0), &stats(10, 0), Some("nothing")).is_err());
    }

    #[test]
    fn runs_that_are_alike_differ_in_nothing() {
        let diff = of(&stats(5, 5), &stats(5, 5), None).unwrap();
        assert!(diff.work.iter().all(|change| change.share == 0.0));
        assert_eq!(diff.largest, NO_DIFFERENCE);
    }
}
