//! The main job with load from a client guest, which also switches the policies.
//! It exists so that a run can count instructions: nothing outside of the machine then has a say.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::Deserialize;

use super::crash::{Crashes, LOOK};
use super::figures_of;
use super::session::Session;
use super::{boot, options as wanted, report};
use crate::cli;
use crate::cli::Policies;
use crate::figures::{Figures, Http};
use crate::paths;
use crate::qemu::Next;
use crate::scenario::{Delivery, Scenario};

/// How long the machine may be silent.
const PATIENCE: Duration = Duration::from_secs(300);

/// Length of the traced load in seconds of virtual time.
const TRACED_SECONDS: f64 = 0.2;

/// What the client says of one load.
#[derive(Clone, Debug, Deserialize)]
struct ClientResult {
    delivery: String,
    requests: u64,
    errors: u64,
    p50_us: u64,
    p99_us: u64,
    ready: usize,
}

/// Measures a scenario that holds its own client.
pub(super) fn measure(options: &cli::Run, scenario: &Scenario) -> Result<()> {
    if !scenario.system.domain.iter().any(|entry| entry.control) {
        let name = &scenario.name;
        return Err(crate::BadInput(format!(
            "scenario {name} has no domain with control = true that could be its client"
        ))
        .into());
    }
    let plan = wanted::plan(options, scenario)?;
    let mut session = Session::new(
        boot::boot_into(wanted::how(options, scenario), scenario, plan, options.record.as_deref())?,
        scenario,
    );
    let mut wall_s = None;
    let mut crashes = Crashes::new(options);
    follow(&mut session, &mut wall_s, crashes.as_mut())?;
    if let Some(crashes) = &crashes {
        crashes.finish()?;
    }

    let guests = session.plan.guests.len();
    let first = session.watch.snapshot(0)?;
    let mut figures = figures_of::start(options, scenario, &session, &first);
    figures.boot.wall_s = wall_s.unwrap_or_default();
    let results: Vec<ClientResult> = session
        .watch
        .results
        .iter()
        .map(|body| serde_json::from_value(body.clone()).context("the client's result is not understood"))
        .collect::<Result<_>>()?;
    for ((label, &delivery), result) in (0_u64..).step_by(2).zip(options.delivery.list()).zip(&results) {
        if result.delivery != delivery.word() {
            bail!("the client measured {:?} where {:?} was due", result.delivery, delivery.word());
        }
        let (before, after) = (session.watch.snapshot(label)?, session.watch.snapshot(label + 1)?);
        let elapsed = Duration::from_nanos(after.time_ns.saturating_sub(before.time_ns));
        let http = Http {
            errors: result.errors,
            p50_us: result.p50_us,
            p99_us: result.p99_us,
            ..figures_of::pace(result.requests, elapsed, wanted::connections(options, guests))
        };
        figures.ready = result.ready;
        figures.runs.push(figures_of::run(options, delivery, http, (&before, &after), &session.subjects()));
    }
    if figures.runs.len() < options.delivery.list().len() {
        let log = session.machine.log().display();
        bail!(
            "the client gave {} of {} results; the log is {log}",
            results.len(),
            options.delivery.list().len()
        );
    }
    figures_of::conclude(&mut figures, &session.watch);
    if let Err(error) = traced(options, scenario, &mut figures) {
        tell!("no trace: {error:#}");
    }
    report::finish(options, scenario, &figures, &session.watch)
}

/// A second, short run, traced from its start: the figures stay those of the run without a trace.
fn traced(options: &cli::Run, scenario: &Scenario, figures: &mut Figures) -> Result<()> {
    let Some(&delivery) = options.delivery.list().last() else { return Ok(()) };
    let only = match delivery {
        Delivery::Synchronous => Policies::Synchronous,
        Delivery::Batched => Policies::Batched,
        Delivery::Adaptive => Policies::Adaptive,
    };
    let short = cli::Run { delivery: only, seconds: Some(TRACED_SECONDS), ..options.clone() };
    let mut plan = wanted::plan(&short, scenario)?;
    plan.config.trace = true;
    // What the measured run said is worth more than what this one will.
    let log = paths::run(&scenario.name).join("serial.log");
    let _ = std::fs::rename(&log, log.with_file_name("measured.log"));
    let mut session = Session::new(boot::boot(wanted::how(&short, scenario), scenario, plan)?, scenario);
    follow(&mut session, &mut None, None)?;
    let requests = session.watch.results.last().and_then(|body| body.get("requests")?.as_u64());
    figures_of::add_trace(options, scenario, figures, delivery, requests.unwrap_or(0))
}

/// Follows the machine until it powers off.
pub(super) fn follow(
    session: &mut Session,
    wall_s: &mut Option<f64>,
    mut crashes: Option<&mut Crashes>,
) -> Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let guests = session.plan.guests.len();
    let mut heard = Instant::now();
    loop {
        let under_load = session.watch.snapshots.len() % 2 == 1;
        let wait = match &mut crashes {
            Some(crashes) if under_load => {
                crashes.tend(session)?;
                LOOK
            }
            _ => PATIENCE,
        };
        match session.machine.next(Instant::now() + wait)? {
            Next::Line(line) => {
                heard = Instant::now();
                if let Some(text) = session.watch.see(&line) {
                    bar.suspend(|| tell!("{text}"));
                }
                if wall_s.is_none() && !session.watch.snapshots.is_empty() {
                    *wall_s = Some(session.started.elapsed().as_secs_f64());
                }
                let up = session.watch.banners.len();
                bar.set_message(format!(
                    "{up} domains up, {} of the loads done",
                    session.watch.results.len()
                ));
            }
            Next::Timeout if heard.elapsed() < PATIENCE => {}
            Next::Timeout => {
                let log = session.machine.log().display();
                bail!("silent for {} s with {guests} guests; the log is {log}", PATIENCE.as_secs());
            }
            Next::End => break,
        }
    }
    bar.finish_and_clear();
    session.judge_end()
}
