//! A machine of `measure batching --host`: loaded from outside over real TCP, in real time.
//! It exists because what is repeatable to the instruction has the load beside the guests on their own processor. Here it has
//! not, and so these figures are of wall time and repeat only as ratios of what ran side by side.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;

use super::collect::{Collected, Seen};
use super::images::Frozen;
use super::point::{Instructions, Point, points, policy_of};
use super::prepare::{View, plan, scenario};
use super::settings::{Cell, Settings};
use crate::load::{Outcome, load};
use crate::paths;
use crate::qemu::Clock;
use crate::run::boot::{self, How};
use crate::run::session::Session;
use crate::table;

/// The same as a kind of accelerator.
pub(crate) const ACCELERATOR: &str = "TCG, in real time";

/// Measures a cell as a run of this name: in each round each policy, one after the other.
pub(crate) fn measure(
    settings: &Settings,
    cell: &Cell,
    images: &Frozen,
    name: String,
    bar: &ProgressBar,
) -> Result<Vec<Point>> {
    let mut scenario = scenario(settings, cell)?;
    let plan = plan(settings, cell, &scenario, View::Plain)?;
    scenario.name = name;
    let how = How { forwarded: true, ..How::new(Clock::Real) };
    let images = images.images(View::Plain, &paths::run(&scenario.name), &plan.images)?;
    let mut session = Session::new(boot::boot_images(how, &scenario, plan, &images)?, &scenario);
    session.await_guests()?;
    let silent = session.fetch()?;
    ensure!(silent.is_empty(), "{} of {} guests do not answer", silent.len(), cell.guests);

    let mut collected = Collected { ready: u64::from(cell.guests), ruled: true, ..Collected::default() };
    let count = settings.policies.len();
    for number in 0..count * settings.rounds as usize {
        let policy = settings.policies[policy_of(number, count)];
        let guests = table::guests(cell.guests);
        bar.set_message(format!("{guests}, segment {} under {policy} delivery", number + 1));
        session.deliver_as(&policy.command())?;
        loaded(settings, cell, &session, settings.warm_ms)?;
        snapshot(&mut session, &mut collected, 2 * number)?;
        let outcome = loaded(settings, cell, &session, settings.settled_ms)?;
        snapshot(&mut session, &mut collected, 2 * number + 1)?;
        collected.segments.insert(number, seen(&outcome));
    }
    session.command("audit")?;
    session.end()?;
    let mut points = points(settings, cell, &collected)?;
    // The clock counts no instructions here.
    points.iter_mut().for_each(|point| point.instructions_per_request = Instructions::default());
    Ok(points)
}

fn loaded(settings: &Settings, cell: &Cell, session: &Session, ms: u32) -> Result<Outcome> {
    let (each, clients) = settings.connections(cell.guests);
    let length = Duration::from_millis(ms.into());
    load(&session.targets, (each * clients) as usize, length, &session.machine.ended())
}

/// Counters of all domains, added up by image.
fn snapshot(session: &mut Session, collected: &mut Collected, label: usize) -> Result<()> {
    session.drain()?;
    let body = session.command(&format!("snapshot {label} brief"))?;
    collected.record("snapshot", &body, session.machine.stamp()).context("a snapshot")
}

fn seen(outcome: &Outcome) -> Seen {
    let mut seen = Seen {
        requests: outcome.requests,
        errors: outcome.errors,
        connect_max_us: Some(outcome.connect_max_us),
        seconds: Some(outcome.elapsed.as_secs_f64()),
        ..Seen::default()
    };
    for value in outcome.latency.iter_recorded() {
        seen.latency.add_us(value.value_iterated_to(), value.count_at_value());
    }
    seen
}
