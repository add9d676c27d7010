//! Devices: which domain has which, what their directories say, and how their interrupts arrive.
//! A front end and a back end find each other here rather than through a store that grows with every domain.

mod directory;
mod links;
mod physical;

pub use directory::{Directory, devices_op};
pub use links::Link;
pub use physical::{DeviceRequest, bind_pirq, bindable_pirq, pci_config, physdev_op, unbind_pirq};

pub(crate) use directory::write_first;
pub(crate) use links::{connect_all, disconnect_all, plan, suppressed_toward};
pub(crate) use physical::{assign, interrupt, release};

use alloc::vec::Vec;

use crate::machine::{Machine, PciAddress};
use crate::pci::Function;
use physical::{Assigned, Pirq};

/// All devices.
#[derive(Debug, Default)]
pub struct Devices {
    /// Each split device of the configuration.
    pub(crate) links: Vec<Link>,
    functions: Vec<Assigned>,
    pirqs: Vec<Option<Pirq>>,
    requests: Vec<DeviceRequest>,
}

impl Devices {
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
