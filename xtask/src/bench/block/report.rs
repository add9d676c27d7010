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
    say!("{table}\n{}\n\n{}", of_neighbour(figures), of_bounds(figures));
    let mut table = new(&BOUND_HEADINGS);
    bounds(figures).into_iter().for_each(|row| {
        table.add_row(row);
    });
    say!("{table}");
}

const BOUND_HEADINGS: [&str; 6] =
    ["reads", "ratio", "a quarter below", "a quarter above", "through a front end, /s", "driver domain, /s"];

/// What a guest gets beside the driver domain itself, by where the host keeps the disk.
fn bounds(figures: &Figures) -> Vec<[String; 6]> {
    let all = [
        ("past the host's cache, in a queue", figures.bound.as_ref()),
        ("past the host's cache, by calls", figures.bound_of_calls.as_ref()),
        ("from the host's cache, in a queue", Some(&figures.bound_from_cache)),
        ("from the host's cache, by calls", Some(&figures.bound_of_calls_from_cache)),
    ];
    let cells = |(how, bound): (&str, Option<&Bound>)| {
        let Some(bound) = bound else {
            let [ratio, below, above, front, own] = ["", "", "", "", ""].map(str::to_owned);
            return [format!("{how}: refused by the host's file system"), ratio, below, above, front, own];
        };
        let mut ratios = bound.ratios.clone();
        ratios.sort_by(f64::total_cmp);
        let at = |part: usize| ratios.get(ratios.len() * part / 4).copied().unwrap_or(0.0);
        let whole = |value: f64| grouped(value.round() as u64);
        let ratio = |value: f64| format!("{value:.2}");
        [
            how.to_owned(),
            ratio(bound.ratio),
            ratio(at(1)),
            ratio(at(3)),
            whole(bound.front_per_s),
            whole(bound.own_per_s),
        ]
    };
    all.map(cells).into()
}

fn of_bounds(figures: &Figures) -> String {
    format!(
        "random reads of 4 KiB, 32 at once, by {}, beside the driver domain's own: a ratio in time each boot, medians of {}; one of \
         its own takes {:.0} instructions",
        figures.aio, figures.rounds, figures.bound_from_cache.own_instructions
    )
}

fn of_neighbour(figures: &Figures) -> String {
    let neighbour = &figures.neighbour;
    format!(
        "{} guests beside one that reads 1 MiB, 32 at once: {} requests, {} without it: {:.2} of a fair share; least {:.2} of the mean",
        neighbour.guests,
        grouped(neighbour.beside),
        grouped(neighbour.without),
        neighbour.against_fair_share,
        neighbour.least
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
    write!(page, "<h2>Beside the driver domain itself</h2><p>{}</p><table><tr>", of_bounds(figures))?;
    for heading in BOUND_HEADINGS {
        write!(page, "<th>{heading}</th>")?;
    }
    page.push_str("</tr>");
    for row in bounds(figures) {
        page.push_str("<tr>");
        for cell in row {
            write!(page, "<td>{cell}</td>")?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
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
    write!(page, "</table><p>{}</p>", of_neighbour(figures))?;
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
