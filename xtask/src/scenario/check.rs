//! What must hold in a scenario beyond its form: names, images, addresses, memory.
//! It exists so that a run that cannot work is refused before QEMU starts.

use hypercall_abi::grant_table::FRONTS_MAX;
use hypervisor_core::trace::choice::Choice;
use std::collections::HashMap;

use hypervisor_core::config::{SLICE_US_MAX, SLICE_US_MIN, WEIGHT_MAX};
use hypervisor_core::reserve::Reserve;
use hypervisor_core::ring::Ring;

use super::lower::{MAX_GUESTS, mac_text, parse_mac};
use super::{Entry, Refusal, Scenario};

/// What a domain has for itself whatever it shares: the list of its frames, start information, four page tables, a stack, and
/// two pages that it shares with the hypervisor.
const OWN_LEAST: u64 = 9 * PAGE;
/// The smallest domain.
const SMALLEST_BYTES: u64 = 1 << 20;
const PAGE: u64 = hypercall_abi::PAGE_SIZE as u64;

pub(super) fn check(scenario: &Scenario, images: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
    let system = &scenario.system;
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut macs: HashMap<[u8; 6], String> = HashMap::new();
    let mut needed = 0_u64;
    let mut guests = 0_u64;

    super::lower::network(system).map_err(|message| scenario.refuse(system.network.span(), message))?;
    in_range(scenario, &system.slice, "slice")?;
    for (span, setting) in system.trace.spanned() {
        let words: Vec<&str> = setting.split_whitespace().collect();
        Choice::default().set(&words).map_err(|why| scenario.refuse(span, why))?;
    }
    if system.domain.is_empty() {
        return Err(Refusal::whole(&scenario.path, "there is no [[domain]]"));
    }
    for entry in &system.domain {
        entry_alone(scenario, entry, images)?;
        if names.insert(entry.name.get_ref().clone(), 1).is_some() {
            return Err(scenario
                .refuse(entry.name.span(), format!("two domains are named {:?}", entry.name.get_ref())));
        }
        for device in &entry.net {
            backend(scenario, entry, device.backend.get_ref(), device.backend.span())?;
            if let Some(mac) = &device.mac {
                fixed_mac(scenario, entry, mac, &mut macs)?;
            }
        }
        if let Some(one_too_many) = entry.fronts().nth(FRONTS_MAX as usize) {
            let message = format!(
                "more than {FRONTS_MAX} front ends (net and disk) in one domain: no grant references are left for their pages"
            );
            return Err(scenario.refuse(one_too_many.span(), message));
        }
        guests += u64::from(entry.domains());
        // What domains of one image have in common is known when the images are there, to [`super::room`].
        let bytes = entry.memory.get_ref().0;
        let others = if entry.pci.is_empty() { OWN_LEAST } else { bytes };
        let others = others.saturating_mul(u64::from(entry.domains()).saturating_sub(1));
        needed = needed.saturating_add(bytes).saturating_add(others);
        let memory = system.memory.get_ref().0;
        let have = memory.saturating_sub(Reserve::of(memory, memory).sum());
        if needed > have {
            return Err(too_much(scenario, entry, needed, have));
        }
    }
    if guests > MAX_GUESTS {
        return Err(Refusal::whole(
            &scenario.path,
            format!("{guests} domains; at most {MAX_GUESTS} have addresses"),
        ));
    }
    if let Some(subject) = &system.subject
        && !names.contains_key(subject.get_ref())
    {
        return Err(scenario.refuse(subject.span(), format!("no domain is named {:?}", subject.get_ref())));
    }
    super::disks::check(scenario)
}

/// That the domains up to an entry need more than is left for them; the machine is to blame if that is enough for none.
pub(super) fn too_much(scenario: &Scenario, entry: &Entry, needed: u64, left: u64) -> Refusal {
    let memory = if left < SMALLEST_BYTES { &scenario.system.memory } else { &entry.memory };
    let message = format!(
        "more memory than there is: the domains up to {:?} need {}M, and of the machine's {} {} left beside the \
         hypervisor (memory = ..., or --memory)",
        entry.name.get_ref(),
        needed.div_ceil(1 << 20),
        scenario.system.memory.get_ref(),
        if left >> 20 == 0 { "nothing is".to_owned() } else { format!("some {}M are", left >> 20) },
    );
    scenario.refuse(memory.span(), message)
}

fn entry_alone(scenario: &Scenario, entry: &Entry, images: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
    let name = entry.name.get_ref();
    let sound = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || name.len() > 24 || !name.chars().all(sound) {
        let message = "a name is 1 to 24 small letters, digits and hyphens";
        return Err(scenario.refuse(entry.name.span(), message));
    }
    if !images(entry.image.get_ref()) {
        let message = format!(
            "no image {:?}: there is no such guest in images/guests/, and no such file",
            entry.image.get_ref()
        );
        return Err(scenario.refuse(entry.image.span(), message));
    }
    if let Some(count) = &entry.count
        && *count.get_ref() == 0
    {
        return Err(scenario.refuse(count.span(), "a count of 0 makes no domain; remove the entry instead"));
    }
    let memory = entry.memory.get_ref().0;
    if memory < SMALLEST_BYTES || !memory.is_multiple_of(PAGE) {
        return Err(scenario.refuse(entry.memory.span(), "a domain has at least 1M, in whole pages of 4K"));
    }
    if !(1..=WEIGHT_MAX).contains(entry.weight.get_ref()) {
        return Err(scenario.refuse(entry.weight.span(), format!("a weight is 1 to {WEIGHT_MAX}")));
    }
    if Ring::from_number(*entry.ring.get_ref()).is_none() {
        return Err(scenario.refuse(entry.ring.span(), "a guest's kernel runs in ring 1 or 3"));
    }
    if let Some(slice) = &entry.slice {
        in_range(scenario, slice, "slice")?;
    }
    if let Some(window) = &entry.window
        && window.get_ref().us > hypercall_abi::extension::WINDOW_NS_MAX / 1000
    {
        return Err(scenario.refuse(window.span(), "a window is at most 1s"));
    }
    let room = hypercall_abi::start_info::StartInfo::zeroed().cmd_line.len() - 64;
    if entry.command_line.get_ref().len() > room {
        return Err(
            scenario.refuse(entry.command_line.span(), format!("a command line has at most {room} bytes"))
        );
    }
    if let Some(port) = &entry.port
        && *port.get_ref() == 0
    {
        return Err(scenario.refuse(port.span(), "a port is 1 to 65535"));
    }
    for device in &entry.pci {
        super::lower::parse_pci(device.get_ref())
            .map_err(|message| scenario.refuse(device.span(), message))?;
    }
    Ok(())
}

fn in_range(scenario: &Scenario, slice: &toml::Spanned<super::Span>, what: &str) -> Result<(), Refusal> {
    if (u64::from(SLICE_US_MIN)..=u64::from(SLICE_US_MAX)).contains(&slice.get_ref().us) {
        return Ok(());
    }
    Err(scenario.refuse(slice.span(), format!("a {what} is 100us to 1s")))
}

pub(super) fn backend(
    scenario: &Scenario,
    entry: &Entry,
    name: &str,
    span: std::ops::Range<usize>,
) -> Result<(), Refusal> {
    let found = scenario.system.domain.iter().find(|other| other.name.get_ref() == name);
    let message = match found {
        None => format!("no domain is named {name:?}"),
        Some(other) if other.count.is_some() => format!("{name:?} has a count; a back end is one domain"),
        Some(other) if other.name.get_ref() == entry.name.get_ref() => {
            "a domain is not its own back end".to_owned()
        }
        Some(other) if needs(scenario, other, entry.name.get_ref()) => {
            format!("{name:?} has a back end that needs this domain first, so that neither would start")
        }
        Some(_) => return Ok(()),
    };
    Err(scenario.refuse(span, message))
}

/// Whether a domain starts only after the one of this name: back ends come first.
fn needs(scenario: &Scenario, entry: &Entry, name: &str) -> bool {
    let all = &scenario.system.domain;
    let mut seen: Vec<&str> = Vec::new();
    let mut next: Vec<&str> = entry.backends().collect();
    while let Some(one) = next.pop() {
        if one == name {
            return true;
        }
        if !seen.contains(&one) {
            seen.push(one);
            next.extend(all.iter().filter(|other| other.name.get_ref() == one).flat_map(Entry::backends));
        }
    }
    false
}

fn fixed_mac(
    scenario: &Scenario,
    entry: &Entry,
    text: &toml::Spanned<String>,
    macs: &mut HashMap<[u8; 6], String>,
) -> Result<(), Refusal> {
    let mac = parse_mac(text.get_ref()).map_err(|message| scenario.refuse(text.span(), message))?;
    if entry.domains() > 1 {
        return Err(scenario
            .refuse(text.span(), "two devices with one MAC: the entry has a count; leave the address out"));
    }
    if let Some(other) = macs.insert(mac, entry.name.get_ref().clone()) {
        let message = format!("two devices with one MAC: {} is {other:?}'s already", mac_text(mac));
        return Err(scenario.refuse(text.span(), message));
    }
    Ok(())
}
