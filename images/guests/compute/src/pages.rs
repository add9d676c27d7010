//! Page-table churn: as many entries changed in one call as are checked one by one, each with a flush after it.

use guest_kernel::hypercall::memory::{mmu_update, update_va_mapping};
use guest_kernel::memory::Page;
use guest_kernel::window::{self, Range};
use hypercall_abi::PAGE_SIZE;
use hypercall_abi::mmu::{MmuUpdate, flush};

/// Entries of one call.
const BATCH: usize = 128;

/// Two pages that take turns under a range of addresses.
pub(crate) struct Churn {
    _pages: [Page; 2],
    entries: [u64; 2],
    range: Range,
    updates: [MmuUpdate; BATCH],
    turn: usize,
}

impl Churn {
    /// Reserves the addresses.
    pub(crate) fn new() -> Self {
        let pages = [(); 2].map(|()| Page::new().expect("memory for a page"));
        let entries = pages.each_ref().map(|page| page.machine_frame().address() | window::DATA);
        let range = Range::new(BATCH as u64).expect("addresses that nobody uses");
        let mut updates = [MmuUpdate::zeroed(); BATCH];
        for (index, update) in updates.iter_mut().enumerate() {
            let address = range.address() + (index * PAGE_SIZE) as u64;
            update.ptr = window::entry_machine_address(address).expect("the range has its tables");
        }
        Self { _pages: pages, entries, range, updates, turn: 0 }
    }

    /// Changes all entries, then one of them again with a flush of everything.
    pub(crate) fn step(&mut self) {
        self.turn ^= 1;
        let entry = self.entries[self.turn];
        for update in &mut self.updates {
            update.val = entry;
        }
        // SAFETY: the entries are those of a range that nobody uses.
        unsafe { mmu_update(&mut self.updates) }.expect("pages of ours may be mapped");
        let other = self.entries[self.turn ^ 1];
        // SAFETY: as above.
        unsafe { update_va_mapping(self.range.address(), other, flush::TLB) }
            .expect("a page of ours may be mapped");
    }
}
