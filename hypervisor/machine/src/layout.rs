//! What lies where in the hypervisor's slots of every address space.
//! All addresses that the machine invents are here, so that a glance shows that none overlap.
//!
//! The first slot is the machine-to-physical table's, which the ABI fixes. All else begins in the next one, close together: after each
//! change of the domain the processor walks the tables anew, and what shares them is found by one walk.

use hypercall_abi::layout::{HYPERVISOR_END, HYPERVISOR_SLOT_FIRST, HYPERVISOR_START};

const GIB: u64 = 1 << 30;
/// Bytes that one top-level slot spans.
const SLOT_BYTES: u64 = 1 << 39;
/// GiB of [`IMAGE_SLOT`] before the direct map: the image and what is mapped behind it.
const DIRECT_OFFSET: u64 = 64;

/// The image, per-CPU memory and the descriptor table's window, as the linker script says; from the window on, registers of
/// devices; and the direct map's first part.
pub(crate) const IMAGE_SLOT: usize = HYPERVISOR_SLOT_FIRST + 1;
/// Where in that slot's table, which has an entry a GiB, the direct map begins.
pub(crate) const DIRECT_ENTRY: usize = DIRECT_OFFSET as usize;

/// Image addresses minus load addresses.
pub(crate) const IMAGE_BASE: u64 = HYPERVISOR_START + SLOT_BYTES;
/// Direct-map addresses minus machine addresses: all of memory from machine address 0.
pub(crate) const DIRECT_BASE: u64 = IMAGE_BASE + DIRECT_OFFSET * GIB;
/// Past the direct map, however much memory there is.
pub(crate) const DIRECT_END: u64 = HYPERVISOR_END;
