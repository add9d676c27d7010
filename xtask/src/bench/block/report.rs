//! The figures of `bench block` as tables and as a page.

use std::fmt::Write;

use anyhow::Result;

use super::figures::{Bound, Figures, Point};
use super::machine::DISKS;
use crate::html::{Curve, END, Words, curves, opening};
use crate::table::{grouped, new};

const HEADINGS: [&str; 15] = [
    "disk",
    "way",
    "grants",
    "operation",
    "pattern",
    "record",
    "depth",
    "guest",
    "driver",
    "per byte",
    "requests/notification",
    "interrupts/MiB",
    "switches",
    "copies",
    "in place",
];

fn cells(point: &Point) -> [String; 15] {
    let whole = |value: f64| grouped(value.round() as u64);
    [
        point.disk.to_owned(),
        point.way.to_owned(),
        point.grants.to_owned(),
        point.operation.clone(),
        point.pattern.clone(),
        grouped(point.record),
        point.depth.to_string(),
        whole(point.guest_instructions),
        whole(point.driver_instructions),
        format!("{:.2}", point.instructions_per_byte),
        format!("{:.1}", point.requests_per_notification),
        format!("{:.1}", point.interrupts_per_mib),
        format!("{:.2}", point.switches_per_request),
        format!("{:.2}", point.copies),
        format!("{:.2}", point.pages_in_place),
    ]
}

/// Random reads alone, since the whole is long; the whole is in the report and in the JSON file.
fn is_shown(point: &Point) -> bool {
    point.operation == "read" && point.pattern == "random"
}

/// Prints what matters most.
pub(super) fn print(figures: &Figures) {
    say!("instructions a request, random reads (the report has all)");
    let mut table = new(&HEADINGS);
    for point in figures.points.iter().filter(|point| is_shown(point)) {
        table.add_row(cells(point));
    }
    say!("{table}\nthe same, requests pushed together");
    let mut table = new(&HEADINGS);
    figures.gathered.iter().filter(|point| is_shown(point)).for_each(|point| {
        table.add_row(cells(point));
    });
    say!("{table}\nthe same in other ways");
    let mut table = new(&HEADINGS);
    figures.ways.iter().filter(|point| is_shown(point)).for_each(|point| {
        table.add_row(cells(point));
    });
    say!("{table}");
    let mut table = new(&["guests", "requests", "least/mean", "most/mean"]);
    for shared in &figures.guests {
        table.add_row([
            shared.guests.to_string(),
            grouped(shared.requests),
            format!("{:.3}", shared.least),
            format!("{:.3}", shared.most),
        ]);
    }
    say!("{table}\n{}", sentences(figures).join("\n"));
}

fn sentences(figures: &Figures) -> [String; 5] {
    let neighbour = &figures.neighbour;
    let of_disk = figures.bound_of_disk.as_ref().map_or_else(
        || "the host's file system allows no reads past its cache, which were to be compared".to_owned(),
        |bound| beside(figures, "past the host's cache, in a queue", bound),
    );
    [
        format!("QEMU reads and writes images by {}", figures.aio),
        beside(figures, "from the host's cache, in a queue", &figures.bound),
        beside(figures, "from the host's cache, by calls", &figures.bound_of_calls),
        of_disk,
        format!(
            "{} guests beside one that reads 1 MiB, 32 at once: {} requests, {} without it: {:.2} of a fair share; least {:.2} of \
             the mean",
            neighbour.guests,
            grouped(neighbour.beside),
            grouped(neighbour.without),
            neighbour.against_fair_share,
            neighbour.least
        ),
    ]
}

/// What a guest gets beside the driver domain itself.
fn beside(figures: &Figures, how: &str, bound: &Bound) -> String {
    let mut ratios = bound.ratios.clone();
    ratios.sort_by(f64::total_cmp);
    let at = |part: usize| ratios.get(ratios.len() * part / 4).copied().unwrap_or(0.0);
    format!(
        "random reads of 4 KiB, 32 at once, {how}: {:.0}/s through a front end, {:.0}/s by the driver domain itself: {:.2} of it \
         (median of {} boots, in time; a quarter below {:.2}, a quarter above {:.2}); one of its own takes {:.0} instructions",
        bound.front_per_s,
        bound.own_per_s,
        bound.ratio,
        figures.rounds,
        at(1),
        at(3),
        bound.own_instructions
    )
}

/// The report.
pub(super) fn page(figures: &Figures) -> Result<String> {
    let mut page = opening("Denizen: disks, measured")?;
    write!(
        page,
        "<p class=\"sub\"><code>{}</code> &middot; instructions counted, one a tick</p>",
        figures.command
    )?;
    for sentence in sentences(figures) {
        write!(page, "<p>{sentence}</p>")?;
    }
    page.push_str("<h2>Over record sizes</h2><div class=\"plots\">");
    for operation in ["read", "write", "flush"] {
        for depth in [1, 32] {
            page.push_str(&over_sizes(figures, operation, depth, "instructions a request", |point| {
                point.guest_instructions + point.driver_instructions
            })?);
            page.push_str(&over_sizes(figures, operation, depth, "instructions a byte", |point| {
                point.instructions_per_byte
            })?);
        }
    }
    page.push_str("</div><h2>All points</h2><table><tr>");
    for heading in HEADINGS {
        write!(page, "<th>{heading}</th>")?;
    }
    page.push_str("</tr>");
    for point in figures.points.iter().chain(&figures.gathered).chain(&figures.ways) {
        page.push_str("<tr>");
        for cell in cells(point) {
            write!(page, "<td>{cell}</td>")?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</table><h2>Guests on one back end</h2><table><tr><th>guests</th><th>requests</th><th>least</th><th>most</th></tr>");
    for shared in &figures.guests {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}</td></tr>",
            shared.guests,
            grouped(shared.requests),
            shared.least,
            shared.most
        )?;
    }
    page.push_str("</table>");
    page.push_str(END);
    Ok(page)
}

/// A curve for each disk.
fn over_sizes(
    figures: &Figures,
    operation: &str,
    depth: u64,
    up: &str,
    value: fn(&Point) -> f64,
) -> Result<String> {
    let of = |disk: &str| {
        let points = figures.points.iter().filter(|point| {
            point.disk == disk
                && point.operation == operation
                && point.pattern == "random"
                && point.depth == depth
        });
        let points = points.map(|point| (point.record as f64, value(point))).collect();
        Curve { name: disk.to_owned(), points }
    };
    let all: Vec<Curve> = DISKS.map(of).into_iter().filter(|curve| !curve.points.is_empty()).collect();
    let title = format!("random {operation}, {depth} at once");
    let words = Words { title: &title, across: "bytes of a record", up, source: &figures.command };
    curves(words, &all)
}
