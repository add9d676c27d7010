//! PCI: configuration space, the functions on it, their message interrupts.
//! Devices belong to domains; the hypervisor looks what is there and programs the interrupts, which must not be forged.

mod config;
mod functions;
mod msix;

pub(crate) use config::Config;
pub(crate) use functions::scan;
pub(crate) use msix::MessageTable;
