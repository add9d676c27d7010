//! Building of the final page tables.
//! Frames for tables come from a pool that is set aside at boot; running out of it is a hypervisor's bug.

use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;

use super::direct;

const PAGE: u64 = 4096;
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

bitflags! {
    /// What a mapping allows; readable by the hypervisor is a matter of course.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Flags: u64 {
        /// May be written.
        const WRITE = WRITABLE;
        /// May be read by guests.
        const USER = USER;
        /// Bypasses the caches: registers of devices.
        const UNCACHED = 1 << 4 | 1 << 3;
        /// May not be executed.
        const NO_EXECUTE = 1 << 63;
    }
}

/// An address space under construction.
#[derive(Debug)]
pub(crate) struct Tables {
    root: u64,
    next: u64,
    end: u64,
    /// Whether the processor has 1 GiB pages.
    huge_pages: bool,
}

impl Tables {
    /// An empty address space whose tables come from `pool..pool + bytes`, memory of the hypervisor's own below 4 GiB.
    pub(crate) fn new(pool: u64, bytes: u64, huge_pages: bool) -> Self {
        let mut tables = Self { root: 0, next: pool, end: pool + bytes, huge_pages };
        tables.root = tables.frame();
        tables
    }

    /// Machine address of the top-level table.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// An entry of the top-level table, to be copied into every domain's.
    pub(crate) fn root_entry(&self, slot: usize) -> u64 {
        Self::entry_of(self.root, slot)
    }

    /// An entry of another top-level table.
    pub(crate) fn entry_of(root: u64, slot: usize) -> u64 {
        entry(root, slot as u64).load(Relaxed)
    }

    /// Maps `bytes` at `address` to machine memory at `target`, in the largest pages that fit.
    pub(crate) fn map(&mut self, address: u64, target: u64, bytes: u64, flags: Flags) {
        self.map_under(self.root, address, target, bytes, flags);
    }

    /// The same under another top-level table.
    pub(crate) fn map_under(&mut self, root: u64, address: u64, target: u64, bytes: u64, flags: Flags) {
        let mut done = 0;
        while done < bytes {
            let (from, to, left) = (address + done, target + done, bytes - done);
            let fits = |size: u64| (from | to).is_multiple_of(size) && left >= size;
            let level = match () {
                () if self.huge_pages && fits(1 << 30) => 3,
                () if fits(1 << 21) => 2,
                () => 1,
            };
            self.set(root, from, to, level, flags);
            done += 1 << (12 + 9 * (level - 1));
        }
    }

    fn set(&mut self, root: u64, address: u64, target: u64, level: u32, flags: Flags) {
        let mut table = root;
        for upper in ((level + 1)..=4).rev() {
            let slot = entry(table, index(address, upper));
            let value = slot.load(Relaxed);
            table = if value & PRESENT == 0 { self.frame() } else { value & ADDRESS };
            assert!(value & (PRESENT | LARGE) != PRESENT | LARGE, "{address:#x} is mapped already");
            // Upper levels allow everything; the last level decides.
            slot.store(value | table | PRESENT | WRITABLE | USER & flags.bits(), Relaxed);
        }
        let large = if level > 1 { LARGE } else { 0 };
        entry(table, index(address, level)).store(target | flags.bits() | large | PRESENT, Relaxed);
    }

    /// An empty table.
    pub(crate) fn frame(&mut self) -> u64 {
        let frame = self.next;
        assert!(frame < self.end, "the pool for page tables is empty");
        self.next += PAGE;
        for slot in 0..512 {
            entry(frame, slot).store(0, Relaxed);
        }
        frame
    }
}

/// Index of an address in the table of a level.
const fn index(address: u64, level: u32) -> u64 {
    address >> (12 + 9 * (level - 1)) & 511
}

/// An entry of a table in the pool.
fn entry(table: u64, index: u64) -> &'static core::sync::atomic::AtomicU64 {
    // SAFETY: tables are whole frames of the pool, below 4 GiB, which the direct map covers from the start, and only
    // entries like this one refer to them.
    unsafe { direct::word(table + 8 * index) }
}
