//! The page of `measure slices`: the curve over the guests, the shares, the victim.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::Figures;
use crate::cli::Json;
use crate::html::{self, Curve, Words};
use crate::paths;
use crate::table::guests;

/// What is asked of weights and of neighbours.
const LIMIT: f64 = 0.02;

/// What the figures say, in sentences.
pub(super) fn findings(figures: &Figures) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(worst) = figures.points.iter().min_by(|a, b| a.against_one.total_cmp(&b.against_one)) {
        found.push(format!(
            "Guests together do {:.2} % less work than one alone at worst: {}, slices of {} ms.",
            (1.0 - worst.against_one) * 100.0,
            guests(worst.guests),
            worst.slice_us / 1_000
        ));
    }
    let weights = &figures.weights;
    found.push(format!(
        "Shares differ from weights by {:.2} % at worst over {} turns and more, {}.",
        weights.worst_error * 100.0,
        weights.guests.iter().map(|one| one.turns).min().unwrap_or(0),
        if weights.worst_error <= LIMIT { "within 2 %" } else { "which is more than 2 %" }
    ));
    for one in figures.neighbours.iter().skip(1) {
        let change = one.against_computing - 1.0;
        found.push(format!(
            "Two neighbours with {}: the victim does {:+.2} % of work against computing neighbours{}.",
            what(&one.act),
            change * 100.0,
            if change > -LIMIT { "" } else { ", a loss of more than 2 %" }
        ));
    }
    found
}

/// An act in words.
fn what(act: &str) -> &str {
    match act {
        "events" => "an event storm",
        "wakes" => "an event storm and short sleeps",
        "pages" => "page-table churn",
        "memory" => "a memory grab",
        "rings" => "a ring flood, asleep while the ring is full",
        "flood" => "a ring flood that never sleeps",
        other => other,
    }
}

/// Writes the figures, the page and the curve.
pub(super) fn write(figures: &Figures, options: &Json) -> Result<()> {
    let folder = paths::run("measure");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let put = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    };
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    put(&folder.join("slices.json"), &text)?;
    if let Some(path) = &options.json {
        put(path, &text)?;
    }
    let source = format!(
        "scenario slices, seed {}, QEMU {}, {}; {}",
        figures.seed, figures.qemu, figures.accelerator, figures.command
    );
    let words = Words {
        title: "work of all guests together",
        across: "guests",
        up: "through the work of one guest",
        source: &source,
    };
    let svg = html::curves(words, &curves(figures))?;
    put(&folder.join("slices.svg"), &svg)?;
    put(&folder.join("slices.csv"), &csv(figures, &source)?)?;
    let mut page = html::opening("Denizen: slices")?;
    write!(page, "<p class=\"sub\">{}</p><h2>What it says</h2>", html::escaped(&source))?;
    for finding in findings(figures) {
        write!(page, "<p>{}</p>", html::escaped(&finding))?;
    }
    write!(page, "<h2>Curve</h2><div class=\"plots\">{svg}</div>{}", html::END)?;
    let path = folder.join("slices.html");
    put(&path, &page)?;
    say!("report: {}", path.display());
    Ok(())
}

/// One curve a slice.
fn curves(figures: &Figures) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for point in &figures.points {
        let name = format!("{} ms", point.slice_us / 1_000);
        let place = (f64::from(point.guests), point.against_one);
        match curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push(place),
            None => curves.push(Curve { name, points: vec![place] }),
        }
    }
    curves
}

fn csv(figures: &Figures, source: &str) -> Result<String> {
    let mut text = format!("# {source}\nslice us,guests,units,against one,turns,longest wait us\n");
    for point in &figures.points {
        writeln!(
            text,
            "{},{},{},{},{},{}",
            point.slice_us, point.guests, point.units, point.against_one, point.turns, point.longest_wait_us
        )?;
    }
    Ok(text)
}
