//! What lies where in the hypervisor's slots of every address space.
//! All addresses that the machine invents are here, so that a glance shows that none overlap.

use hypercall_abi::layout::{HYPERVISOR_SLOT_FIRST, HYPERVISOR_START};

/// Bytes that one top-level slot spans.
const SLOT_BYTES: u64 = 1 << 39;

/// The image, per-CPU memory and the descriptor table's window; the linker script says the same.
/// The first slot is the machine-to-physical table's, which the ABI fixes.
pub(crate) const IMAGE_SLOT: usize = HYPERVISOR_SLOT_FIRST + 1;
/// Registers of devices, uncached.
pub(crate) const DEVICE_SLOT: usize = HYPERVISOR_SLOT_FIRST + 2;
/// All of memory from machine address 0.
pub(crate) const DIRECT_SLOT: usize = HYPERVISOR_SLOT_FIRST + 6;

/// Image addresses minus load addresses.
pub(crate) const IMAGE_BASE: u64 = slot_start(IMAGE_SLOT);
/// Where device registers are mapped, upwards.
pub(crate) const DEVICE_BASE: u64 = slot_start(DEVICE_SLOT);
/// Direct-map addresses minus machine addresses.
pub(crate) const DIRECT_BASE: u64 = slot_start(DIRECT_SLOT);

/// First address of a hypervisor slot.
const fn slot_start(slot: usize) -> u64 {
    HYPERVISOR_START + (slot - HYPERVISOR_SLOT_FIRST) as u64 * SLOT_BYTES
}
