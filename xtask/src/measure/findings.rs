//! What a sweep says in sentences, made from its figures alone.
//! It exists so that a reader need not guess from curves where a policy pays, where it harms, and by what.

use super::point::Point;
use super::sweep::Sweep;
use crate::table::{self, grouped};

/// A difference smaller than this is none.
const SMALL: f64 = 0.01;

/// The sentences.
pub(crate) fn findings(figures: &Sweep) -> Vec<String> {
    match figures.settings.kind.as_str() {
        "idle" => idle(figures),
        _ => policies(figures),
    }
}

/// Points of one machine that differ in `other` alone from `base`.
fn pairs<'a>(
    figures: &'a Sweep,
    base: impl Fn(&Point) -> bool,
    other: impl Fn(&Point) -> bool,
    same: impl Fn(&Point, &Point) -> bool,
) -> Vec<(&'a Point, &'a Point)> {
    let find = |point: &'a Point| figures.points.iter().find(|with| base(with) && same(with, point));
    figures
        .points
        .iter()
        .filter(|point| other(point))
        .filter_map(|point| Some((find(point)?, point)))
        .collect()
}

fn gain(base: &Point, other: &Point) -> f64 {
    if base.throughput > 0.0 { other.throughput / base.throughput - 1.0 } else { 0.0 }
}

/// The throughput of the slowest and the fastest round.
fn range(point: &Point) -> String {
    let [least, most] = point.throughput_spread.map(whole);
    if least == most { least } else { format!("{least} to {most}") }
}

fn percent(value: f64) -> String {
    format!("{:+.1} %", value * 100.0)
}

fn policies(figures: &Sweep) -> Vec<String> {
    let names: Vec<String> = figures.settings.policies.iter().map(ToString::to_string).collect();
    let Some((first, others)) = names.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for suppress in &figures.settings.suppress {
        for name in others {
            let pairs = pairs(
                figures,
                |point| point.delivery == *first,
                |point| point.delivery == *name && point.suppress == *suppress,
                |one, two| (one.guests, &one.suppress, &one.idle) == (two.guests, &two.suppress, &two.idle),
            );
            found.extend(compared(first, name, suppress, &pairs));
        }
    }
    found.extend(outside(&figures.points));
    found
}

/// Whether the host's load was what it was meant to be: a packet that is lost on the way costs its connection a fifth of a second at least.
fn outside(points: &[Point]) -> Option<String> {
    let most = |of: fn(&Point) -> Option<u64>| points.iter().filter_map(of).max();
    let (connect, request) = (most(|point| point.connect_max_us)?, most(|point| point.max_us)?);
    Some(format!(
        "No connection from the host took longer than {} us to open, and no request longer than {} us.",
        grouped(connect),
        grouped(request)
    ))
}

/// What one policy does against the first, over all numbers of guests.
fn compared(first: &str, name: &str, suppress: &str, pairs: &[(&Point, &Point)]) -> Vec<String> {
    let best = pairs.iter().max_by(|a, b| gain(a.0, a.1).total_cmp(&gain(b.0, b.1)));
    let worst = pairs.iter().min_by(|a, b| gain(a.0, a.1).total_cmp(&gain(b.0, b.1)));
    let (Some(&(base, best)), Some(&(under, worst))) = (best, worst) else { return Vec::new() };
    let subject = format!("{name} against {first} delivery, suppression {suppress}");
    let mut text = format!(
        "{subject}: throughput changes by {} at {} at best and by {} at {} at worst, where the rounds have {} a second against {}.",
        percent(gain(base, best)),
        table::guests(best.guests),
        percent(gain(under, worst)),
        worst.guests,
        range(worst),
        range(under),
    );
    let count = |holds: fn(f64) -> bool| {
        let numbers: Vec<u32> = pairs
            .iter()
            .filter(|(base, other)| holds(gain(base, other)))
            .map(|(_, other)| other.guests)
            .collect();
        let (last, before) = numbers.split_last()?;
        let before: String = before.iter().map(|number| format!("{number}, ")).collect();
        Some(if before.is_empty() { table::guests(*last) } else { format!("{before}{last} guests") })
    };
    let (pays, harms) = (count(|gain| gain > SMALL), count(|gain| gain < -SMALL));
    if let Some(pays) = pays {
        text.push_str(&format!(" It pays at {pays}."));
    }
    if let Some(harms) = harms {
        text.push_str(&format!(" It harms at {harms}."));
    }
    let mut found = vec![text];
    if best.instructions_per_request.total.is_some() {
        found.push(why(base, best));
    }
    let tail = |(base, other): &&(&Point, &Point)| Some((base.p99_us? as f64, other.p99_us? as f64));
    let worst_tail = pairs
        .iter()
        .filter_map(|pair| tail(&pair).map(|(base, other)| (pair.1.guests, other / base - 1.0)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((guests, change)) = worst_tail {
        let at = table::guests(guests);
        found.push(format!("Its p99 latency changes by {} at worst, at {at}.", percent(change)));
    }
    found
}

/// Where the instructions of the difference went.
fn why(base: &Point, other: &Point) -> String {
    let (before, after) = (&base.instructions_per_request, &other.instructions_per_request);
    let change = |one: Option<f64>, two: Option<f64>| match (one, two) {
        (Some(one), Some(two)) => format!("{:+.0}", two - one),
        _ => "?".to_owned(),
    };
    let or = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.2}"));
    let own = |point: &Point| Some(point.instructions_per_request.hypervisor.as_ref()?.total);
    format!(
        "At {} a request takes another {} instructions in the driver domain, {} in the guests, {} in the clients and {} of idle time, of \
         {}; {} of that are the hypervisor's own, which takes {} of them. A request switches domains {} times instead of {}, and an upcall handles {} events instead of {}. By wall time the ratio is {} \
         (n = {}), by QEMU's time on processors {} ({} to {}).",
        table::guests(other.guests),
        change(before.driver, after.driver),
        change(before.guests, after.guests),
        change(before.clients, after.clients),
        change(before.idle, after.idle),
        whole(before.total.unwrap_or(0.0) + before.idle.unwrap_or(0.0)),
        change(own(base), own(other)),
        own(base).map_or_else(|| "?".to_owned(), whole),
        or(other.switches_per_request),
        or(base.switches_per_request),
        or(other.events_per_upcall),
        or(base.events_per_upcall),
        or(other.wall_ratio),
        other.wall.n,
        or(other.cpu_ratio),
        or(other.cpu.min),
        or(other.cpu.max),
    )
}

fn idle(figures: &Sweep) -> Vec<String> {
    let pairs = pairs(
        figures,
        |point| point.idle == "plain",
        |point| point.idle == "timeout",
        |one, two| (one.guests, &one.suppress, &one.delivery) == (two.guests, &two.suppress, &two.delivery),
    );
    let line = |(plain, timeout): &(&Point, &Point)| {
        let spun = guests(plain) - guests(timeout);
        let sleeps = |point: &Point| point.sleeps_per_request.unwrap_or(0.0);
        format!(
            "{}, {} delivery: idle-with-timeout gives {:.2} times the throughput ({} against {} requests/s). Of the \
             processor without what the clients take of it, which are as if elsewhere, a request needs {} instructions \
             against {}: {:.2} times as many are served by it. {} of that are what guests spin. They go to sleep {:.1} times for a \
             request against {:.1}.",
            table::guests(timeout.guests),
            timeout.delivery,
            timeout.factor.unwrap_or(0.0),
            whole(timeout.throughput),
            whole(plain.throughput),
            whole(served_by(timeout)),
            whole(served_by(plain)),
            served_by(plain) / served_by(timeout).max(1.0),
            whole(spun),
            sleeps(timeout),
            sleeps(plain),
        )
    };
    pairs.iter().map(line).collect()
}

fn whole(value: f64) -> String {
    grouped(value.round() as u64)
}

fn guests(point: &Point) -> f64 {
    point.instructions_per_request.guests.unwrap_or(0.0)
}

/// Instructions of a request beside those of the clients.
fn served_by(point: &Point) -> f64 {
    let parts = &point.instructions_per_request;
    parts.total.unwrap_or(0.0) - parts.clients.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_the_host_s_load_is_told_and_of_no_other() {
        let point = |connect, max| Point { connect_max_us: connect, max_us: Some(max), ..Point::default() };
        let told = outside(&[point(Some(4_000), 90), point(Some(1_004_000), 60)]).unwrap();
        assert!(told.contains("1,004,000 us to open") && told.contains("longer than 90 us"), "{told}");
        assert_eq!(outside(&[point(None, 90)]), None);
    }
}
