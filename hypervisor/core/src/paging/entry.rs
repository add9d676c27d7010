//! What a page-table entry may say, whatever it refers to.
//! Forcing and stripping bits is kept apart from counting references, so that each can be read alone.

use hypercall_abi::mmu::pte;
use hypercall_abi::{Errno, Mfn, layout};

use crate::frames::Level;
use crate::memory::MachineAddress;

/// Cache attributes of a level 1 entry; bit 7 selects the upper half of the page attribute table there.
const CACHE: u64 = pte::WRITE_THROUGH | pte::CACHE_DISABLE | pte::LARGE;
/// Everything that an entry of level 1 may contain.
const ALLOWED: u64 = pte::PRESENT
    | pte::WRITABLE
    | pte::USER
    | CACHE
    | pte::ACCESSED
    | pte::DIRTY
    | pte::GLOBAL
    | pte::AVAILABLE
    | pte::ADDRESS
    | pte::NO_EXECUTE;

/// Bits whose change needs no new reference.
pub(super) const REFERENCE: u64 = pte::PRESENT | pte::WRITABLE | pte::ADDRESS;

/// Whether an entry maps anything.
pub(super) const fn is_present(entry: u64) -> bool {
    entry & pte::PRESENT != 0
}

/// The frame that an entry refers to.
pub(super) const fn frame(entry: u64) -> Mfn {
    Mfn::containing(entry & pte::ADDRESS)
}

/// The place of an entry in a table; `index` is below 512.
pub(super) const fn place(table: Mfn, index: u64) -> MachineAddress {
    MachineAddress(table.address() | (index << 3))
}

/// Whether an entry of this level at this place belongs to the hypervisor.
pub(super) fn is_hypervisors(level: Level, at: MachineAddress) -> bool {
    let index = usize::try_from((at.0 & 0xfff) >> 3).unwrap_or(0);
    level == Level::L4 && (layout::HYPERVISOR_SLOT_FIRST..=layout::HYPERVISOR_SLOT_LAST).contains(&index)
}

/// The entry as it will stand in the table. `is_ram` is asked only when the entry wants cache attributes:
/// those are for devices, and memory is always cached. `forced` is added.
///
/// # Errors
/// `Inval`: reserved bits, or a large page.
#[inline]
pub(super) fn adjust(
    level: Level,
    entry: u64,
    forced: u64,
    is_ram: impl FnOnce(Mfn) -> bool,
) -> Result<u64, Errno> {
    if entry & !ALLOWED != 0 {
        return Err(Errno::Inval);
    }
    if level == Level::L1 {
        let entry = (entry & !pte::GLOBAL) | forced;
        if entry & CACHE != 0 && is_ram(frame(entry)) {
            return Ok(entry & !CACHE);
        }
        return Ok(entry);
    }
    if entry & pte::LARGE != 0 {
        return Err(Errno::Inval);
    }
    Ok((entry & !(pte::GLOBAL | CACHE)) | forced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Ring;

    const P: u64 = pte::PRESENT;
    const FORCED: u64 = Ring::Three.forced();

    #[test]
    fn user_is_forced_and_global_is_stripped_at_every_level() {
        for level in [Level::L1, Level::L2, Level::L3, Level::L4] {
            let entry = adjust(level, 0x5000 | P | pte::GLOBAL, FORCED, |_| true).unwrap();
            assert_eq!(entry & (pte::USER | pte::GLOBAL), pte::USER, "{level:?}");
        }
    }

    #[test]
    fn a_kernel_in_ring_1_keeps_its_pages_to_itself_and_has_no_global_ones() {
        for level in [Level::L1, Level::L2, Level::L3, Level::L4] {
            for user in [0, pte::USER] {
                let wanted = 0x5000 | P | pte::GLOBAL | user;
                let entry = adjust(level, wanted, Ring::One.forced(), |_| true).unwrap();
                assert_eq!(entry & (pte::USER | pte::GLOBAL), user, "{level:?}");
            }
        }
    }

    #[test]
    fn large_pages_and_reserved_bits_are_refused() {
        for level in [Level::L2, Level::L3, Level::L4] {
            assert_eq!(adjust(level, 0x20_0000 | P | pte::LARGE, FORCED, |_| true), Err(Errno::Inval));
        }
        for bit in 52..63 {
            assert_eq!(adjust(Level::L1, P | (1 << bit), FORCED, |_| true), Err(Errno::Inval), "bit {bit}");
        }
    }

    #[test]
    fn memory_is_always_cached_and_devices_may_not_be() {
        let wanted = 0x5000 | P | pte::CACHE_DISABLE | pte::WRITE_THROUGH;
        assert_eq!(adjust(Level::L1, wanted, FORCED, |_| true).unwrap() & CACHE, 0);
        assert_eq!(adjust(Level::L1, wanted, FORCED, |_| false).unwrap() & CACHE, wanted & CACHE);
    }
}
