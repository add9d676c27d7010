//! The main job: every guest fetched from, loaded under each policy, and traced.
//! It exists because this comparison is what Denizen is for.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::crash::{Crashes, LOOK};
use super::door::Door;
use super::figures_of;
use super::session::Session;
use super::{boot, options as wanted, report};
use crate::cli;
use crate::figures::{Figures, Run};
use crate::interrupt;
use crate::load::{Outcome, load};
use crate::scenario::{Delivery, HTTP, Scenario};

/// Length of a load when nobody says otherwise.
const SECONDS: f64 = 5.0;
/// Length of the traced load.
const TRACED: Duration = Duration::from_millis(1000);
/// How long a new policy settles before it is measured.
const SETTLE: Duration = Duration::from_millis(300);

/// Measures a scenario under load from the host.
pub(super) fn measure(options: &cli::Run, scenario: &Scenario) -> Result<()> {
    let (how, plan) = (wanted::how(options, scenario), wanted::plan(options, scenario)?);
    let booted = boot::boot_into(how, scenario, plan, options.record.as_deref())?;
    let mut session = Session::new(booted, scenario);
    session.await_guests()?;
    let speaks_http = session.plan.guests.iter().all(|guest| guest.port == HTTP);
    if options.keep && !speaks_http {
        return keep(session, &scenario.name, "");
    }
    let ready = session.snapshot("ready")?;
    let silent = session.fetch()?;
    let mut figures = figures_of::start(options, scenario, &session, &ready);
    figures.ready = session.targets.len() - silent.len();
    figures.boot.wall_s = session.started.elapsed().as_secs_f64();
    for (name, reason) in silent.iter().take(5) {
        tell!("{name} does not answer: {reason}");
    }
    figures.silent = silent;
    say!("{} of {} guests answer", figures.ready, figures.guests);
    if options.keep {
        return keep(session, &scenario.name, "http://");
    }
    if figures.ready == 0 {
        bail!("no guest answers; the log is {}", session.machine.log().display());
    }
    session.targets.retain(|target| figures.silent.iter().all(|(name, _)| *name != target.name));

    let length = Duration::from_secs_f64(options.seconds.unwrap_or(SECONDS));
    let connections = wanted::connections(options, session.targets.len());
    let mut crashes = Crashes::new(options);
    for &delivery in options.delivery.list() {
        let run = loaded(options, &mut session, delivery, connections, length, crashes.as_mut())?;
        figures.runs.push(run);
    }
    if let Some(crashes) = &crashes {
        crashes.finish()?;
    }
    if let Err(error) = traced(options, scenario, &mut session, connections, &mut figures) {
        session.drain()?;
        tell!("no trace: {error:#}");
    }
    session.command("audit")?;
    session.end()?;
    figures_of::conclude(&mut figures, &session.watch);
    report::finish(options, scenario, &figures, &session.watch)
}

fn loaded(
    options: &cli::Run,
    session: &mut Session,
    delivery: Delivery,
    connections: usize,
    length: Duration,
    crashes: Option<&mut Crashes>,
) -> Result<Run> {
    session.deliver(delivery)?;
    std::thread::sleep(SETTLE);
    tell!(
        "loading under {} delivery: {connections} connections, {:.1} s",
        delivery.word(),
        length.as_secs_f64()
    );
    let before = session.snapshot(delivery.word())?;
    let outcome = match crashes {
        None => load(&session.targets, connections, length, &session.machine.ended())?,
        Some(crashes) => disturbed(session, connections, length, crashes)?,
    };
    let after = session.snapshot(delivery.word())?;
    let http = figures_of::http(&outcome, connections);
    Ok(figures_of::run(options, delivery, http, (&before, &after), &session.subjects()))
}

/// The same load with crashes in it.
fn disturbed(
    session: &mut Session,
    connections: usize,
    length: Duration,
    crashes: &mut Crashes,
) -> Result<Outcome> {
    let (targets, ended) = (session.targets.clone(), session.machine.ended());
    let load = std::thread::spawn(move || load(&targets, connections, length, &ended));
    while !load.is_finished() {
        crashes.tend(session)?;
        session.drain()?;
        std::thread::sleep(LOOK);
    }
    load.join().map_err(|_panic| anyhow!("the load panicked"))?
}

fn traced(
    options: &cli::Run,
    scenario: &Scenario,
    session: &mut Session,
    connections: usize,
    figures: &mut Figures,
) -> Result<()> {
    let Some(&delivery) = options.delivery.list().last() else { return Ok(()) };
    tell!("tracing under {} delivery: {:.1} s", delivery.word(), TRACED.as_secs_f64());
    session.command("trace on")?;
    let outcome = load(&session.targets, connections, TRACED, &session.machine.ended())?;
    session.command("trace off")?;
    figures_of::add_trace(options, scenario, figures, delivery, outcome.requests)
}

/// Stays up until Ctrl-C.
fn keep(mut session: Session, name: &str, scheme: &str) -> Result<()> {
    interrupt::be_gentle();
    for target in &session.targets {
        let end = if scheme.is_empty() { "" } else { "/" };
        say!("{:<12} {scheme}{}{end}", target.name, target.address);
    }
    let mut door = Door::open(name, &session)?;
    say!("watch it with `cargo xtask trace live {name}`; Ctrl-C ends the machine");
    while !interrupt::pressed() {
        door.serve(&mut session, Duration::from_millis(100))?;
        session.drain()?;
    }
    drop(door);
    session.end()
}
