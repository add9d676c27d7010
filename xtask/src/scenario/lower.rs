//! From a scenario to the domains that the hypervisor builds: names, addresses, bytes.
//! It exists so that the hypervisor reads plain facts and decides nothing about defaults.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::disks::{self, Drive};
use super::file::System;
use super::{Delivery, Entry, OnCrash, Scenario};
use hypervisor_core::config;

/// Domains that the addressing scheme has room for.
pub(super) const MAX_GUESTS: u64 = 250 * 250;
/// Length of the network's prefix.
const PREFIX: u8 = 16;

/// A guest with a network device, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Name of its domain.
    pub(crate) name: String,
    /// Its address inside QEMU.
    pub(crate) address: Ipv4Addr,
    /// Port of its server.
    pub(crate) port: u16,
}

/// All that a run needs to know of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// For the boot archive.
    pub(crate) config: config::System,
    /// Names of the guest crates, and paths of the files, that the archive must hold.
    pub(crate) images: Vec<String>,
    /// The subject's domains that have a network device.
    pub(crate) guests: Vec<Guest>,
    /// How many domains the subject has.
    pub(crate) subjects: usize,
    /// First two bytes of the network.
    pub(crate) network: [u8; 2],
    /// Drives of the machine.
    pub(crate) drives: Vec<Drive>,
    /// Socket of QEMU's monitor, if it is to have one.
    pub(crate) monitor: Option<std::path::PathBuf>,
}

/// Turns a checked scenario into a plan.
pub(crate) fn lower(scenario: &Scenario) -> anyhow::Result<Plan> {
    let system = &scenario.system;
    let network = network(system).map_err(anyhow::Error::msg)?;
    let subject = system.subject.as_ref().map(|name| name.get_ref().clone());
    let mut taken: HashSet<[u8; 6]> = HashSet::new();
    for text in system.domain.iter().flat_map(|entry| &entry.net).filter_map(|device| device.mac.as_ref()) {
        taken.insert(parse_mac(text.get_ref()).map_err(anyhow::Error::msg)?);
    }
    let mut plan = Plan {
        config: config::System {
            name: scenario.name.clone(),
            slice_us: micros(system.slice.get_ref()),
            seed: system.seed,
            trace: system.trace.on,
            trace_settings: system.trace.settings(),
            domains: Vec::new(),
        },
        images: Vec::new(),
        guests: Vec::new(),
        subjects: 0,
        network,
        drives: disks::drives(scenario),
        monitor: None,
    };
    let mut next = 0_u16;
    for entry in &system.domain {
        if !plan.images.contains(entry.image.get_ref()) {
            plan.images.push(entry.image.get_ref().clone());
        }
        let is_subject = subject.as_deref() == Some(entry.name.get_ref());
        for index in 1..=entry.domains() {
            let name = match entry.count {
                Some(_) => format!("{}-{index}", entry.name.get_ref()),
                None => entry.name.get_ref().clone(),
            };
            let mut domain = alone(entry, name.clone());
            for device in &entry.net {
                let ipv4 = address(network, next);
                let mac = match &device.mac {
                    Some(text) => parse_mac(text.get_ref()).map_err(anyhow::Error::msg)?,
                    None => free_mac(next, &mut taken),
                };
                next += 1;
                domain.devices.push(config::Device::NetFront {
                    backend: device.backend.get_ref().clone(),
                    mac,
                    ipv4,
                    prefix: PREFIX,
                    gateway: [network[0], network[1], 0, 2],
                    suppress: device.suppress,
                });
                if is_subject {
                    let (address, port) = (Ipv4Addr::from(ipv4), entry.server_port());
                    plan.guests.push(Guest { name: name.clone(), address, port });
                }
            }
            domain.devices.extend(disks::fronts(&plan.drives, &entry.disk));
            domain.devices.extend(disks::owned(&plan.drives, entry.name.get_ref()));
            plan.subjects += usize::from(is_subject);
            plan.config.domains.push(domain);
        }
    }
    Ok(plan)
}

fn alone(entry: &Entry, name: String) -> config::Domain {
    let pci = entry.pci.iter().filter_map(|text| parse_pci(text.get_ref()).ok());
    // A guest learns its own name, as all else, from its command line.
    let command_line = format!("name={name} {}", entry.command_line.get_ref()).trim_end().to_owned();
    config::Domain {
        name,
        image: format!("guests/{}", entry.image.get_ref()),
        memory_bytes: entry.memory.get_ref().0,
        weight: *entry.weight.get_ref(),
        slice_us: entry.slice.as_ref().map(|slice| micros(slice.get_ref())),
        ring: *entry.ring.get_ref(),
        command_line,
        delivery: config::Delivery {
            policy: match entry.delivery {
                Delivery::Synchronous => config::Policy::Synchronous,
                Delivery::Batched => config::Policy::Batched,
                Delivery::Adaptive => config::Policy::Adaptive,
            },
            window_events: entry.window_events,
            window_us: entry.window.as_ref().map_or(0, |window| micros(window.get_ref())),
        },
        on_crash: match entry.on_crash {
            OnCrash::Destroy => config::OnCrash::Destroy,
            OnCrash::Restart => config::OnCrash::Restart,
            OnCrash::Poweroff => config::OnCrash::Poweroff,
        },
        control: entry.control,
        devices: pci
            .map(|(vendor, device)| config::Device::Pci { vendor, device, slot: None, disk: None })
            .collect(),
    }
}

fn micros(span: &super::Span) -> u32 {
    u32::try_from(span.us).unwrap_or(u32::MAX)
}

/// The network's first two bytes.
pub(super) fn network(system: &System) -> Result<[u8; 2], String> {
    let text = system.network.get_ref();
    let bytes: Vec<u8> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    match bytes[..] {
        [first, second] if first == 10 || (first, second) == (192, 168) => Ok([first, second]),
        _ => Err(format!("{text:?} is not the first half of a private network, like \"10.16\"")),
    }
}

/// Address of the `index`th network device; never ends in 0 or 255, never the gateway's.
fn address(network: [u8; 2], index: u16) -> [u8; 4] {
    let (high, low) = (index / 250 + 1, index % 250 + 1);
    [network[0], network[1], high.to_le_bytes()[0], low.to_le_bytes()[0]]
}

fn free_mac(index: u16, taken: &mut HashSet<[u8; 6]>) -> [u8; 6] {
    let mut number = index;
    loop {
        let [high, low] = number.to_be_bytes();
        let mac = [0x02, 0xde, 0, 0, high, low];
        if taken.insert(mac) {
            return mac;
        }
        number = number.wrapping_add(1);
    }
}

/// `02:de:00:00:00:01` as bytes.
pub(super) fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("{text:?} is not a unicast hardware address like \"02:de:00:00:00:01\"");
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
        .collect();
    let mac: [u8; 6] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
    if mac[0] & 1 == 1 { Err(wrong()) } else { Ok(mac) }
}

/// A hardware address as text.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// `1af4:1041` as vendor and device.
pub(super) fn parse_pci(text: &str) -> Result<(u16, u16), String> {
    let hex = |part: &str| (part.len() == 4).then(|| u16::from_str_radix(part, 16).ok()).flatten();
    text.split_once(':')
        .and_then(|(vendor, device)| hex(vendor).zip(hex(device)))
        .ok_or_else(|| format!("{text:?} is not a PCI device like \"1af4:1041\" (vendor:device)"))
}
