//! One machine of a sweep, from its start to its points.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypervisor_core::trace::decode::decode;
use indicatif::ProgressBar;

use super::collect::Collected;
use super::own::own;
use super::point::{Point, points, policy_of};
use super::prepare::{View, plan, scenario};
use super::settings::{Cell, Settings};
use super::traced::delays;
use crate::paths;
use crate::qemu::{Clock, Next};
use crate::run::boot::{self, Build, How, is_orderly};

/// How long a machine may be silent.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures a cell: its figures, then a round under the trace, then one for the hypervisor's own part.
pub(crate) fn measure(settings: &Settings, cell: &Cell, bar: &ProgressBar) -> Result<Vec<Point>> {
    let collected = follow(settings, cell, View::Plain, bar)?;
    let mut points = points(settings, cell, &collected)?;
    let ready = u64::from(cell.guests);
    ensure!(collected.ready == ready, "{} of {ready} guests answered", collected.ready);
    let collected = follow(settings, cell, View::Traced, bar).context("under the trace")?;
    let file = paths::run("measure").join("trace.bin");
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let decoded = decode(&bytes).with_context(|| format!("reading {}", file.display()))?;
    let count = settings.policies.len();
    for number in 0..count {
        let label = 2 * number as u64;
        let time = |label| collected.snapshots.get(&label).map(|(snapshot, _)| snapshot.time_ns);
        if let (Some(from), Some(to)) = (time(label), time(label + 1))
            && let Some(point) = points.get_mut(policy_of(number, count))
        {
            point.delays = Some(delays(&decoded, from, to));
        }
    }
    let collected = follow(settings, cell, View::Accounted, bar).context("for the hypervisor's own part")?;
    for number in 0..count {
        if let Some(point) = points.get_mut(policy_of(number, count)) {
            point.instructions_per_request.hypervisor = Some(own(&collected, number)?);
        }
    }
    Ok(points)
}

/// Runs a machine to its end.
fn follow(settings: &Settings, cell: &Cell, view: View, bar: &ProgressBar) -> Result<Collected> {
    let scenario = scenario(settings, cell)?;
    let plan = plan(settings, cell, &scenario, view)?;
    let how = How {
        clock: Clock::Counted { seed: settings.seed },
        forwarded: false,
        port: None,
        gdb: false,
        build: if view == View::Accounted { Build::Accounting } else { Build::Usual },
    };
    let mut machine = boot::boot(how, &scenario, plan)?.machine;
    let mut collected = Collected::default();
    loop {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(line) => {
                collected.see(&line)?;
                let done = collected.snapshots.len() / 2;
                let what = match view {
                    View::Plain => "measured",
                    View::Traced => "traced",
                    View::Accounted => "accounted for",
                };
                bar.set_message(format!("{} guests, {what}: {done} segments", cell.guests));
            }
            Next::Timeout => {
                bail!("silent for {} s; the log is {}", PATIENCE.as_secs(), machine.log().display())
            }
            Next::End => break,
        }
    }
    match machine.status() {
        Some(status) if is_orderly(status) => {}
        _ => return Err(machine.death()),
    }
    if let [first, ..] = collected.faults.as_slice() {
        bail!(
            "{} faults, the first: {first}; the log is {}",
            collected.faults.len(),
            machine.log().display()
        );
    }
    Ok(collected)
}
