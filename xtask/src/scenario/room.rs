//! Whether the domains of a scenario fit into its machine, with what those of one image have in common.
//! It exists because that can be said only when the images are there, and must be said before a machine starts.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use hypervisor_core::builder::shared_pages;
use hypervisor_core::config;
use hypervisor_core::reserve::Reserve;

use super::{Plan, Refusal, Scenario};

const PAGE: u64 = hypercall_abi::PAGE_SIZE as u64;
const MIB: u64 = 1 << 20;
/// Memory below this is the firmware's or what it left there.
const LOW: u64 = MIB;
/// What QEMU's firmware keeps at the end of memory, with a little more.
const FIRMWARE: u64 = 256 << 10;
/// QEMU's machine has memory of this and more in two parts, with a hole between them.
const HOLE_FROM: u64 = 0xb000_0000;
const HOLE: u64 = 2 << 30;

/// What a machine has for domains.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes beside the hypervisor, the images and the configuration.
    left: u64,
    /// Bytes that domains have in common, by image.
    shared: HashMap<String, u64>,
}

impl Room {
    /// Of a machine of `memory` bytes with this hypervisor and these files in the boot archive.
    ///
    /// # Errors
    /// When the hypervisor is no ELF file.
    pub(crate) fn new(memory: u64, kernel: &[u8], members: &[(String, Vec<u8>)]) -> Result<Self> {
        let elf =
            ElfBytes::<LittleEndian>::minimal_parse(kernel).context("reading the hypervisor's image")?;
        let loaded = elf.segments().into_iter().flatten().filter(|header| header.p_type == PT_LOAD);
        let kernel = loaded.map(|header| header.p_memsz.next_multiple_of(PAGE)).sum::<u64>();
        // Each file has a header, its name and padding.
        let archive =
            members.iter().map(|(name, bytes)| (name.len() + bytes.len() + 128) as u64).sum::<u64>();
        let ram = memory.saturating_sub(LOW + FIRMWARE + kernel + archive);
        let end = if memory >= HOLE_FROM { memory + HOLE } else { memory };
        let shared = members.iter().map(|(name, bytes)| (name.clone(), shared_pages(bytes) * PAGE));
        Ok(Self { left: ram.saturating_sub(Reserve::of(end, ram).sum()), shared: shared.collect() })
    }

    /// Checks that all domains fit.
    ///
    /// # Errors
    /// The first entry of which not all domains do.
    pub(crate) fn check(&self, scenario: &Scenario, plan: &Plan) -> Result<(), Refusal> {
        let mut needed = 0_u64;
        let mut met = HashSet::new();
        let mut domains = plan.config.domains.iter();
        for entry in &scenario.system.domain {
            for domain in domains.by_ref().take(entry.domains() as usize) {
                needed = needed.saturating_add(self.bytes(domain, &mut met));
            }
            if needed > self.left {
                return Err(super::check::too_much(scenario, entry, needed, self.left));
            }
        }
        Ok(())
    }

    /// What one domain more takes beside those of the images and rings that were met.
    fn bytes<'a>(&self, domain: &'a config::Domain, met: &mut HashSet<(&'a str, u8)>) -> u64 {
        // A device is told addresses, so its domain has one piece of memory for itself.
        let alone = domain.devices.iter().any(|device| matches!(device, config::Device::Pci { .. }));
        if alone || met.insert((&domain.image, domain.ring)) {
            return domain.memory_bytes;
        }
        domain.memory_bytes.saturating_sub(self.shared.get(&domain.image).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::lower;

    const SHARED: u64 = 200 << 10;

    /// The room that so many guests of 1 MiB, and all else of the scenario, need at the least.
    fn least(guests: u32, shared: u64) -> u64 {
        let mut scenario = Scenario::open(&crate::paths::root(), "inside").unwrap();
        for entry in scenario.system.domain.iter_mut().filter(|entry| entry.image.get_ref() == "web") {
            entry.count = Some(toml::Spanned::new(entry.name.span(), guests));
        }
        let plan = lower(&scenario).unwrap();
        let fits = |left: u64| {
            let room = Room { left, shared: HashMap::from([("guests/web".to_owned(), shared)]) };
            room.check(&scenario, &plan)
        };
        let (mut no, mut yes) = (0, 1 << 40);
        while yes - no > 1 {
            let middle = u64::midpoint(no, yes);
            *if fits(middle).is_ok() { &mut yes } else { &mut no } = middle;
        }
        let message = fits(no).unwrap_err().to_string();
        assert!(message.contains("more memory than there is"), "{message}");
        yes
    }

    #[test]
    fn what_domains_of_one_image_share_is_counted_once() {
        let own = |guests, shared| least(guests, shared) - least(1, shared);
        assert_eq!(least(1, SHARED), least(1, 0), "the first holds it for the others");
        assert_eq!(own(100, SHARED), 99 * ((1 << 20) - SHARED));
        assert_eq!(own(100, 0), 99 << 20);
    }

    #[test]
    fn the_hypervisor_and_the_archive_are_not_for_domains() {
        let kernel = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let room = |memory, members: &[(String, Vec<u8>)]| Room::new(memory, &kernel, members).unwrap().left;
        let without = room(1 << 30, &[]);
        assert!(without < (1 << 30) - (40 << 20), "{without}: the heap alone takes a thirty-second");
        let with = room(1 << 30, &[("guests/web".to_owned(), vec![0; 8 << 20])]);
        assert!(without - with > 7 << 20, "{without}, {with}");
        assert_eq!(room(4 << 20, &[]), 0);
        assert!(Room::new(1 << 30, b"no image", &[]).is_err());
    }
}
