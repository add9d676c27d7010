//! A sweep's figures on the terminal.

use super::sweep::Sweep;
use crate::table::{fraction, grouped, new, or_dash};

/// Prints one line a point.
pub(crate) fn print(figures: &Sweep) {
    let mut table = new(&[
        "guests",
        "delivery",
        "suppress",
        "idle",
        "requests/s",
        "p50 us",
        "p99 us",
        "max us",
        "switches/req",
        "events/upcall",
        "instr/req",
        "hypervisor",
        "driver",
        "guests",
        "clients",
        "idle %",
        "wall ratio",
        "cpu ratio",
    ]);
    for point in &figures.points {
        let instructions = &point.instructions_per_request;
        let whole = |value: Option<f64>| or_dash(value.map(|value| grouped(value as u64)));
        table.add_row([
            point.guests.to_string(),
            point.delivery.clone(),
            point.suppress.clone(),
            point.idle.clone(),
            format!("{:.0}", point.throughput),
            or_dash(point.p50_us),
            or_dash(point.p99_us),
            or_dash(point.max_us),
            fraction(point.switches_per_request),
            fraction(point.events_per_upcall),
            whole(instructions.total),
            whole(instructions.hypervisor.as_ref().map(|own| own.total)),
            whole(instructions.driver),
            whole(instructions.guests),
            whole(instructions.clients),
            or_dash(point.idle_share.map(|share| format!("{:.1}", share * 100.0))),
            fraction(point.wall_ratio),
            fraction(point.cpu_ratio),
        ]);
    }
    say!("{table}");
}
