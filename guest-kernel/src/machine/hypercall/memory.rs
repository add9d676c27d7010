//! Changes of page tables.

use hypercall_abi::mmu::{MmuUpdate, MmuextRequest};
use hypercall_abi::{DomId, Hypercall};

use super::raw::{call3, call4};
use super::{Result, address, done, number};

/// Changes page-table entries in order, and stops at the first refused one.
///
/// # Safety
/// No mapping that is in use may be taken away or made to alias memory that Rust owns.
///
/// # Errors
/// As the hypervisor says of the first refused entry.
pub unsafe fn mmu_update(updates: &mut [MmuUpdate]) -> Result {
    // SAFETY: the array is read; the caller answers for its entries.
    done(unsafe {
        call4::<{ number(Hypercall::MmuUpdate) }>(
            address(updates),
            updates.len() as u64,
            0,
            DomId::SELF.0.into(),
        )
    })
}

/// Changes the entry that maps `va`; `flags` as in [`hypercall_abi::mmu::flush`].
///
/// # Safety
/// As of [`mmu_update`].
///
/// # Errors
/// As the hypervisor says.
pub unsafe fn update_va_mapping(va: u64, entry: u64, flags: u64) -> Result {
    // SAFETY: no memory is read; the caller answers for the mapping.
    done(unsafe { call3::<{ number(Hypercall::UpdateVaMapping) }>(va, entry, flags) })
}

/// Pins tables, switches roots, flushes; in order, up to the first that is refused. None of these takes a mapping of
/// ours away but the switch to a root without it.
///
/// # Errors
/// As the hypervisor says of the first refused request.
pub(crate) fn mmuext(requests: &mut [MmuextRequest]) -> Result {
    // SAFETY: the array is read; every root that is made here has the kernel's mappings, or is for processes alone.
    done(unsafe {
        call4::<{ number(Hypercall::MmuextOp) }>(
            address(requests),
            requests.len() as u64,
            0,
            DomId::SELF.0.into(),
        )
    })
}
