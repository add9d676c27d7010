//! The report of a sweep: curves as Denali drew them, latency and switches beneath, where the instructions went.
//! It exists as HTML for reading, and as SVG and CSV beside it for everything else.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::findings::findings;
use super::histograms::{HISTOGRAMS, most};
use super::point::Point;
use super::sweep::Sweep;
use crate::html::{self, Curve, Stack, Words};
use crate::table::guests;

/// A figure of a point that is drawn over the guests.
struct Drawn {
    file: &'static str,
    title: &'static str,
    up: &'static str,
    value: fn(&Point) -> Option<f64>,
}

const DRAWN: &[Drawn] = &[
    Drawn {
        file: "throughput",
        title: "throughput of all guests together",
        up: "requests per virtual second",
        value: |point| Some(point.throughput),
    },
    Drawn {
        file: "wall-ratio",
        title: "throughput by wall time through the first policy's",
        up: "ratio (median of the rounds)",
        value: |point| point.wall_ratio,
    },
    Drawn {
        file: "cpu-ratio",
        title: "throughput by QEMU's processor time through the first policy's",
        up: "ratio (median of the rounds)",
        value: |point| point.cpu_ratio,
    },
    Drawn {
        file: "p50",
        title: "latency, half of the requests",
        up: "ms",
        value: |point| Some(point.p50_us? as f64 / 1e3),
    },
    Drawn {
        file: "p99",
        title: "latency, 99 of 100 requests",
        up: "ms",
        value: |point| Some(point.p99_us? as f64 / 1e3),
    },
    Drawn {
        file: "switches",
        title: "domain switches",
        up: "per request",
        value: |point| point.switches_per_request,
    },
    Drawn {
        file: "events",
        title: "events that an upcall handles",
        up: "(raised + suppressed) / upcalls",
        value: |point| point.events_per_upcall,
    },
    Drawn {
        file: "instructions",
        title: "instructions for a request",
        up: "thousands",
        value: |point| Some(point.instructions_per_request.total? / 1e3),
    },
    Drawn {
        file: "fairness",
        title: "fairness: the slowest guest's mean latency through the fastest's",
        up: "ratio",
        value: |point| point.latency_max_min,
    },
    Drawn {
        file: "delay",
        title: "from raise to handling, 99 of 100 events",
        up: "us",
        value: |point| Some(point.delays.as_ref()?.p99_ns as f64 / 1e3),
    },
];

/// Bars that have room for their names.
const BARS: usize = 18;
/// Whose instructions, from the ground up.
const PARTS: &[&str] = &["hypervisor", "driver domain", "guests", "clients", "idle"];

/// Writes the report and its pictures into a folder; returns the page's path.
pub(crate) fn write(figures: &Sweep, folder: &Path) -> Result<PathBuf> {
    let kind = &figures.settings.kind;
    let source = format!(
        "scenario measure, seed {}, QEMU {}, {}; {}",
        figures.settings.seed, figures.qemu, figures.accelerator, figures.command
    );
    let mut page = html::opening(&format!("Denizen: {kind}"))?;
    write!(
        page,
        "<p class=\"sub\"><code>{}</code><br>{}</p>",
        html::escaped(&figures.command),
        html::escaped(&about(figures))
    )?;
    page.push_str("<h2>What it says</h2>");
    for finding in findings(figures) {
        write!(page, "<p>{}</p>", html::escaped(&finding))?;
    }
    page.push_str("<h2>Curves</h2><div class=\"plots\">");
    // A ratio to the first policy says nothing of one policy alone.
    let alone = figures.settings.policies.len() == 1;
    for drawn in DRAWN.iter().filter(|drawn| !(alone && drawn.file.ends_with("-ratio"))) {
        let words = Words { title: drawn.title, across: across(figures), up: drawn.up, source: &source };
        let svg = html::curves(words, &curves(figures, drawn.value))?;
        put(&folder.join(format!("{kind}-{}.svg", drawn.file)), &svg)?;
        page.push_str(&svg);
    }
    for histogram in HISTOGRAMS {
        let title = format!("{}, {}", histogram.title, guests(most(figures)));
        let words = Words { title: &title, across: histogram.across, up: "percent", source: &source };
        let svg = html::histogram(words, &histogram.bars(figures))?;
        put(&folder.join(format!("{kind}-{}.svg", histogram.file)), &svg)?;
        page.push_str(&svg);
    }
    page.push_str("</div><h2>Where the instructions went</h2><div class=\"plots\">");
    let words = Words {
        title: "instructions for a request, by whose they are",
        across: "",
        up: "thousands",
        source: &source,
    };
    let svg = html::stacks(words, PARTS, &stacks(figures))?;
    put(&folder.join(format!("{kind}-breakdown.svg")), &svg)?;
    page.push_str(&svg);
    page.push_str("</div><p class=\"sub\">The columns driver, guest and client have within them what the hypervisor did for each; its own part, which the plot \
        shows apart, is of a round with a build that counts it. Instructions are exact and repeat; they \
        price no miss of a cache or of the TLB, which the wall ratio does, in QEMU's own way: under TCG a switch of address spaces costs \
        far more than on a processor.</p><h2>Figures</h2>");
    table(&mut page, figures)?;
    page.push_str(html::END);
    put(&folder.join(format!("{kind}.csv")), &super::csv::csv(figures))?;
    let path = folder.join(format!("{kind}.html"));
    put(&path, &page)?;
    Ok(path)
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The load in words.
fn about(figures: &Sweep) -> String {
    let settings = &figures.settings;
    if let Some(ms) = settings.period_ms {
        return format!(
            "an update of a game by UDP to each guest each {ms} ms; {} rounds of {} ms after {} ms of warm-up; seed {}, QEMU {}, {}",
            settings.rounds,
            settings.settled_ms,
            settings.warm_ms,
            settings.seed,
            figures.qemu,
            figures.accelerator
        );
    }
    let load =
        settings.rate.map_or("closed loop".to_owned(), |rate| format!("open loop of {rate} requests/s"));
    format!(
        "documents of {} bytes, {load}, {} spread, {} requests a connection; {} rounds of {} ms after {} ms of warm-up; \
         seed {}, QEMU {}, {}",
        settings.document,
        settings.spread,
        settings.visit,
        settings.rounds,
        settings.settled_ms,
        settings.warm_ms,
        settings.seed,
        figures.qemu,
        figures.accelerator
    )
}

fn across(figures: &Sweep) -> &'static str {
    if figures.settings.kind == "window" { "us that a window stays open" } else { "guests" }
}

/// One curve for each way in which points differ beside the axis.
fn curves(figures: &Sweep, value: fn(&Point) -> Option<f64>) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for point in &figures.points {
        let Some(height) = value(point).filter(|height| height.is_finite()) else { continue };
        let (name, x) = place(figures, point);
        match curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push((x, height)),
            None => curves.push(Curve { name, points: vec![(x, height)] }),
        }
    }
    curves
}

/// The curve that a point is of, and its place on the axis.
pub(super) fn place(figures: &Sweep, point: &Point) -> (String, f64) {
    let settings = &figures.settings;
    if settings.kind == "window" {
        let mut parts = point.delivery.split(':');
        let name = parts.next().unwrap_or_default();
        return match (parts.next(), parts.next().and_then(|us| us.parse::<f64>().ok())) {
            (Some(events), Some(us)) => (format!("{events} events"), us.max(1.0)),
            _ => (format!("{name}, no window"), 1.0),
        };
    }
    let mut name = Vec::new();
    if settings.policies.len() > 1 {
        name.push(point.delivery.clone());
    }
    if settings.suppress.len() > 1 {
        name.push(format!("suppress {}", point.suppress));
    }
    if settings.idle.len() > 1 {
        name.push(if point.idle == "timeout" { "idle with timeout" } else { "idle without" }.to_owned());
    }
    if name.is_empty() {
        name.push(point.delivery.clone());
    }
    (name.join(", "), f64::from(point.guests))
}

fn stacks(figures: &Sweep) -> Vec<Stack> {
    let height = |value: Option<f64>| value.unwrap_or(0.0) / 1e3;
    let stack = |point: &Point| {
        let parts = &point.instructions_per_request;
        let short = |text: &str| text.chars().take(5).collect::<String>();
        let which = match figures.settings.kind.as_str() {
            "idle" => point.idle.clone(),
            "window" => point.delivery.replace("batched:", ""),
            _ => short(&point.delivery),
        };
        let name = format!("{} {which}", point.guests);
        let own = parts.hypervisor.clone().unwrap_or_default();
        let rest = |part: Option<f64>, own: f64| part.map(|part| (part - own).max(0.0));
        let heights = [
            Some(own.total),
            rest(parts.driver, own.driver),
            rest(parts.guests, own.guests),
            rest(parts.clients, own.clients),
            parts.idle,
        ];
        (name, heights.map(height).to_vec())
    };
    let shown = shown(figures);
    figures.points.iter().filter(|point| shown.contains(&point.guests)).map(stack).collect()
}

/// The numbers of guests whose bars have room: the largest, and others at equal distances.
fn shown(figures: &Sweep) -> Vec<u32> {
    let mut guests: Vec<u32> = figures.points.iter().map(|point| point.guests).collect();
    guests.dedup();
    let every = figures.points.len().div_ceil(BARS).max(1);
    guests.into_iter().rev().step_by(every).collect()
}

fn table(page: &mut String, figures: &Sweep) -> Result<()> {
    let rows = super::csv::rows(figures);
    page.push_str("<div style=\"overflow-x:auto\"><table>");
    for (index, row) in rows.iter().enumerate() {
        let tag = if index == 0 { "th" } else { "td" };
        page.push_str("<tr>");
        for cell in row {
            write!(page, "<{tag}>{}</{tag}>", html::escaped(cell))?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
    Ok(())
}
