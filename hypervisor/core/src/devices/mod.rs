//! Devices: which domain has which, what their directories say, and how their interrupts arrive.
//! A front end and a back end find each other here rather than through a store that grows with every domain.

mod directory;
mod links;
mod physical;

pub use directory::{Directory, devices_op};
pub use links::Link;
pub use physical::{DeviceRequest, bind_pirq, bindable_pirq, pci_config, physdev_op, unbind_pirq};

pub(crate) use directory::write_first;
pub(crate) use links::{connect_all, disconnect_all, plan, serves, suppressed_by, suppressed_toward};
pub(crate) use physical::{assign, interrupt, release};

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::machine::{Machine, PciAddress};
use crate::pci::Function;
use physical::{Assigned, Pirq};

/// All devices.
#[derive(Debug, Default)]
pub struct Devices {
    /// Each split device of the configuration.
    pub(crate) links: Vec<Link>,
    /// Which of them a domain is at either end of, by its name: no creation looks at all of them.
    by_name: BTreeMap<String, Vec<u32>>,
    functions: Vec<Assigned>,
    pirqs: Vec<Option<Pirq>>,
    requests: Vec<DeviceRequest>,
}

impl Devices {
    /// Takes in the links of a configuration.
    pub(crate) fn set_links(&mut self, links: Vec<Link>) {
        self.by_name.clear();
        for (link, index) in links.iter().zip(0..) {
            self.by_name.entry(link.front_name.clone()).or_default().push(index);
            if link.back_name != link.front_name {
                self.by_name.entry(link.back_name.clone()).or_default().push(index);
            }
        }
        self.links = links;
    }

    /// The links that a domain of this name is at either end of, in rising order.
    pub(crate) fn links_of(&self, name: &str) -> Vec<u32> {
        self.by_name.get(name).cloned().unwrap_or_default()
    }

    /// Which of a domain's links are those of its own devices. They stand together, as in the configuration.
    pub(crate) fn own_of(&self, links: &[u32], name: &str) -> Range<u32> {
        let of_front = |index: &&u32| {
            let link = usize::try_from(**index).ok().and_then(|index| self.links.get(index));
            link.is_some_and(|link| link.front_name == name)
        };
        let mut own = links.iter().filter(of_front);
        let Some(first) = own.next() else { return 0..0 };
        *first..own.next_back().unwrap_or(first).saturating_add(1)
    }

    /// Takes a PCI function into the list of those that can be assigned. Returns what is there.
    pub fn add_function<M: Machine>(&mut self, m: &mut M, address: PciAddress) -> Option<Function> {
        let function = Function::probe(m, address)?;
        self.functions.push(Assigned::new(function));
        Some(function)
    }

    /// What the machine has to do for [`crate::effects::Todo::DEVICES`].
    pub fn take_requests(&mut self) -> Vec<DeviceRequest> {
        core::mem::take(&mut self.requests)
    }
}
