//! The pictures of a trace's page, as SVG.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use hypercall_abi::DomId;

use super::lanes::{Lanes, MOMENTS};
use crate::html::escaped;
use crate::table::grouped;
use crate::trace::follow::{Delivery, State};
use crate::trace::live::rate;
use crate::trace::names::Names;
use crate::trace::stats::{CallOf, Delay};
use crate::trace::timeline::window::Window;

/// Width of every picture.
const WIDTH: f64 = 1030.0;
/// Where lanes begin.
const LEFT: f64 = 130.0;
/// Where they end.
const RIGHT: f64 = 1010.0;
/// Height of a lane.
const LANE: f64 = 20.0;
/// Most lanes of a picture.
const LANES: usize = 24;
const RUNNING: &str = "#2f6fab";
const RUNNABLE: &str = "#f0b27a";
const INK: &str = "#1d2733";
const FAINT: &str = "#5b6775";

/// A picture of this height.
fn svg(height: f64, inside: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"system-ui,sans-serif\" font-size=\"12\">{inside}</svg>"
    )
}

fn bar(into: &mut String, x: f64, y: f64, width: f64, height: f64, fill: &str, opacity: f64) {
    let _ = write!(
        into,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" \
         fill-opacity=\"{opacity:.2}\"/>"
    );
}

fn text(into: &mut String, x: f64, y: f64, anchor: &str, fill: &str, words: &str) {
    let _ = write!(
        into,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{}</text>",
        escaped(words)
    );
}

fn line(into: &mut String, from: (f64, f64), to: (f64, f64), stroke: &str) {
    let _ = write!(
        into,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{stroke}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// Patches of colour and what they mean.
fn legend(into: &mut String, y: f64, entries: &[(&str, &str)]) {
    let mut x = LEFT;
    for (colour, words) in entries {
        bar(into, x, y - 10.0, 12.0, 12.0, colour, 1.0);
        text(into, x + 18.0, y, "start", FAINT, words);
        x += 40.0 + words.len() as f64 * 6.5;
    }
}

/// A time with a unit that suits it.
fn time(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

/// A round time without digits that say nothing.
fn round_time(ns: f64) -> String {
    let words = time(ns);
    let Some((number, unit)) = words.split_once(' ') else { return words };
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

/// A time axis below lanes: from the start, in round steps.
fn axis(into: &mut String, y: f64, height: f64, length: f64) {
    let mut step = 10_f64.powf((length / 4.0).max(1.0).log10().floor());
    while length / step > 8.0 {
        step *= if (step.log10().fract()).abs() < 1e-9 { 2.0 } else { 2.5 };
    }
    let mut at = 0.0;
    while at <= length {
        let x = LEFT + (RIGHT - LEFT) * at / length.max(1.0);
        line(into, (x, y), (x, y - height), "#e3e7ec");
        text(into, x, y + 15.0, "middle", FAINT, &round_time(at));
        at += step;
    }
}

/// Who had the processor, over the whole trace.
pub(super) fn lanes(lanes: &Lanes, names: &Names) -> String {
    let (start, last) = lanes.ends();
    let length = last.saturating_sub(start).max(1);
    let total = |lane: &[[u64; 2]]| lane.iter().map(|one| one[0]).fold(0, u64::saturating_add);
    let mut domains: Vec<_> = lanes.domains.iter().filter(|(id, _)| **id != DomId::IDLE).collect();
    domains.sort_by_key(|(id, lane)| (std::cmp::Reverse(total(lane)), **id));
    let left = domains.len().saturating_sub(LANES);
    domains.truncate(LANES);
    let bottom = 30.0 + domains.len() as f64 * LANE;
    let mut inside = String::new();
    legend(&mut inside, 18.0, &[(RUNNING, "running"), (RUNNABLE, "runnable")]);
    axis(&mut inside, bottom, bottom - 28.0, length as f64);
    let moment = lanes.moment() as f64;
    let width = (RIGHT - LEFT) * moment / length as f64;
    for ((id, lane), row) in domains.iter().zip(0_u32..) {
        let y = 30.0 + f64::from(row) * LANE;
        text(&mut inside, LEFT - 8.0, y + 13.0, "end", INK, &names.of(**id));
        for (index, [running, runnable]) in lane.iter().take(MOMENTS).enumerate() {
            let x = LEFT + index as f64 * width;
            let width = width.min(RIGHT - x).max(0.0);
            // One stands on the other; what is left of the height is sleep.
            let share = |ns: u64| (ns as f64 / moment).min(1.0) * (LANE - 4.0);
            let (running, runnable) = (share(*running), share(*runnable));
            let floor = y + LANE - 2.0;
            if running > 0.05 {
                bar(&mut inside, x, floor - running, width + 0.2, running, RUNNING, 1.0);
            }
            if runnable > 0.05 {
                let top = (floor - running - runnable).max(y + 2.0);
                bar(&mut inside, x, top, width + 0.2, runnable, RUNNABLE, 1.0);
            }
        }
    }
    if left > 0 {
        let words = format!("{left} domains that ran less are not drawn");
        text(&mut inside, LEFT, bottom + 34.0, "start", FAINT, &words);
    }
    svg(bottom + if left > 0 { 44.0 } else { 26.0 }, &inside)
}

/// What lay around an event, exactly.
pub(super) fn closer(event: &Delivery, window: &Window, names: &Names) -> String {
    let length = window.to.saturating_sub(window.from).max(1) as f64;
    let place = |time: u64| LEFT + (RIGHT - LEFT) * time.saturating_sub(window.from) as f64 / length;
    // Whoever ran in it, and whose event it is.
    let mut time_of: BTreeMap<DomId, u64> = BTreeMap::new();
    for span in window.spans.iter().filter(|span| span.state == State::Running) {
        let sum = time_of.entry(span.domain).or_default();
        *sum = sum.saturating_add(span.to.saturating_sub(span.from));
    }
    time_of.insert(event.domain, u64::MAX);
    let mut rows: Vec<(DomId, u64)> = time_of.into_iter().collect();
    rows.sort_by_key(|(id, time)| (std::cmp::Reverse(*time), *id));
    rows.truncate(LANES);
    let bottom = 30.0 + rows.len() as f64 * LANE;
    let mut inside = String::new();
    legend(
        &mut inside,
        18.0,
        &[
            (RUNNING, "running"),
            ("#17395c", "in a hypercall"),
            (RUNNABLE, "runnable"),
            ("#b3261e", "raise, upcall"),
        ],
    );
    axis(&mut inside, bottom, bottom - 28.0, length);
    for ((id, _), row) in rows.iter().zip(0_u32..) {
        let y = 30.0 + f64::from(row) * LANE;
        text(&mut inside, LEFT - 8.0, y + 13.0, "end", INK, &names.of(*id));
        // A million lines make no picture; what is hidden is short.
        for span in window.spans.iter().filter(|span| span.domain == *id).take(3000) {
            let fill = match span.state {
                State::Running => RUNNING,
                State::Runnable => RUNNABLE,
                State::Blocked | State::Ended => continue,
            };
            let (from, to) = (place(span.from), place(span.to));
            bar(&mut inside, from, y + 2.0, (to - from).max(0.3), LANE - 4.0, fill, 1.0);
        }
        for call in window.calls.iter().filter(|call| call.domain == *id).take(3000) {
            let (from, to) = (place(call.begun.unwrap_or(call.ended).max(window.from)), place(call.ended));
            bar(&mut inside, from, y + 5.0, (to - from).max(0.3), LANE - 10.0, "#17395c", 1.0);
        }
    }
    // Its event lies in the first lane.
    for time in [event.raised, event.upcall] {
        let x = place(time);
        line(&mut inside, (x, 28.0), (x, bottom), "#b3261e");
    }
    svg(bottom + 26.0, &inside)
}

/// Delays, on a logarithmic scale.
pub(super) fn delays(delays: &[Delay]) -> String {
    let most = delays.iter().map(|delay| delay.spread.max_ns).max().unwrap_or(1).max(10);
    let least = delays.iter().map(|delay| delay.spread.min_ns.max(1)).min().unwrap_or(1);
    let (low, high) = ((least as f64).log10().floor(), (most as f64).log10().ceil());
    let left = LEFT + 90.0;
    let right = RIGHT - 250.0;
    let place = |ns: u64| left + (right - left) * ((ns.max(1) as f64).log10() - low) / (high - low).max(1.0);
    let mut inside = String::new();
    let bottom = 12.0 + delays.len() as f64 * 22.0;
    let mut power = low;
    while power <= high {
        let x = left + (right - left) * (power - low) / (high - low).max(1.0);
        line(&mut inside, (x, 8.0), (x, bottom), "#e3e7ec");
        text(&mut inside, x, bottom + 15.0, "middle", FAINT, &round_time(10_f64.powf(power)));
        power += 1.0;
    }
    for (delay, row) in delays.iter().zip(0_u32..) {
        let y = 10.0 + f64::from(row) * 22.0;
        let spread = &delay.spread;
        let whole = delay.stage == "whole";
        let name = format!("{}: {}", delay.target, delay.stage);
        text(&mut inside, left - 10.0, y + 13.0, "end", if whole { INK } else { FAINT }, &name);
        let fill = if whole { RUNNING } else { "#7aa6cf" };
        let (from, to) = (place(spread.min_ns), place(spread.max_ns));
        bar(&mut inside, from, y + 7.0, (to - from).max(1.0), 4.0, fill, 0.45);
        let (from, to) = (place(spread.p50_ns), place(spread.p99_ns));
        bar(&mut inside, from, y + 3.0, (to - from).max(2.0), 12.0, fill, 1.0);
        let words = format!(
            "{}×  p50 {}  p99 {}",
            grouped(spread.count),
            time(spread.p50_ns as f64),
            time(spread.p99_ns as f64)
        );
        text(&mut inside, right + 14.0, y + 13.0, "start", FAINT, &words);
    }
    svg(bottom + 26.0, &inside)
}

/// Upcalls by the number of events that they find.
pub(super) fn batches(batches: &BTreeMap<u64, u64>) -> String {
    const COLUMNS: usize = 32;
    const HEIGHT: f64 = 200.0;
    let mut columns: Vec<(String, u64)> =
        batches.iter().take(COLUMNS).map(|(events, count)| (events.to_string(), *count)).collect();
    if let Some((first, _)) = batches.iter().nth(COLUMNS) {
        let rest = batches.values().skip(COLUMNS).sum();
        columns.push((format!("≥{first}"), rest));
    }
    let all: u64 = columns.iter().map(|(_, count)| *count).sum();
    let most = columns.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let width = ((RIGHT - 40.0) / columns.len().max(1) as f64).min(70.0);
    let mut inside = String::new();
    for ((events, count), index) in columns.iter().zip(0_u32..) {
        let x = 30.0 + f64::from(index) * width;
        let height = HEIGHT * *count as f64 / most as f64;
        bar(
            &mut inside,
            x + width * 0.12,
            26.0 + HEIGHT - height,
            width * 0.76,
            height.max(1.0),
            RUNNING,
            1.0,
        );
        let share = *count as f64 / all.max(1) as f64 * 100.0;
        let words = if share >= 0.05 { format!("{share:.1} %") } else { grouped(*count) };
        if width > 40.0 {
            text(&mut inside, x + width / 2.0, 20.0 + HEIGHT - height, "middle", FAINT, &words);
        }
        text(&mut inside, x + width / 2.0, HEIGHT + 42.0, "middle", INK, events);
    }
    line(&mut inside, (24.0, HEIGHT + 26.0), (RIGHT, HEIGHT + 26.0), "#9aa5b1");
    svg(HEIGHT + 54.0, &inside)
}

/// How often each domain made each hypercall.
pub(super) fn heat(calls: &[CallOf]) -> String {
    const CELL: f64 = 22.0;
    let mut by_domain: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_call: BTreeMap<&str, u64> = BTreeMap::new();
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for one in calls {
        let count = one.call.count.max(one.call.paired);
        *by_domain.entry(&one.domain).or_default() += count;
        *by_call.entry(&one.hypercall).or_default() += count;
        *counts.entry((&one.domain, &one.hypercall)).or_default() += count;
    }
    let ranked = |sums: &BTreeMap<&str, u64>| {
        let mut names: Vec<String> = sums.keys().map(|name| (*name).to_owned()).collect();
        names.sort_by_key(|name| std::cmp::Reverse(sums[name.as_str()]));
        names
    };
    let (mut domains, mut names) = (ranked(&by_domain), ranked(&by_call));
    let (left_domains, left_calls) = (domains.len().saturating_sub(LANES), names.len().saturating_sub(16));
    domains.truncate(LANES);
    names.truncate(16);
    let shown: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let most = counts.iter().filter(|((_, call), _)| shown.contains(call)).map(|(_, count)| *count).max();
    let scale = (most.unwrap_or(1).max(2) as f64).ln();
    let width = ((RIGHT - LEFT) / names.len().max(1) as f64).min(110.0);
    let top = 120.0;
    let mut inside = String::new();
    for (name, column) in names.iter().zip(0_u32..) {
        let x = LEFT + (f64::from(column) + 0.5) * width;
        let _ = write!(
            inside,
            "<text transform=\"translate({:.1},{:.1}) rotate(-32)\" fill=\"{INK}\">{}</text>",
            x - 4.0,
            top - 8.0,
            escaped(name)
        );
    }
    for (domain, row) in domains.iter().zip(0_u32..) {
        let y = top + f64::from(row) * CELL;
        text(&mut inside, LEFT - 8.0, y + 15.0, "end", INK, domain);
        for (name, column) in names.iter().zip(0_u32..) {
            let x = LEFT + f64::from(column) * width;
            let count = counts.get(&(domain.as_str(), name.as_str())).copied().unwrap_or(0);
            let heat = if count == 0 { 0.0 } else { 0.1 + 0.9 * (count as f64).ln() / scale };
            let fill = if count == 0 { "#f6f7f9" } else { RUNNING };
            bar(
                &mut inside,
                x + 1.0,
                y + 1.0,
                width - 2.0,
                CELL - 2.0,
                fill,
                if count == 0 { 1.0 } else { heat },
            );
            if count > 0 {
                let ink = if heat > 0.55 { "#fff" } else { INK };
                text(
                    &mut inside,
                    x + width / 2.0,
                    y + 15.0,
                    "middle",
                    ink,
                    &if count < 10_000 { grouped(count) } else { rate(count as f64) },
                );
            }
        }
    }
    let bottom = top + domains.len() as f64 * CELL;
    if left_domains + left_calls > 0 {
        let words = format!("{left_domains} more domains, {left_calls} more hypercalls");
        text(&mut inside, LEFT, bottom + 20.0, "start", FAINT, &words);
    }
    svg(bottom + if left_domains + left_calls > 0 { 32.0 } else { 12.0 }, &inside)
}
