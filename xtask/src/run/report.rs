//! The end of a measured run: table, JSON, HTML report.
//! It exists so that every run ends alike, its report's path last.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::watch::Watch;
use crate::figures::{Figures, Run};
use crate::scenario::Scenario;
use crate::table::{fraction, grouped, new, or_dash};
use crate::{cli, html, paths};

/// Prints the table and writes the files.
///
/// # Errors
/// When a file cannot be written, or the hypervisor said that something is wrong with it.
pub(super) fn finish(
    options: &cli::Run,
    scenario: &Scenario,
    figures: &Figures,
    watch: &Watch,
) -> Result<()> {
    print(figures);
    let folder = paths::run(&scenario.name);
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    write(&folder.join("run.json"), &text)?;
    if let Some(path) = &options.json.json {
        write(path, &text)?;
    }
    let report = folder.join("report.html");
    write(&report, &html::page(figures)?)?;
    if let Some(coverage) = &figures.coverage {
        say!("{}", coverage.text());
    }
    if let Some(traced) = &figures.traced {
        say!("trace:  {}", traced.file);
    }
    say!("report: {}", report.display());
    match watch.faults.as_slice() {
        [] => {}
        [first, ..] => bail!("{} faults of the hypervisor, the first: {first}", watch.faults.len()),
    }
    let breaches = figures.coverage.as_ref().map_or(&[][..], |coverage| &coverage.breaches);
    match breaches {
        [] => Ok(()),
        [first, ..] => bail!("{} breaches, the first: {first}", breaches.len()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn print(figures: &Figures) {
    let heads: Vec<&str> =
        std::iter::once("").chain(figures.runs.iter().map(|run| run.delivery.as_str())).collect();
    let mut table = new(&heads);
    type Cell = fn(&Run) -> String;
    let rows: &[(&str, Cell)] = &[
        ("requests", |run| grouped(run.http.requests)),
        ("errors", |run| grouped(run.http.errors)),
        ("requests/s", |run| format!("{:.1}", run.http.requests_per_s)),
        ("p50 us", |run| grouped(run.http.p50_us)),
        ("p99 us", |run| grouped(run.http.p99_us)),
        ("interrupts raised", |run| grouped(run.interrupts.raised)),
        ("  merged", |run| grouped(run.interrupts.merged)),
        ("  suppressed", |run| grouped(run.interrupts.suppressed)),
        ("upcalls", |run| grouped(run.interrupts.upcalls)),
        ("events per upcall", |run| fraction(run.interrupts.events_per_upcall)),
        ("domain switches", |run| grouped(run.interrupts.switches)),
        ("  per request", |run| fraction(run.interrupts.switches_per_request)),
    ];
    for (name, cell) in rows {
        table.add_row(std::iter::once((*name).to_owned()).chain(figures.runs.iter().map(cell)));
    }
    say!("{table}");

    let names: BTreeSet<&String> = figures.runs.iter().flat_map(|run| run.hypercalls.keys()).collect();
    let mut table = new(&heads.iter().copied().chain(["mean ns"]).collect::<Vec<_>>());
    for name in names {
        let calls = || figures.runs.iter().map(|run| run.hypercalls.get(name));
        let counts = calls().map(|call| grouped(call.map_or(0, |call| call.count)));
        let mean = calls().flatten().find_map(|call| call.mean_ns).map(|mean| format!("{mean:.0}"));
        table.add_row(std::iter::once(name.clone()).chain(counts).chain([or_dash(mean)]));
    }
    say!("hypercalls of all domains; mean from the traced run\n{table}");
    let memory = or_dash(figures.memory.hypervisor_bytes_per_guest.map(grouped));
    say!(
        "{} of {} guests answered; up after {:.1} s, {} ms of virtual time; {memory} bytes of hypervisor heap a guest",
        figures.ready,
        figures.guests,
        figures.boot.wall_s,
        or_dash(figures.boot.virtual_ms.map(|ms| format!("{ms:.0}"))),
    );
    for run in &figures.runs {
        if let Some(error) = &run.http.first_error {
            say!("{}: {} errors, the first: {error}", run.delivery, run.http.errors);
        }
    }
}
