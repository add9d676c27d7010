//! The page of `bench path`: delays over the number of guests, and a histogram of each stage.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};

use super::stages::{Stage, Target};
use super::{Figures, Point, Stages};
use crate::html::{self, Curve, Words};
use crate::paths;
use crate::table::{self, grouped};

/// Room of one histogram.
const WIDTH: u64 = 240;
const HEIGHT: u64 = 110;
/// Room of its words.
const FOOT: u64 = 24;
/// Room of its name and of its figures above it.
const HEAD: u64 = 42;

/// Writes it.
pub(super) fn write(figures: &Figures) -> Result<()> {
    let folder = paths::run("path");
    let path = folder.join("path.html");
    std::fs::write(&path, page(figures)?).with_context(|| format!("writing {}", path.display()))?;
    say!("report: {}", paths::shown(&path));
    Ok(())
}

fn page(figures: &Figures) -> Result<String> {
    let mut page = html::opening("Denizen: the interrupt's path")?;
    let source = format!("{}; {} virtual seconds of load", figures.command, figures.seconds);
    write!(page, "<p class=\"sub\">{}</p><h2>Medians</h2><div class=\"plots\">", html::escaped(&source))?;
    for delivery in ["synchronous", "batched"] {
        let words = Words {
            title: &format!("from event to handler's end, {delivery}"),
            across: "guests",
            up: "instructions",
            source: &source,
        };
        let curves = curves(figures, delivery);
        if !curves.is_empty() {
            page.push_str(&html::curves(words, &curves)?);
        }
    }
    page.push_str("</div>");
    for point in &figures.points {
        histograms(&mut page, point)?;
    }
    page.push_str(html::END);
    Ok(page)
}

/// A curve a target.
fn curves(figures: &Figures, delivery: &str) -> Vec<Curve> {
    let mut curves: BTreeMap<(bool, Target), Vec<(f64, f64)>> = BTreeMap::new();
    for point in figures.points.iter().filter(|point| point.delivery == delivery) {
        for one in point.stages.iter().filter(|one| one.stage == Stage::Whole) {
            let place = (f64::from(point.guests), one.summary.p50_ns as f64);
            curves.entry((one.of_device, one.target)).or_default().push(place);
        }
    }
    let curve = |((of_device, target), points): ((bool, Target), Vec<(f64, f64)>)| Curve {
        name: format!("{}, target {}", if of_device { "device" } else { "domain" }, target.word()),
        points,
    };
    curves.into_iter().map(curve).collect()
}

fn histograms(page: &mut String, point: &Point) -> Result<()> {
    write!(
        page,
        "<h2>{}, {}</h2><p class=\"sub\">{} events, {} requests, {} records lost</p>",
        table::guests(point.guests),
        point.delivery,
        grouped(point.events),
        grouped(point.requests),
        grouped(point.lost)
    )?;
    for of_device in [true, false] {
        for target in [Target::Runs, Target::Waits, Target::Sleeps] {
            let stages: Vec<&Stages> = point
                .stages
                .iter()
                .filter(|one| one.of_device == of_device && one.target == target)
                .collect();
            if stages.is_empty() {
                continue;
            }
            let origin = if of_device { "a device" } else { "a domain" };
            write!(page, "<h3>Raised by {origin}, target {}</h3><div class=\"plots\">", target.word())?;
            stages.iter().try_for_each(|stage| histogram(page, stage))?;
            page.push_str("</div>");
        }
    }
    Ok(())
}

/// One stage's, as bars over powers of two.
fn histogram(page: &mut String, stage: &Stages) -> Result<()> {
    let most = stage.histogram_ns.values().copied().max().unwrap_or(1).max(1);
    let first = stage.histogram_ns.keys().next().copied().unwrap_or(1).trailing_zeros();
    let last = stage.histogram_ns.keys().next_back().copied().unwrap_or(1).trailing_zeros();
    let wide = WIDTH / u64::from(last - first + 1);
    let (width, height) = (WIDTH + 20, HEAD + HEIGHT + FOOT);
    write!(
        page,
        "<svg width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\
         <text x=\"10\" y=\"17\" font-size=\"13\" font-weight=\"bold\">{}</text>\
         <text x=\"10\" y=\"33\">p50 {}, p99 {}, n {}</text>",
        html::escaped(stage.stage.word()),
        grouped(stage.summary.p50_ns),
        grouped(stage.summary.p99_ns),
        grouped(stage.summary.count)
    )?;
    for (upto, count) in &stage.histogram_ns {
        let x = 10 + wide * u64::from(upto.trailing_zeros() - first);
        let tall = (count * HEIGHT).div_ceil(most);
        let y = HEAD + HEIGHT - tall;
        write!(
            page,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{tall}\" fill=\"#3465a4\"><title>up to {} instructions: \
             {}</title></rect>",
            wide.saturating_sub(2).max(1),
            grouped(*upto),
            grouped(*count)
        )?;
    }
    let foot = HEAD + HEIGHT + 14;
    write!(
        page,
        "<text x=\"10\" y=\"{foot}\">{}</text><text x=\"{}\" y=\"{foot}\" text-anchor=\"end\">{} instructions</text></svg>",
        // The first bucket begins where one more before it would end.
        grouped((1 << first) / 2),
        10 + wide * u64::from(last - first + 1),
        grouped(1 << last)
    )?;
    Ok(())
}
