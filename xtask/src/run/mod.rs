//! `cargo xtask run`: a scenario from its file to its figures.
//! It exists as the main job of the whole repository.

pub(crate) mod boot;
mod coverage;
mod crash;
mod door;
mod figures_of;
mod inside;
pub(crate) mod kv;
mod measure;
mod options;
mod record;
mod report;
mod rescue;
pub(crate) mod session;
pub(crate) mod strike;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hypervisor_core::config::OnCrash;

pub(crate) use self::coverage::Coverage;
pub(crate) use self::record::record;
use self::session::Session;
use crate::cli;
use crate::qemu::Next;
use crate::scenario::Scenario;
use crate::serial::Line;
use crate::{compile, host, interrupt, paths, setup};

/// How long the hypervisor may take to start, with all its domains, on a busy host.
const PATIENCE: Duration = Duration::from_secs(300);
/// For all purposes.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Runs a scenario.
pub(crate) fn run(options: &cli::Run) -> Result<()> {
    let scenario = prepared(options)?;
    let result = match scenario.subject() {
        None => listen(options, &scenario),
        Some(_) if options::from_inside(options) => inside::measure(options, &scenario),
        Some(_) => measure::measure(options, &scenario),
    };
    result.inspect_err(|_error| rescue::rescue(&scenario.name))
}

/// The scenario as the options want it, checked; and this machine made ready for it.
fn prepared(options: &cli::Run) -> Result<Scenario> {
    let root = paths::root();
    let mut scenario = Scenario::open(&root, options::scenario_name(options))?;
    options::apply(options, &mut scenario)?;
    scenario.check(&compile::is_image)?;
    if let Some(bytes) = host::memory_bytes() {
        scenario.check_host(bytes)?;
    }
    host::raise_open_files();
    tell!("{}: {}", scenario.name, scenario.system.description);
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    Ok(scenario)
}

/// A scenario without a subject: its serial log is the result.
fn listen(options: &cli::Run, scenario: &Scenario) -> Result<()> {
    let plan = options::plan(options, scenario)?;
    let mut session = Session::new(
        boot::boot_into(options::how(options, scenario), scenario, plan, options.record.as_deref())?,
        scenario,
    );
    let limit = options.seconds.map(Duration::from_secs_f64);
    let limit = limit.or(scenario.system.runtime.map(|span| Duration::from_micros(span.us)));
    hear(&mut session, limit.unwrap_or(FOREVER), show)?;
    if let Some(copy) = &options.trace {
        let file = paths::run(&scenario.name).join("trace.bin");
        std::fs::copy(file, copy).with_context(|| format!("writing {}", copy.display()))?;
    }
    if let Some(path) = &options.json.json {
        let mut figures = figures_of::listened(options, scenario, &session);
        figures_of::conclude(&mut figures, &session.watch);
        let text = serde_json::to_string_pretty(&figures).context("writing JSON")? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Follows a machine to the end of all that runs in it, or ends it so long after its start.
fn hear(session: &mut Session, length: Duration, mut show: impl FnMut(&Line)) -> Result<()> {
    // Until the hypervisor says that it has started, nobody reads what it is told.
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        match session.machine.next(deadline)? {
            Next::Line(line) => {
                show(&line);
                let was_up = session.watch.boot.is_some();
                session.watch.see(&line);
                if !was_up && session.watch.boot.is_some() {
                    deadline = Instant::now() + length;
                }
                let domains = &session.plan.config.domains;
                // A driver domain has nothing to do when those that it serves have ended, also one that always comes back.
                let backs = |name: &str| {
                    domains
                        .iter()
                        .flat_map(|domain| &domain.devices)
                        .any(|device| device.backend() == Some(name))
                };
                let stays = domains
                    .iter()
                    .all(|domain| domain.on_crash != OnCrash::Restart || backs(domain.name.as_str()));
                let over = stays && session.watch.all_dead(domains.len(), backs);
                if over {
                    session.machine.tell("poweroff")?;
                    return session.follow_out(&mut show);
                }
            }
            Next::Timeout if session.watch.boot.is_none() => {
                let log = session.machine.log().display();
                bail!("the hypervisor has not started within {} s; the log is {log}", PATIENCE.as_secs());
            }
            Next::Timeout => {
                session.machine.tell("poweroff")?;
                return session.follow_out(&mut show);
            }
            Next::End => return session.judge_end(),
        }
    }
}

/// Prints a line as it came.
fn show(line: &Line) {
    match line {
        Line::Log(text) => say!("denizen: {text}"),
        Line::Console { domain, text } => say!("{domain}| {text}"),
        Line::Record { kind, body } => say!("@{kind} {body}"),
        Line::Other(text) => say!("{text}"),
    }
}
