//! A sweep as rows of text: for the report's table, and as CSV for other programs.

use super::own::Own;
use super::point::Point;
use super::sweep::Sweep;

/// A column.
type Column = (&'static str, fn(&Point) -> String);

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value}"))
}

const fn own(point: &Point) -> Option<&Own> {
    point.instructions_per_request.hypervisor.as_ref()
}

const COLUMNS: &[Column] = &[
    ("guests", |point| point.guests.to_string()),
    ("delivery", |point| point.delivery.clone()),
    ("suppress", |point| point.suppress.clone()),
    ("idle", |point| point.idle.clone()),
    ("connections", |point| point.connections.to_string()),
    ("requests", |point| point.requests.to_string()),
    ("errors", |point| point.errors.to_string()),
    ("requests/s", |point| format!("{:.1}", point.throughput)),
    ("wall ratio", |point| number(point.wall_ratio)),
    ("wall n", |point| point.wall.n.to_string()),
    ("wall min", |point| number(point.wall.min)),
    ("wall max", |point| number(point.wall.max)),
    ("cpu ratio", |point| number(point.cpu_ratio)),
    ("cpu min", |point| number(point.cpu.min)),
    ("cpu max", |point| number(point.cpu.max)),
    ("p50 us", |point| number(point.p50_us.map(|us| us as f64))),
    ("p99 us", |point| number(point.p99_us.map(|us| us as f64))),
    ("p99.9 us", |point| number(point.p999_us.map(|us| us as f64))),
    ("max us", |point| number(point.max_us.map(|us| us as f64))),
    ("connect max us", |point| number(point.connect_max_us.map(|us| us as f64))),
    ("latency max/min", |point| number(point.latency_max_min)),
    ("raised", |point| point.interrupts.raised.to_string()),
    ("merged", |point| point.interrupts.merged.to_string()),
    ("suppressed", |point| point.interrupts.suppressed.to_string()),
    ("upcalls", |point| point.interrupts.upcalls.to_string()),
    ("events/upcall", |point| number(point.events_per_upcall)),
    ("switches/request", |point| number(point.switches_per_request)),
    ("instructions/request", |point| number(point.instructions_per_request.total)),
    ("driver", |point| number(point.instructions_per_request.driver)),
    ("guest", |point| number(point.instructions_per_request.guests)),
    ("client", |point| number(point.instructions_per_request.clients)),
    ("hypervisor", |point| number(own(point).map(|own| own.total))),
    ("hypervisor for driver", |point| number(own(point).map(|own| own.driver))),
    ("hypervisor for guests", |point| number(own(point).map(|own| own.guests))),
    ("hypervisor for clients", |point| number(own(point).map(|own| own.clients))),
    ("sleeps/request", |point| number(point.sleeps_per_request)),
    ("idle/request", |point| number(point.instructions_per_request.idle)),
    ("delay p50 ns", |point| number(point.delays.as_ref().map(|delays| delays.p50_ns as f64))),
    ("delay p99 ns", |point| number(point.delays.as_ref().map(|delays| delays.p99_ns as f64))),
];

/// The head and one row a point.
pub(crate) fn rows(figures: &Sweep) -> Vec<Vec<String>> {
    let head = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let row = |point: &Point| COLUMNS.iter().map(|(_, cell)| cell(point)).collect();
    std::iter::once(head).chain(figures.points.iter().map(row)).collect()
}

/// The same as CSV, after lines that say where it comes from.
pub(crate) fn csv(figures: &Sweep) -> String {
    let mut text = format!(
        "# {}\n# seed {}, QEMU {}, {}\n",
        figures.command, figures.settings.seed, figures.qemu, figures.accelerator
    );
    for row in rows(figures) {
        // No cell holds a comma or a quote.
        text.push_str(&row.join(","));
        text.push('\n');
    }
    text
}
