//! `cargo xtask trace record` of a system of its own: started, loaded, recorded to a file, ended.
//! Unlike the trace that `run` takes after it has measured, the recording is all that this run is for.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::session::Session;
use super::{FOREVER, boot, hear, inside, options as wanted, prepared};
use crate::cli::{self, RecordMode};
use crate::load::load;
use crate::trace::Spool;
use crate::{BadInput, paths};

/// Length of the load when nobody says otherwise.
const SECONDS: f64 = 2.0;

/// Records a run of a scenario into a file; where that lies is told once the scenario is known to be good.
///
/// # Errors
/// [`BadInput`] for options that make no sense here, and all that can go wrong with a run.
pub(crate) fn record(options: &cli::Record, output: &Path) -> Result<()> {
    let run = &options.run;
    if run.keep || run.crash.is_some() || run.trace.is_some() {
        let text = "--keep, --crash and --trace are `run`'s; a run that stays up is recorded with --attach";
        return Err(BadInput(text.to_owned()).into());
    }
    let scenario = prepared(run)?;
    let trace = paths::run(&scenario.name).join("trace.bin");
    cli::spare([trace.as_path()], [Some(output), run.json.path(), run.record.as_deref()])?;
    let mut plan = wanted::plan(run, &scenario)?;
    let from_host = scenario.subject().is_some() && !wanted::from_inside(run);
    // What the host loads is recorded under load; else the start belongs to it.
    plan.config.trace = !from_host;
    if options.mode == RecordMode::Live {
        plan.config.trace_settings.push("mode live".to_owned());
    }
    let mut session = Session::new(boot::boot(wanted::how(run, &scenario), &scenario, plan)?, &scenario);
    let limit = options.most();
    let spool =
        (options.mode == RecordMode::Live).then(|| Spool::start(&trace, output, limit)).transpose()?;
    if from_host {
        under_load(run, &mut session)?;
    } else if scenario.subject().is_some() {
        inside::follow(&mut session, &mut None, None)?;
    } else {
        let limit = run.seconds.map_or(FOREVER, Duration::from_secs_f64);
        hear(&mut session, limit, |_line| ())?;
    }
    match spool {
        Some(spool) => spool.finish(),
        None => {
            let copied = std::fs::copy(&trace, output);
            copied.map(drop).with_context(|| format!("writing {}", output.display()))
        }
    }
}

/// Loads the guests from the host while the trace is on.
fn under_load(options: &cli::Run, session: &mut Session) -> Result<()> {
    session.await_guests()?;
    let silent = session.fetch()?;
    session.targets.retain(|target| silent.iter().all(|(name, _)| *name != target.name));
    if session.targets.is_empty() {
        bail!("no guest answers; the log is {}", session.machine.log().display());
    }
    if let Some(&delivery) = options.delivery.list().last() {
        session.deliver(delivery)?;
    }
    let connections = wanted::connections(options, session.targets.len());
    let length = Duration::from_secs_f64(options.seconds.unwrap_or(SECONDS));
    tell!("recording under load: {connections} connections, {:.1} s", length.as_secs_f64());
    session.command("trace on")?;
    load(&session.targets, connections, length, &session.machine.ended())?;
    session.command("trace off")?;
    session.end()
}
