//! The hypervisor's address space: final page tables and the direct map.
//! They are built once at boot and never change, so that every domain's root can share them.

pub(crate) mod direct;
pub(crate) mod registers;
pub(crate) mod space;
mod tables;

use tables::Tables;

pub(crate) use tables::Flags;
