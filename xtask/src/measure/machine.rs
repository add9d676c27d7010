//! One machine of a sweep, from its start to its points.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypervisor_core::trace::decode::decode;
use indicatif::ProgressBar;

use super::collect::Collected;
use super::images::Frozen;
use super::own::own;
use super::point::{Point, points, policy_of};
use super::prepare::{View, plan, scenario};
use super::settings::{Cell, Settings};
use super::traced::{Delays, delays};
use crate::paths;
use crate::qemu::{Clock, Next, is_orderly};
use crate::run::boot::{self, How};
use crate::table;

/// How long a machine may be silent.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether another machine has failed.
const LOOK: Duration = Duration::from_secs(1);

/// What one look at a machine showed.
#[derive(Debug)]
pub(crate) struct Look {
    /// How it was looked at.
    pub(crate) view: View,
    /// What it said.
    pub(crate) collected: Collected,
    /// From the round under the trace, by policy.
    delays: Vec<Option<Delays>>,
}

/// Runs a machine to its end, as a run of this name.
pub(crate) fn follow(
    settings: &Settings,
    cell: &Cell,
    view: View,
    images: &Frozen,
    name: String,
    (bar, failed): (&ProgressBar, &AtomicBool),
) -> Result<Look> {
    let mut scenario = scenario(settings, cell)?;
    let plan = plan(settings, cell, &scenario, view)?;
    scenario.name = name;
    let folder = paths::run(&scenario.name);
    let how = How::new(Clock::Counted { seed: settings.seed });
    let images = images.images(view, &folder, &plan.images)?;
    let mut machine = boot::boot_images(how, &scenario, plan, &images)?.machine;
    let mut collected = Collected::default();
    let mut last = Instant::now();
    loop {
        ensure!(!failed.load(Ordering::Acquire), "stopped, since another machine failed");
        match machine.next(Instant::now() + LOOK)? {
            Next::Line(line) => {
                last = Instant::now();
                collected.see(&line, machine.stamp())?;
                let done = collected.snapshots.len() / 2;
                let what = if view == View::Plain { "measured" } else { "accounted for" };
                bar.set_message(format!("{}, {what}: {done} segments", table::guests(cell.guests)));
            }
            Next::Timeout if last.elapsed() < PATIENCE => {}
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
    let delays = if view == View::Plain { traced(settings, &collected, &folder)? } else { Vec::new() };
    Ok(Look { view, collected, delays })
}

/// The delays of each policy, from the last round.
fn traced(
    settings: &Settings,
    collected: &Collected,
    folder: &std::path::Path,
) -> Result<Vec<Option<Delays>>> {
    let file = folder.join("trace.bin");
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let decoded = decode(&bytes).with_context(|| format!("reading {}", file.display()))?;
    let count = settings.policies.len();
    let mut found: Vec<Option<Delays>> = vec![None; count];
    for number in count * settings.rounds as usize..count * (settings.rounds as usize + 1) {
        let label = 2 * number as u64;
        let time = |label| collected.snapshots.get(&label).map(|(snapshot, _)| snapshot.time_ns);
        if let (Some(from), Some(to)) = (time(label), time(label + 1)) {
            found[policy_of(number, count)] = Some(delays(&decoded, from, to));
        }
    }
    Ok(found)
}

/// The points of a machine under the usual hypervisor.
pub(crate) fn measured(settings: &Settings, cell: &Cell, look: &Look) -> Result<Vec<Point>> {
    let mut points = points(settings, cell, &look.collected)?;
    let ready = u64::from(cell.guests);
    ensure!(look.collected.ready == ready, "{} of {ready} guests answered", look.collected.ready);
    for (point, delays) in points.iter_mut().zip(&look.delays) {
        point.delays.clone_from(delays);
    }
    Ok(points)
}

/// Adds the hypervisor's own part, from a round with a build that counts it.
pub(crate) fn add_own(settings: &Settings, collected: &Collected, points: &mut [Point]) -> Result<()> {
    let count = settings.policies.len();
    for number in 0..count {
        if let Some(point) = points.get_mut(policy_of(number, count)) {
            point.instructions_per_request.hypervisor = Some(own(collected, number)?);
        }
    }
    Ok(())
}
