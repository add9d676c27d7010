//! One machine of computing guests: its scenario, its run, and what its guests counted.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypervisor_core::config::Device;
use serde::Deserialize;
use toml::Spanned;

use super::super::prepare::replace;
use crate::BadInput;
use crate::cli::Slices;
use crate::qemu::{Clock, Next};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, Size, Span, lower};
use crate::serial::Line;
use crate::{compile, host, paths};

/// How long the machine may be silent.
const PATIENCE: Duration = Duration::from_secs(300);
/// Virtual ms until all begin, and for each guest more: much more than it takes, since time in which nobody runs costs
/// nothing.
const START_MS: u32 = 200;
const START_MS_A_GUEST: u32 = 5;

/// What all machines of this command have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Slice of all guests.
    pub(super) slice_us: u32,
    /// Virtual time in which work counts.
    pub(super) window_ms: u32,
    /// Seed of the system.
    pub(super) seed: u64,
}

/// What a guest says at its end.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Computed {
    /// Units of work.
    pub(super) units: u64,
    /// Turns on the processor.
    pub(super) turns: u64,
    /// The longest time between two of them.
    pub(super) longest_wait_us: u64,
    /// Whether it started too late.
    pub(super) late: bool,
}

/// Refuses a number of guests that does not fit, before anything runs.
pub(super) fn fits(guests: u32, options: &Slices) -> Result<()> {
    let wanted = Wanted { slice_us: 1_000, window_ms: options.window, seed: options.seed };
    let Err(error) = equal(wanted, guests, options) else { return Ok(()) };
    let fitting = options.guests.iter().filter(|&&count| equal(wanted, count, options).is_ok()).max();
    let advice = match fitting {
        Some(guests) => format!("of this list, {guests} guests and fewer fit"),
        None => "no number of this list fits".to_owned(),
    };
    Err(BadInput(format!("{guests} guests: {error:#}; {advice}")).into())
}

/// So many guests that compute, all alike.
pub(super) fn equal(wanted: Wanted, guests: u32, options: &Slices) -> Result<Scenario> {
    let mut scenario = opened("slices", wanted)?;
    replace(&mut scenario.system.memory, Size(options.memory.0));
    if let Some(place) = scenario.system.domain.first_mut().and_then(|entry| entry.count.as_mut()) {
        replace(place, guests);
    }
    timed(scenario, wanted, guests, None)
}

/// A computing guest of each weight.
pub(super) fn weighted(wanted: Wanted, weights: &[u32], options: &Slices) -> Result<Scenario> {
    let mut scenario = opened("slices", wanted)?;
    replace(&mut scenario.system.memory, Size(options.memory.0));
    let entry = scenario.system.domain.first().context("the scenario has no domain")?.clone();
    scenario.system.domain.clear();
    for weight in weights {
        let mut entry = entry.clone();
        replace(&mut entry.name, format!("weight-{weight}"));
        entry.count = None;
        replace(&mut entry.weight, *weight);
        scenario.system.domain.push(entry);
    }
    scenario.system.subject = None;
    timed(scenario, wanted, 3, None)
}

/// A computing victim, and two neighbours that do something.
pub(super) fn neighbours(wanted: Wanted, act: &str) -> Result<Scenario> {
    timed(opened("neighbours", wanted)?, wanted, 3, Some(act))
}

fn opened(name: &str, wanted: Wanted) -> Result<Scenario> {
    let mut scenario = Scenario::open(&paths::root(), name)?;
    scenario.system.seed = wanted.seed;
    Ok(scenario)
}

/// Fills in slices and times; neighbours also get what they do.
fn timed(mut scenario: Scenario, wanted: Wanted, guests: u32, act: Option<&str>) -> Result<Scenario> {
    let start_ms = START_MS + START_MS_A_GUEST * guests;
    let line = format!("start_ms={start_ms} stop_ms={}", start_ms + wanted.window_ms);
    for entry in scenario.system.domain.iter_mut().filter(|entry| entry.image.get_ref() == "compute") {
        entry.slice = Some(Spanned::new(0..0, Span { us: u64::from(wanted.slice_us) }));
        let act = act.filter(|_| entry.name.get_ref() == "neighbour");
        let act = act.map(|act| format!(" act={act}")).unwrap_or_default();
        replace(&mut entry.command_line, format!("{line}{act}"));
    }
    scenario.check(&compile::is_guest)?;
    if let Some(bytes) = host::memory_bytes() {
        scenario.check_host(bytes)?;
    }
    Ok(scenario)
}

/// Runs a machine until all its guests have said what they did; in the order of the scenario.
pub(super) fn run(scenario: &Scenario) -> Result<Vec<Computed>> {
    let mut plan = lower(scenario)?;
    // Domains are numbered in the order of their creation, from 0.
    let numbered = plan.config.domains.iter().enumerate();
    let peers: Vec<(String, String)> = numbered
        .filter_map(|(number, domain)| {
            let name = match domain.name.as_str() {
                "neighbour-1" => "neighbour-2",
                "neighbour-2" => "neighbour-1",
                _ => return None,
            };
            let address = domain.devices.iter().find_map(address)?;
            Some((name.to_owned(), format!(" peer={number} to={address}")))
        })
        .collect();
    for domain in &mut plan.config.domains {
        if let Some((_, words)) = peers.iter().find(|(name, _)| *name == domain.name) {
            domain.command_line.push_str(words);
        }
    }
    let computing = plan.config.domains.iter().filter(|domain| domain.image == "guests/compute");
    let names: Vec<String> = computing.map(|domain| domain.name.clone()).collect();
    let mut said: Vec<Option<Computed>> = vec![None; names.len()];
    let how = How::new(Clock::Counted { seed: scenario.system.seed });
    let mut machine = boot::boot(how, scenario, plan)?.machine;
    while said.iter().any(Option::is_none) {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(line) => see(&line, &names, &mut said)
                .with_context(|| format!("the log is {}", machine.log().display()))?,
            Next::Timeout => {
                bail!("silent for {} s; the log is {}", PATIENCE.as_secs(), machine.log().display())
            }
            Next::End if said.iter().all(Option::is_some) => break,
            Next::End => return Err(machine.death()),
        }
    }
    Ok(said.into_iter().flatten().collect())
}

/// A network device's address.
const fn address(device: &Device) -> Option<Ipv4Addr> {
    match device {
        Device::NetFront { ipv4: [a, b, c, d], .. } => Some(Ipv4Addr::new(*a, *b, *c, *d)),
        _ => None,
    }
}

/// Takes a line in.
fn see(line: &Line, names: &[String], said: &mut [Option<Computed>]) -> Result<()> {
    if let Line::Record { kind, body } = line
        && kind == "domain"
        && (body["state"] == "failed" || (body["state"] == "dead" && body["reason"] != "poweroff"))
    {
        bail!("a domain ended: {body}");
    }
    let Some((domain, kind, body)) = line.guest_record() else { return Ok(()) };
    if kind != "computed" {
        return Ok(());
    }
    let computed: Computed = serde_json::from_value(body).with_context(|| format!("{domain}: @computed"))?;
    ensure!(!computed.late, "{domain} started too late to compute with the others");
    if let Some(place) = names.iter().position(|name| name == domain).and_then(|index| said.get_mut(index)) {
        *place = Some(computed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_say_is_kept_by_name_and_a_late_one_spoils_it() {
        let names = ["compute-1".to_owned(), "compute-2".to_owned()];
        let mut said = vec![None, None];
        let line = |name: &str, late: bool| {
            Line::parse(&format!(
                "{name}| @computed {{\"act\":\"compute\",\"units\":7,\"turns\":2,\"longest_wait_us\":9,\"late\":{late}}}"
            ))
        };
        see(&line("compute-2", false), &names, &mut said).unwrap();
        assert!(said[0].is_none() && said[1].as_ref().is_some_and(|one| one.units == 7));
        assert!(see(&line("compute-1", true), &names, &mut said).is_err());
        let dead = Line::parse("@domain {\"id\":1,\"state\":\"dead\",\"reason\":\"crash\"}");
        assert!(see(&dead, &names, &mut said).is_err());
    }
}
