//! `cargo xtask run`: a scenario from its file to its figures.
//! It exists as the main job of the whole repository.

pub(crate) mod boot;
mod figures_of;
mod inside;
mod measure;
mod options;
mod report;
mod session;
mod watch;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli;
use crate::qemu::Next;
use crate::scenario::Scenario;
use crate::serial::Line;
use crate::{compile, interrupt, paths, setup};

/// Runs a scenario.
pub(crate) fn run(options: &cli::Run) -> Result<()> {
    let root = paths::root();
    let mut scenario = Scenario::open(&root, options::scenario_name(options))?;
    options::apply(options, &mut scenario)?;
    scenario.check(&compile::is_guest)?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    if scenario.subject().is_some() {
        measure::measure(options, &scenario)
    } else {
        listen(options, &scenario)
    }
}

/// A scenario without a subject: its serial log is the result.
fn listen(options: &cli::Run, scenario: &Scenario) -> Result<()> {
    let mut machine =
        boot::boot(options::how(options, scenario), scenario, options::plan(options, scenario)?)?.machine;
    let limit = options
        .seconds
        .map(Duration::from_secs_f64)
        .or(scenario.system.runtime.map(|span| Duration::from_micros(span.us)));
    let deadline = Instant::now() + limit.unwrap_or(Duration::from_secs(86_400));
    loop {
        match machine.next(deadline)? {
            Next::Line(line) => show(&line),
            Next::Timeout => break machine.power_off(show),
            Next::End => {
                break match machine.status() {
                    Some(status) if boot::is_orderly(status) => Ok(()),
                    _ => Err(machine.death()),
                };
            }
        }
    }
}

/// Prints a line as it came.
fn show(line: &Line) {
    match line {
        Line::Log(text) => println!("denizen: {text}"),
        Line::Console { domain, text } => println!("{domain}| {text}"),
        Line::Record { kind, body } => println!("@{kind} {body}"),
        Line::Other(text) => println!("{text}"),
    }
}
