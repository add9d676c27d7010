//! What lies where: the address-space split and the fixed selectors.
//! Both sides compute with these, and they are Xen's so that its guests fit.

/// First address that the hypervisor keeps for itself in every address space; the machine-to-physical table starts here.
pub const HYPERVISOR_START: u64 = 0xffff_8000_0000_0000;
/// First address past the hypervisor's.
pub const HYPERVISOR_END: u64 = 0xffff_8800_0000_0000;
/// First top-level page-table slot that is the hypervisor's.
pub const HYPERVISOR_SLOT_FIRST: usize = 256;
/// Last top-level page-table slot that is the hypervisor's.
pub const HYPERVISOR_SLOT_LAST: usize = 271;
/// The machine-to-physical table, one `u64` a frame, readable by guests.
pub const MACHINE_TO_PHYS: u64 = HYPERVISOR_START;
/// An entry of a machine-to-physical or physical-to-machine list that names no frame.
pub const INVALID_ENTRY: u64 = u64::MAX;

/// 64-bit code of a guest's kernel, and in ring 3 of its processes (`FLAT_RING3_CS64`).
pub const GUEST_CODE: u16 = 0xe033;
/// Data of a guest (`FLAT_RING3_SS64`).
pub const GUEST_DATA: u16 = 0xe02b;
/// 32-bit code of a guest's processes (`FLAT_RING3_CS32`).
pub const GUEST_CODE32: u16 = 0xe023;
/// Pages of a guest's descriptor table before the hypervisor's own descriptors (`FIRST_RESERVED_GDT_PAGE`).
pub const FIRST_RESERVED_GDT_PAGE: usize = 14;
/// First descriptor that is the hypervisor's.
pub const FIRST_RESERVED_GDT_ENTRY: usize = FIRST_RESERVED_GDT_PAGE * 512;

/// Whether the processor accepts this as an address: its upper bits repeat bit 47.
#[must_use]
pub const fn is_canonical(address: u64) -> bool {
    ((address as i64) << 16 >> 16) as u64 == address
}

/// Whether a guest may use this address for itself: canonical and outside the hypervisor's range.
#[must_use]
pub const fn is_guest(address: u64) -> bool {
    is_canonical(address) && !(address >= HYPERVISOR_START && address < HYPERVISOR_END)
}
