//! What changed between two runs: which work of the hypervisor, which delays, and how much of the whole.
//! It exists because two tables side by side leave the reader to find the line that matters.

use std::path::Path;

use anyhow::Result;
use hypervisor_core::trace::records::DESCRIPTIONS;
use serde::Serialize;

use super::stats::{Processor, Stats};
use super::{stats_of, write_json};
use crate::BadInput;
use crate::cli::Json;
use crate::table::new;

/// What is said of runs in which the hypervisor did the same.
const NO_DIFFERENCE: &str = "there is no difference in the hypervisor's work";

/// What is said of traces that have no figure in common.
const NOTHING_TO_COMPARE: &str = "the two traces have no figure of the hypervisor's work in common";

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
    /// What was recorded differently, and what is therefore not compared.
    left_out: Vec<String>,
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
    let mut work = calls(one, other, per);
    // What one of them cannot tell is not compared.
    let both = |what: &str, of: &dyn Fn(&Stats) -> Option<(u64, u64)>| {
        Some(Change::new(what, of(one)?, of(other)?, per))
    };
    let processor = |stats: &Stats, of: fn(&Processor) -> (u64, u64)| stats.processor.as_ref().map(of);
    work.extend(both("domain switches", &|stats| processor(stats, |time| (time.switches, time.switches_ns))));
    work.extend(both("entries of upcalls", &|stats| {
        Some((stats.batches.as_ref()?.values().sum(), stats.processor.as_ref()?.upcalls_ns))
    }));
    let guests = both("guests", &|stats| processor(stats, |time| (0, time.guests_ns)));
    let idle = both("nothing to do", &|stats| processor(stats, |time| (0, time.idle_ns)));
    let mut delays = stages(one, other, per);
    let mut rest: Vec<Change> = guests.into_iter().chain(idle).collect();
    for table in [&mut work, &mut rest, &mut delays] {
        ranked(table);
    }
    let changed = work.first().filter(|change| change.changed());
    let largest = match changed {
        Some(change) => sentence(change, &name),
        None if work.is_empty() => NOTHING_TO_COMPARE.to_owned(),
        None => NO_DIFFERENCE.to_owned(),
    };
    Ok(Diff { per: name, work, rest, delays, largest, left_out: left_out(one, other) })
}

/// What is not compared, and why.
fn left_out(one: &Stats, other: &Stats) -> Vec<String> {
    let mut figures: Vec<String> = one.recorded.differs(&other.recorded).into_iter().collect();
    if !one.recorded.leaves_out_as(&other.recorded) {
        figures.push("hypercalls: they were not recorded of the same".to_owned());
    }
    for figure in one.left_out.iter().chain(&other.left_out) {
        if !figures.contains(figure) {
            figures.push(figure.clone());
        }
    }
    figures
}

/// Hypercalls, if both have them of the same choice and with durations.
fn calls(one: &Stats, other: &Stats, per: [f64; 2]) -> Vec<Change> {
    if !(one.durations && other.durations && one.recorded.leaves_out_as(&other.recorded)) {
        return Vec::new();
    }
    let names: std::collections::BTreeSet<&String> =
        one.hypercalls.keys().chain(other.hypercalls.keys()).collect();
    let change = |name: &String| {
        let of = |stats: &Stats| {
            stats.hypercalls.get(name).map_or((0, 0), |call| (call.count, call.total_ns.unwrap_or(0)))
        };
        Change::new(format!("hypercall {name}"), of(one), of(other), per)
    };
    names.into_iter().map(change).collect()
}

/// Delays by stage.
fn stages(one: &Stats, other: &Stats, per: [f64; 2]) -> Vec<Change> {
    let (Some(first), Some(second)) = (&one.delays, &other.delays) else { return Vec::new() };
    let mut names: Vec<&str> = first.iter().chain(second).map(|delay| delay.stage).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != "whole");
    let of = |stats: &Stats, name: &str| {
        let delays = stats.delays.iter().flatten().filter(|delay| delay.stage == name);
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
    for figure in &diff.left_out {
        say!("left out: {figure}");
    }
    match diff.largest.as_str() {
        nothing @ (NO_DIFFERENCE | NOTHING_TO_COMPARE) => say!("{nothing}"),
        change => say!("largest change: {change}"),
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
    use crate::trace::stats::Call;

    fn stats(switches: u64, calls: u64) -> Stats {
        let call = Call { count: calls, total_ns: Some(calls * 400), ..Call::default() };
        Stats {
            span_ns: 2_000_000_000,
            hypercalls: [("event_channel_op".to_owned(), call)].into(),
            processor: Some(Processor { switches, switches_ns: switches * 900, ..Processor::default() }),
            batches: Some([(1, 10)].into()),
            durations: true,
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

    #[test]
    fn what_one_trace_cannot_tell_is_not_compared() {
        let mut other = stats(3, 5);
        (other.processor, other.left_out) = (None, vec!["the processor's time: run-state".to_owned()]);
        let diff = of(&stats(5, 5), &other, None).unwrap();
        assert!(diff.work.iter().all(|change| change.what != "domain switches") && diff.rest.is_empty());
        assert_eq!(diff.left_out, other.left_out);
        other.durations = false;
        assert_eq!(of(&stats(5, 5), &other, None).unwrap().largest, NOTHING_TO_COMPARE);
    }
}
