//! The options of `run`, put into a scenario.
//! It exists so that a changed scenario passes the same checks as a written one.

use hypervisor_core::ring::Ring;
use toml::Spanned;

use super::boot::{Build, How};
use crate::BadInput;
use crate::cli::{Idle, Run, Switch};
use crate::qemu::Clock;
use crate::scenario::{HTTP, Load, OnCrash, Plan, Scenario, lower};
use crate::trace::setting;

/// Which scenario is meant.
pub(super) fn scenario_name(options: &Run) -> &str {
    match &options.scenario {
        Some(name) => name,
        None if from_inside(options) => "inside",
        None => "web",
    }
}

/// Whether the load comes from a guest.
pub(super) fn from_inside(options: &Run) -> bool {
    options.icount || options.load == Some(Load::Inside)
}

/// How the machine is to be started.
pub(super) fn how(options: &Run, scenario: &Scenario) -> How {
    How {
        clock: match (options.kvm, options.icount) {
            (true, _) => Clock::Kvm,
            (_, true) => Clock::Counted { seed: scenario.system.seed },
            _ => Clock::Real,
        },
        forwarded: !from_inside(options),
        port: options.port,
        gdb: options.gdb,
        build: Build::Usual,
    }
}

/// Most connections when nobody says otherwise.
const CONNECTIONS: usize = 64;
/// Length of each load from inside when nobody says otherwise, in seconds of virtual time.
const SECONDS_INSIDE: f64 = 2.0;

/// Connections of the load.
pub(super) fn connections(options: &Run, guests: usize) -> usize {
    options.connections.map_or((2 * guests).min(CONNECTIONS), |connections| connections as usize)
}

/// The scenario's plan, the words in braces of its command lines filled in.
pub(super) fn plan(options: &Run, scenario: &Scenario) -> anyhow::Result<Plan> {
    let mut plan = lower(scenario)?;
    plan.monitor = options.monitor.clone();
    let policies: Vec<&str> = options.delivery.list().iter().map(|delivery| delivery.word()).collect();
    let targets = plan.guests.first().map(|first| format!("{}+{}", first.address, plan.guests.len()));
    let words = [
        ("{policies}", policies.join(",")),
        ("{seconds}", options.seconds.unwrap_or(SECONDS_INSIDE).to_string()),
        ("{connections}", connections(options, plan.guests.len()).to_string()),
        ("{seed}", scenario.system.seed.to_string()),
        ("{targets}", targets.unwrap_or_default()),
    ];
    for domain in &mut plan.config.domains {
        for (word, value) in &words {
            domain.command_line = domain.command_line.replace(word, value);
        }
    }
    Ok(plan)
}

/// Changes a scenario as the options say.
///
/// # Errors
/// [`BadInput`] when an option does not fit the scenario.
pub(super) fn apply(options: &Run, scenario: &mut Scenario) -> Result<(), BadInput> {
    scenario.keep(if from_inside(options) { Load::Inside } else { Load::Host });
    if from_inside(options) && options.keep {
        return Err(BadInput("--keep needs load from the host".to_owned()));
    }
    if options.icount && options.load == Some(Load::Host) {
        return Err(BadInput("--icount skips idle time, so the load cannot come from the host".to_owned()));
    }
    if let Some(ring) = options.ring {
        if Ring::from_number(ring).is_none() {
            return Err(BadInput(format!("--ring {ring}: a guest's kernel runs in ring 1 or 3")));
        }
        scenario.system.domain.iter_mut().for_each(|domain| replace(&mut domain.ring, ring));
    }
    if let Some(memory) = options.memory {
        replace(&mut scenario.system.memory, memory);
    }
    if let Some(seed) = options.seed {
        scenario.system.seed = seed;
    }
    trace(&options.trace_set, scenario)?;
    let name = scenario.name.clone();
    if let Some(domain) = &options.crash {
        let found = scenario.system.domain.iter().find(|entry| entry.name.get_ref() == domain);
        match found {
            None => return Err(BadInput(format!("--crash: scenario {name} has no domain {domain:?}"))),
            Some(entry) if entry.count.is_some() || entry.on_crash != OnCrash::Restart => {
                let text = format!("--crash: {domain:?} is not one domain with on_crash = \"restart\"");
                return Err(BadInput(text));
            }
            Some(_) => {}
        }
    }
    let other = scenario.subject().is_some_and(|subject| subject.server_port() != HTTP);
    if other && !options.keep && !from_inside(options) {
        let text = format!("scenario {name} has no web servers to be loaded: see --keep");
        return Err(BadInput(text));
    }
    let Some(subject) = scenario.subject_mut() else {
        return match without_subject(options) {
            Some(option) => Err(BadInput(format!("{option}: scenario {name} has no subject that is loaded"))),
            None => Ok(()),
        };
    };
    if let Some(guests) = options.guests {
        match &mut subject.count {
            Some(count) => replace(count, guests),
            None => subject.count = Some(Spanned::new(subject.name.span(), guests)),
        }
    }
    if options.suppress == Switch::Off {
        subject.net.iter_mut().for_each(|device| device.suppress = false);
    }
    if options.idle == Idle::Plain {
        let line = format!("{} idle=plain", subject.command_line.get_ref());
        replace(&mut subject.command_line, line.trim().to_owned());
    }
    Ok(())
}

/// The first of the options that mean something to a loaded subject alone.
fn without_subject(options: &Run) -> Option<&'static str> {
    let asked = [
        ("--guests", options.guests.is_some()),
        ("--keep", options.keep),
        ("--suppress", options.suppress == Switch::Off),
        ("--idle", options.idle == Idle::Plain),
        ("--connections", options.connections.is_some()),
        ("--crash", options.crash.is_some()),
        ("--port", options.port.is_some()),
    ];
    asked.into_iter().find_map(|(option, given)| given.then_some(option))
}

/// Reads the settings of the trace on the command line, and has the hypervisor's own reader judge them.
fn trace(given: &[String], scenario: &mut Scenario) -> Result<(), BadInput> {
    let trace = &mut scenario.system.trace;
    trace.on |= !given.is_empty();
    for text in given.iter().filter(|text| *text != "on") {
        trace.more.push(setting("--trace-set", text)?);
    }
    Ok(())
}

fn replace<T>(place: &mut Spanned<T>, value: T) {
    *place = Spanned::new(place.span(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn options(line: &str) -> Run {
        match Cli::parse_from(std::iter::once("xtask").chain(line.split_whitespace())).command {
            Command::Run(options) => options,
            other => panic!("{other:?}"),
        }
    }

    fn applied(line: &str) -> Result<Scenario, BadInput> {
        let options = options(line);
        let mut scenario = Scenario::open(&crate::paths::root(), scenario_name(&options)).unwrap();
        apply(&options, &mut scenario).map(|()| scenario)
    }

    #[test]
    fn guests_suppression_and_idling_reach_the_measured_guests() {
        let scenario = applied("run web --guests 3 --suppress off --idle plain --memory 1G").unwrap();
        let plan = plan(&options("run"), &scenario).unwrap();
        assert_eq!(plan.guests.len(), 3);
        let web: Vec<_> =
            plan.config.domains.iter().filter(|domain| domain.name.starts_with("web-")).collect();
        assert!(web.iter().all(|domain| domain.command_line.ends_with(" size=2258 idle=plain")), "{web:?}");
        let text = format!("{:?}", web[0].devices);
        assert!(text.contains("suppress: false"), "{text}");
        assert_eq!(scenario.system.memory.get_ref().0, 1 << 30);
    }

    #[test]
    fn the_client_is_told_whom_to_load_and_how() {
        let options = options("run --icount --guests 4 --seconds 0.5 --seed 9 --delivery batched");
        assert_eq!(scenario_name(&options), "inside");
        let mut scenario = Scenario::open(&crate::paths::root(), "inside").unwrap();
        apply(&options, &mut scenario).unwrap();
        let plan = plan(&options, &scenario).unwrap();
        let client = plan.config.domains.last().unwrap();
        let line =
            "name=client policies=batched seconds=0.5 connections=8 seed=9 size=2258 targets=10.16.1.1+4";
        assert_eq!(client.command_line, line);
    }

    #[test]
    fn options_that_contradict_each_other_or_the_scenario_are_refused() {
        for line in [
            "run web --crash web",
            "run web --crash nobody",
            "run web --ring 2",
            "run --icount --load host",
            "run hello --guests 3",
            "run hello --keep",
            "run hello --connections 3",
            "run hello --port 4000",
        ] {
            assert!(applied(line).is_err(), "{line}");
        }
    }

    /// A system whose driver domain is built again, and that nobody loads.
    #[test]
    fn a_crash_without_load_is_refused() {
        let options = options("run kv --crash storage");
        let mut scenario = Scenario::open(&crate::paths::root(), "kv").unwrap();
        scenario.system.subject = None;
        let message = apply(&options, &mut scenario).unwrap_err().to_string();
        assert_eq!(message, "--crash: scenario kv has no subject that is loaded");
    }

    #[test]
    fn what_a_run_that_stays_up_would_not_do_is_refused_with_it() {
        for more in ["--crash driver", "--connections 3", "--seconds 1", "--trace t.bin", "--json t.json"] {
            let line = format!("xtask run web --keep {more}");
            let refused = Cli::try_parse_from(line.split_whitespace()).unwrap_err().kind();
            assert_eq!(refused, clap::error::ErrorKind::ArgumentConflict, "{line}");
        }
    }
}
