//! Statistics as tables.

use super::{Call, Processor, Ring, Stats};
use crate::table::{grouped, new, or_dash};

/// How many lines a table by domain has on a terminal.
const MOST: usize = 24;

/// Prints what a trace amounts to.
pub(crate) fn print(stats: &Stats) {
    let mut table = new(&calls_heading(&["hypercall"]));
    let mut calls: Vec<_> = stats.hypercalls.iter().collect();
    calls.sort_by_key(|(_, call)| std::cmp::Reverse(call.total_ns));
    for (name, call) in calls {
        table.add_row(std::iter::once(name.clone()).chain(cells(call)));
    }
    say!("{table}\ndurations without the time in which another domain, or none, had the processor\n");

    let mut calls: Vec<_> = stats.calls.iter().collect();
    calls.sort_by_key(|of| std::cmp::Reverse(of.call.total_ns));
    let mut table = new(&calls_heading(&["hypercall of", "domain"]));
    for of in calls.iter().take(MOST) {
        table.add_row([of.hypercall.clone(), of.domain.clone()].into_iter().chain(cells(&of.call)));
    }
    say!("{table}{}", more(calls.len()));

    let mut table = new(&["record", "count"]);
    for (name, count) in &stats.kinds {
        table.add_row([name.clone(), grouped(*count)]);
    }
    say!("{table}\n");
    domains(stats);
    if let Some(time) = &stats.processor {
        processor(time, stats.span_ns);
    }
    batches(stats);
    delays(stats);
    interrupts(stats);
    rings(stats);
    for figure in &stats.left_out {
        say!("left out: {figure}");
    }
    say!("{} over {:.3} s", stats.remark, stats.span_ns as f64 / 1e9);
    if let Some(counters) = &stats.counters {
        let verdict = if counters.differing.is_empty() {
            format!(
                "the hypervisor's own counters agree with the trace: {} of hypercalls and events; \
                 the run states of {} vCPUs add up to the time passed within {} ns",
                counters.compared, counters.vcpus, counters.states_off_ns
            )
        } else {
            let differing = &counters.differing;
            let (first, more) = (&differing[..differing.len().min(5)], differing.len().saturating_sub(5));
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            format!("the hypervisor's own counters differ: {}{more}", first.join(", "))
        };
        say!("{verdict}");
    }
}

fn calls_heading(first: &[&'static str]) -> Vec<&'static str> {
    let figures = ["count", "share of time", "mean ns", "min ns", "p50 ns", "p99 ns", "max ns", "errors"];
    first.iter().copied().chain(figures).collect()
}

fn cells(call: &Call) -> [String; 8] {
    [
        grouped(call.count),
        or_dash(call.share.map(|share| format!("{:.1} %", share * 100.0))),
        or_dash(call.mean_ns.map(|mean| format!("{mean:.0}"))),
        or_dash(call.min_ns.map(grouped)),
        or_dash(call.p50_ns.map(grouped)),
        or_dash(call.p99_ns.map(grouped)),
        or_dash(call.max_ns.map(grouped)),
        grouped(call.errors),
    ]
}

/// Says that a table was cut.
fn more(lines: usize) -> String {
    match lines.checked_sub(MOST) {
        Some(more @ 1..) => format!("\n{more} more lines; --json has them all\n"),
        _ => "\n".to_owned(),
    }
}

fn domains(stats: &Stats) {
    let heads = [
        "domain",
        "records",
        "hypercalls",
        "events raised",
        "merged",
        "upcalls",
        "switched to",
        "running %",
        "runnable %",
        "blocked %",
    ];
    let mut table = new(&heads);
    let share = |ns: u64| format!("{:.2}", ns as f64 / stats.span_ns.max(1) as f64 * 100.0);
    for domain in stats.domains.iter().take(MOST) {
        let numbers = [
            Some(domain.records),
            domain.hypercalls,
            domain.raised,
            domain.merged,
            domain.upcalls,
            domain.switches,
        ];
        let states = [domain.running_ns, domain.runnable_ns, domain.blocked_ns];
        let numbers = numbers.map(|number| or_dash(number.map(grouped)));
        let cells = numbers.into_iter().chain(states.map(|ns| or_dash(ns.map(share))));
        table.add_row(std::iter::once(domain.name.clone()).chain(cells));
    }
    say!("{table}{}", more(stats.domains.len()));
}

fn processor(time: &Processor, span_ns: u64) {
    let mut table = new(&["the processor's time", "ms", "share"]);
    let rows = [
        ("guests", time.guests_ns),
        ("hypercalls", time.hypercalls_ns),
        ("switches", time.switches_ns),
        ("entries of upcalls", time.upcalls_ns),
        ("nothing to do", time.idle_ns),
    ];
    for (name, ns) in rows {
        let share = format!("{:.1} %", ns as f64 / span_ns.max(1) as f64 * 100.0);
        let share = if time.overlap_ns == 0 { share } else { "-".to_owned() };
        table.add_row([name.to_owned(), format!("{:.3}", ns as f64 / 1e6), share]);
    }
    say!("{table}");
    if time.overlap_ns > 0 {
        say!(
            "several domains have the processor at once, for {:.3} ms in all: records are missing there, or made up",
            time.overlap_ns as f64 / 1e6
        );
    }
    say!("{} switches\n", grouped(time.switches));
}

fn batches(stats: &Stats) {
    let Some(batches) = &stats.batches else { return };
    let mut table = new(&["events an upcall finds", "upcalls"]);
    for (events, count) in batches.iter().take(MOST) {
        table.add_row([grouped(*events), grouped(*count)]);
    }
    say!("{table}{}", more(batches.len()));
}

fn delays(stats: &Stats) {
    let Some(delays) = &stats.delays else { return };
    let mut table =
        new(&["target", "stage of the delay", "count", "min ns", "mean ns", "p50 ns", "p99 ns", "max ns"]);
    for delay in delays {
        let spread = &delay.spread;
        table.add_row([
            delay.target.to_owned(),
            delay.stage.to_owned(),
            grouped(spread.count),
            grouped(spread.min_ns),
            or_dash(spread.mean_ns.map(|mean| format!("{mean:.0}"))),
            grouped(spread.p50_ns),
            grouped(spread.p99_ns),
            grouped(spread.max_ns),
        ]);
    }
    say!("{table}\n");
}

fn interrupts(stats: &Stats) {
    let Some(interrupts) = &stats.interrupts else { return };
    let mut table = new(&["event from", "to", "raised", "merged", "preempted"]);
    let mut rows: Vec<_> = interrupts.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.raised));
    for row in rows.iter().take(MOST) {
        let numbers =
            [Some(row.raised), Some(row.merged), row.preempted].map(|count| or_dash(count.map(grouped)));
        table.add_row([row.from.clone(), row.to.clone()].into_iter().chain(numbers));
    }
    say!("{table}{}", more(rows.len()));
}

fn rings(stats: &Stats) {
    let Some(rings) = stats.rings.as_ref().filter(|rings| !rings.is_empty()) else { return };
    let mut table = new(&Ring::HEADS);
    for ring in rings.iter().take(MOST) {
        table.add_row(ring.cells());
    }
    say!("{table}{}", more(rings.len()));
}
