//! From a cell of a sweep to a machine: the scenario with everything filled in, and whether it fits.
//! It exists apart so that a sweep that cannot work is refused before its first machine starts.

use std::net::Ipv4Addr;

use anyhow::Result;
use hypervisor_core::config::WEIGHT_MAX;
use toml::Spanned;

use super::images::Frozen;
use super::settings::{Cell, Settings};
use crate::BadInput;
use crate::scenario::{Delivery, Entry, Plan, Scenario, Size, lower};
use crate::{compile, host, paths};

/// The scenario of all measurements.
const SCENARIO: &str = "measure";
/// The network card by which the host reaches the guests.
const VIRTIO_NET: &str = "1af4:1041";
/// Virtual ms until the first guest answers, and for each guest more: much more than it takes, since time in which nobody
/// runs costs nothing.
const START_MS: u32 = 150;
const START_MS_A_GUEST: u32 = 6;

/// How a machine is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Its figures, with a round more under the trace.
    Plain,
    /// One round with a hypervisor that counts its own instructions.
    Accounted,
}

/// The scenario of a cell.
///
/// # Errors
/// When it does not hold, memory included.
pub(crate) fn scenario(settings: &Settings, cell: &Cell) -> Result<Scenario> {
    let mut scenario = Scenario::open(&paths::root(), SCENARIO)?;
    let (_, clients) = settings.connections(cell.guests);
    scenario.system.seed = settings.seed;
    if settings.host {
        scenario.system.domain.retain(|entry| entry.image.get_ref() != "client");
        scenario.system.page = format!("/page?size={}", settings.document);
        if let Some(driver) = scenario.system.domain.iter_mut().find(|entry| entry.name.get_ref() == "driver")
        {
            driver.pci = vec![Spanned::new(0..0, VIRTIO_NET.to_owned())];
        }
    }
    replace(&mut scenario.system.memory, Size(settings.memory));
    for entry in &mut scenario.system.domain {
        let count = match entry.name.get_ref().as_str() {
            "web" => Some(cell.guests),
            "client" => Some(clients),
            _ => None,
        };
        if let Some((place, count)) = entry.count.as_mut().zip(count) {
            replace(place, count);
        }
        if entry.name.get_ref() == "web" {
            entry.net.iter_mut().for_each(|device| device.suppress = cell.suppress == "on");
            // Guests that spin while a timer is pending would need a slice of each for each packet until all are up.
            let ticks = if settings.period_ms.is_some() { " ticks=7000" } else { "" };
            let line =
                format!("{} idle={} plain_from_ms={{start}}{ticks}", entry.command_line.get_ref(), cell.idle);
            replace(&mut entry.command_line, line);
        } else if settings.look_us > 0 {
            set_apart(entry);
        }
    }
    scenario.check(&compile::is_guest)?;
    if let Some(bytes) = host::memory_bytes() {
        scenario.check_host(bytes)?;
    }
    Ok(scenario)
}

/// Gives a domain that is not measured the processor whenever it wants it, as if it had one of its own.
fn set_apart(entry: &mut Entry) {
    replace(&mut entry.weight, WEIGHT_MAX);
    entry.delivery = Delivery::Synchronous;
}

/// Whether all cells fit. Before there are images it finds what cannot fit whatever domains have in common.
///
/// # Errors
/// Which does not, the largest number of guests of the sweep that does, and the largest that would.
pub(crate) fn fits(settings: &Settings, images: Option<&Frozen>) -> Result<()> {
    let cells = settings.cells();
    for (index, cell) in cells.iter().enumerate() {
        let Err(error) = fits_alone(settings, cell, images) else { continue };
        let fitting = cells.iter().take(index).map(|cell| cell.guests).max();
        let would = images.map(|_| most(settings, cell, images)).filter(|guests| *guests > 0);
        let advice = match (fitting, would) {
            (Some(guests), None) => format!("of this sweep, {guests} guests and fewer fit"),
            (Some(guests), Some(would)) => {
                format!("of this sweep, {guests} guests and fewer fit; {would} would")
            }
            (None, Some(would)) => format!("no point of this sweep fits; {would} guests would"),
            (None, None) => "no point of this sweep fits".to_owned(),
        };
        return Err(BadInput(format!("{} guests: {error}; {advice}", cell.guests)).into());
    }
    Ok(())
}

fn fits_alone(settings: &Settings, cell: &Cell, images: Option<&Frozen>) -> Result<()> {
    let scenario = scenario(settings, cell)?;
    if let Some(images) = images {
        let plan = plan(settings, cell, &scenario, View::Plain)?;
        images.room(&scenario, &plan)?.check(&scenario, &plan)?;
    }
    Ok(())
}

/// The largest number of guests with which a cell that does not fit would.
fn most(settings: &Settings, cell: &Cell, images: Option<&Frozen>) -> u32 {
    let (mut fits, mut fails) = (0, cell.guests);
    while fails - fits > 1 {
        let guests = fits.midpoint(fails);
        let held = fits_alone(settings, &Cell { guests, ..cell.clone() }, images).is_ok();
        *if held { &mut fits } else { &mut fails } = guests;
    }
    fits
}

/// The plan of a cell's scenario, the words in braces filled in.
pub(crate) fn plan(settings: &Settings, cell: &Cell, scenario: &Scenario, view: View) -> Result<Plan> {
    let mut plan = lower(scenario)?;
    let (connections, clients) = settings.connections(cell.guests);
    let targets = targets(&plan);
    let policies: Vec<String> = settings.policies.iter().map(ToString::to_string).collect();
    let rounds = if view == View::Plain { settings.rounds } else { 1 };
    let traced = if view == View::Plain { " trace" } else { "" };
    let rate = settings.rate.map(|rate| format!(" rate={rate}")).unwrap_or_default();
    let start_ms = START_MS + START_MS_A_GUEST * cell.guests;
    let apart = match settings.look_us {
        0 => String::new(),
        us => format!(" own=synchronous look_us={us}"),
    };
    let period = settings.period_ms.map(|ms| format!(" period_ms={ms}")).unwrap_or_default();
    let words = [
        ("{start}", start_ms.to_string()),
        ("{document}", settings.document.to_string()),
        ("{targets}", targets),
        (
            "{load}",
            format!(
                "clients={clients} connections={connections} visit={} size={} spread={} seed={}{rate}{period}{apart}",
                settings.visit, settings.document, settings.spread, settings.seed
            ),
        ),
        (
            "{schedule}",
            format!(
                "start_ms={start_ms} warm_ms={} settled_ms={} pause_ms={} rounds={rounds} policies={}{traced}",
                settings.warm_ms,
                settings.settled_ms,
                settings.pause_ms,
                policies.join(",")
            ),
        ),
    ];
    for domain in &mut plan.config.domains {
        for (word, value) in &words {
            domain.command_line = domain.command_line.replace(word, value);
        }
    }
    Ok(plan)
}

/// The addresses of all guests, as clients read them.
fn targets(plan: &Plan) -> String {
    let first = plan.guests.first().map_or(Ipv4Addr::UNSPECIFIED, |guest| guest.address);
    format!("{first}+{}", plan.guests.len())
}

/// Another value in the place of one that a scenario's text has.
pub(super) fn replace<T>(place: &mut Spanned<T>, value: T) {
    *place = Spanned::new(place.span(), value);
}
