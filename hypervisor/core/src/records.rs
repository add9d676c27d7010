//! What the hypervisor keeps of domains, itemised, in bytes.
//! It exists because what a guest costs decides how many there can be, and a sum alone does not say what to mend.

use serde::Serialize;

use crate::domain::Domain;
use crate::{scheduler, timers};

/// Bytes of domains, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Records {
    /// Domains with their vCPUs, and with it the FPU's registers.
    domain: usize,
    /// Places in the table of domains.
    place: usize,
    /// Event ports that are in use, or were.
    ports: usize,
    /// Gates of software interrupts.
    gates: usize,
    /// What the scheduler keeps.
    scheduler: usize,
    /// What the timers keep.
    timers: usize,
    /// Mapped grants and frames of grant tables.
    grants: usize,
    /// Lists of memory.
    memory: usize,
    /// Directories of devices.
    directory: usize,
    /// Names.
    names: usize,
}

fn bytes<T>(list: &alloc::vec::Vec<T>) -> usize {
    list.capacity().saturating_mul(size_of::<T>())
}

impl Records {
    /// Those of a domain.
    pub(crate) fn of(domain: &Domain) -> Self {
        Self {
            domain: size_of::<Domain>(),
            place: size_of::<usize>(),
            ports: domain.events.heap_bytes(),
            gates: bytes(&domain.vcpu.traps.software),
            scheduler: scheduler::ENTITY_BYTES,
            timers: timers::BYTES_PER_DOMAIN,
            grants: domain.grants.heap_bytes(),
            memory: domain.address_space.heap_bytes(),
            directory: bytes(&domain.directory.entries).saturating_add(bytes(&domain.directory.links)),
            names: domain.name.len(),
        }
    }

    /// Each of them.
    const fn items(&mut self) -> [&mut usize; 10] {
        let Self { domain, place, ports, gates, scheduler, timers, grants, memory, directory, names } = self;
        [domain, place, ports, gates, scheduler, timers, grants, memory, directory, names]
    }

    /// Those of several domains.
    pub(crate) fn sum<'a>(domains: impl Iterator<Item = &'a Domain>) -> Self {
        domains.fold(Self::default(), |mut sum, domain| {
            for (sum, item) in sum.items().into_iter().zip(Self::of(domain).items()) {
                *sum = sum.saturating_add(*item);
            }
            sum
        })
    }

    /// All items together.
    #[cfg(test)]
    pub(crate) fn total(mut self) -> usize {
        self.items().into_iter().fold(0, |sum, item| sum.saturating_add(*item))
    }
}
