//! Plots as SVG text, to stand inside a page.
//! They exist because the effect of a policy is seen sooner than read.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::axis::Axis;
use super::bars::{Bars, bars, mesh};
use super::curves::{Curve, Words, lines, sized};
use super::series;
use crate::figures::Run;

const SMALL: (u32, u32) = (330, 260);
const WIDE: (u32, u32) = (1040, 320);
pub(super) const FONT: &str = "sans-serif";

/// A figure of a run.
type Value = fn(&Run) -> f64;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The plots that compare the policies.
pub(super) fn of_runs(runs: &[Run]) -> Result<Vec<String>> {
    let bars: [(&str, Value); 6] = [
        ("events per upcall", |run| run.interrupts.events_per_upcall.unwrap_or(0.0)),
        ("domain switches per request", |run| run.interrupts.switches_per_request.unwrap_or(0.0)),
        ("requests per second", |run| run.http.requests_per_s),
        ("upcalls per request", |run| per_request(run, run.interrupts.upcalls)),
        ("p99 latency, ms", |run| run.http.p99_us as f64 / 1000.0),
        ("events raised per request", |run| per_request(run, run.interrupts.raised)),
    ];
    let mut plots = Vec::new();
    for (title, value) in bars {
        plots.push(policy_bars(title, runs, value)?);
    }
    plots.push(curve(runs)?);
    Ok(plots)
}

fn per_request(run: &Run, count: u64) -> f64 {
    if run.http.requests == 0 { 0.0 } else { count as f64 / run.http.requests as f64 }
}

/// Draws on an area of this size and gives back the SVG.
pub(super) fn drawn(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    // The page is HTML: an XML prologue has no place in it.
    Ok(text.find("<svg").map(|start| text.split_off(start)).unwrap_or_default())
}

pub(super) fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing a plot: {error}")
}

/// An upper end for an axis, a little above the largest value.
pub(super) fn above(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.fold(0.0_f64, f64::max);
    if largest > 0.0 { largest * 1.15 } else { 1.0 }
}

/// One bar a policy, its value written above it.
fn policy_bars(title: &str, runs: &[Run], value: Value) -> Result<String> {
    drawn(SMALL, |area| {
        let top = above(runs.iter().map(value));
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 16))
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..runs.len().max(1) as f64, Axis::even(top))
            .map_err(failed)?;
        mesh(&mut chart, 13).draw().map_err(failed)?;
        for (index, run) in runs.iter().enumerate() {
            let (left, height, colour) = (index as f64, value(run), series::colour(index));
            let bar = Rectangle::new([(left + 0.25, 0.0), (left + 0.75, height)], colour.filled());
            chart.draw_series(std::iter::once(bar)).map_err(failed)?;
            let above = Text::new(number(height), (left + 0.5, height), centred((FONT, 14)));
            chart.draw_series(std::iter::once(above)).map_err(failed)?;
            let (x, y) = chart.backend_coord(&(left + 0.5, 0.0));
            area.draw_text(&run.delivery, &centred((FONT, 13)), (x, y + 20)).map_err(failed)?;
        }
        Ok(())
    })
}

/// Text that stands in the middle above its point.
pub(super) fn centred(font: (&'static str, u32)) -> TextStyle<'static> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    TextStyle::from(font.into_font()).pos(Pos::new(HPos::Center, VPos::Bottom))
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Latency by percentile, one line a policy.
fn curve(runs: &[Run]) -> Result<String> {
    let curve = |run: &Run| Curve {
        name: run.delivery.clone(),
        points: run.http.curve.iter().map(|&(percentile, us)| (percentile, us as f64 / 1000.0)).collect(),
    };
    let all: Vec<Curve> = runs.iter().map(curve).collect();
    let names: Vec<&str> = all.iter().map(|curve| curve.name.as_str()).collect();
    let words = Words {
        title: "latency by percentile",
        across: "requests that took no longer, %",
        up: "ms",
        source: "",
    };
    sized(WIDE, words, &names, series::of_line, |area| lines(area, words, &Axis::even(100.0), &all))
}

/// The commonest hypercalls for each request, one bar a policy.
pub(super) fn hypercalls(runs: &[Run]) -> Result<String> {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, call) in runs.iter().flat_map(|run| &run.hypercalls) {
        *totals.entry(name).or_default() += call.count;
    }
    let mut names: Vec<&str> = totals.keys().copied().collect();
    names.sort_by_key(|name| std::cmp::Reverse(totals[name]));
    names.truncate(10);
    let count =
        |run: &Run, name: &&str| per_request(run, run.hypercalls.get(*name).map_or(0, |call| call.count));
    let heights = |run: &Run| names.iter().map(|name| count(run, name)).collect();
    let of = Bars {
        columns: names.iter().map(|name| (*name).to_owned()).collect(),
        series: runs.iter().map(|run| (run.delivery.clone(), heights(run))).collect(),
    };
    bars(WIDE, Words { title: "hypercalls per request", across: "", up: "", source: "" }, &of)
}
