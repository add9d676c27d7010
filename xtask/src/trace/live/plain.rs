//! The live view where there is no terminal: one table an interval.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::picture::{Picture, percent, rate};
use super::{LOOK, Stream};
use crate::cli::Live;
use crate::table::{fraction, grouped, new};
use crate::{interrupt, trace};

/// Prints a table for each interval, until all are printed or Ctrl-C.
pub(super) fn run(options: &Live, stream: &mut Stream, keep: &mut dyn FnMut(&Picture)) -> Result<()> {
    let mut left = options.intervals.unwrap_or(u64::MAX);
    let mut next = Instant::now() + Duration::from_millis(options.interval);
    while left > 0 && !interrupt::pressed() {
        stream.pump()?;
        if Instant::now() >= next {
            let mut picture = stream.picture();
            picture.sort(options.sort, false);
            keep(&picture);
            let text = text(&picture);
            trace::printed(|output| writeln!(output, "{text}"))?;
            left -= 1;
            next += Duration::from_millis(options.interval);
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// One interval.
pub(super) fn text(picture: &Picture) -> String {
    let heads = [
        "domain",
        "state",
        "CPU %",
        "queue %",
        "sleep %",
        "calls/s",
        "events/s",
        "upcalls/s",
        "events an upcall",
        "switches/s",
        "rings: waiting/most",
    ];
    let mut table = new(&heads);
    for row in &picture.domains {
        table.add_row([
            row.domain.clone(),
            row.state.unwrap_or("-").to_owned(),
            percent(row.running),
            percent(row.runnable),
            percent(row.blocked),
            rate(row.calls_per_s),
            rate(row.events_per_s),
            rate(row.upcalls_per_s),
            fraction(row.events_per_upcall),
            rate(row.switches_per_s),
            row.rings(),
        ]);
    }
    let mut calls = new(&["hypercall", "a second", "% of time", "mean ns", "p99 ns", "max ns"]);
    for call in &picture.hypercalls {
        calls.add_row([
            call.hypercall.clone(),
            rate(call.per_s),
            percent(Some(call.share)),
            call.mean_ns.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.0}")),
            grouped(call.p99_ns),
            grouped(call.max_ns),
        ]);
    }
    format!("{}\n{table}\n{calls}\n", headline(picture))
}

/// What is said of the whole.
pub(super) fn headline(picture: &Picture) -> String {
    format!(
        "{} at {:.3} s: idle {} %, {} switches/s, {} records/s, {} lost",
        picture.scenario,
        picture.time_ns as f64 / 1e9,
        percent(picture.idle_share),
        rate(picture.switches_per_s),
        rate(picture.records_per_s),
        grouped(picture.lost)
    )
}
