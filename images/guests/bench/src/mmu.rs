//! Changes of page-table entries: frames swapped under addresses that nobody uses.

use guest_kernel::hypercall::memory::{mmu_update, update_va_mapping};
use guest_kernel::memory::Page;
use guest_kernel::window::{self, Range};
use hypercall_abi::mmu::{MmuUpdate, flush, pte};
use hypercall_abi::{Errno, PAGE_SIZE};

use crate::measure::{N, failed, measure};

const BATCH: usize = 32;

pub(crate) fn run() {
    if let Err(error) = try_run() {
        failed("mmu_update_1", format_args!("{error:?}"));
    }
}

fn try_run() -> Result<(), Errno> {
    let pages = [Page::new().ok_or(Errno::NoMem)?, Page::new().ok_or(Errno::NoMem)?];
    let entries = pages.each_ref().map(|page| page.machine_frame().address() | window::DATA);
    let range = Range::new(BATCH as u64)?;
    let mut updates = [MmuUpdate::zeroed(); BATCH];
    for (index, update) in updates.iter_mut().enumerate() {
        let address = range.address() + (index * PAGE_SIZE) as u64;
        update.ptr = window::entry_machine_address(address).ok_or(Errno::Fault)?;
    }
    // Refusals would be measured as well as changes, so the first of each is looked at.
    // SAFETY: these addresses are reserved by the range and nobody uses them.
    unsafe { mmu_update(&mut [MmuUpdate { ptr: updates[0].ptr, val: entries[0] }]) }?;
    let mut swap = alternate(entries);
    measure("mmu_update_1", N, 1, || swap(&mut updates[..1]));
    measure("mmu_update_32", N / 10, BATCH as u64, || swap(&mut updates));
    let mut touch = alternate([entries[0], entries[0] & !pte::ACCESSED]);
    measure("mmu_update_accessed_1", N, 1, || touch(&mut updates[..1]));

    let address = range.address();
    let mut turn = 0_usize;
    // SAFETY: as above.
    unsafe { update_va_mapping(address, entries[1], flush::INVLPG) }?;
    measure("update_va_mapping", N, 1, || {
        turn ^= 1;
        // SAFETY: as above.
        let _ = unsafe { update_va_mapping(address, entries[turn], flush::INVLPG) };
    });
    for index in 0..BATCH as u64 {
        // SAFETY: as above.
        unsafe { range.unmap(index) }?;
    }
    Ok(())
}

/// Writes one of two values into entries, in turn.
fn alternate(values: [u64; 2]) -> impl FnMut(&mut [MmuUpdate]) {
    let mut turn = 0_usize;
    move |updates| {
        turn ^= 1;
        for update in updates.iter_mut() {
            update.val = values[turn];
        }
        // SAFETY: the entries are those of a range that nobody uses.
        let _ = unsafe { mmu_update(updates) };
    }
}
