//! Addresses for frames that are not our own: the shared page, the grant table, what others granted us, devices.
//! They lie below the image, where nothing else is, and page tables for them are made as they are needed.
//!
//! The page just below the image stays unmapped, so that an overflow of the stack faults.

use alloc::vec::Vec;
use core::cell::RefCell;

use critical_section::Mutex;
use hypercall_abi::mmu::{MmuUpdate, flush, pte};
use hypercall_abi::{Errno, Mfn, PAGE_SHIFT, PAGE_SIZE};

use super::hypercall::{self, memory as calls};
use super::memory::{self, Page};
use crate::ranges::Ranges;

/// Where the shared page is mapped. A constant, so that the return path of upcalls can name it.
pub const SHARED_INFO: usize = 0x20_0000;
/// The window's first address after the shared page.
const START: u64 = SHARED_INFO as u64 + PAGE_SIZE as u64;
/// The first address past the window; one page is left between it and the image.
const END: u64 = memory::VIRT_BASE - PAGE_SIZE as u64;
/// A second window for those that need more, past any memory that a guest may have.
const FAR: core::ops::Range<u64> = 0x40_0000_0000..0x41_0000_0000;

/// Flags of an ordinary mapping of data. It is for the kernel alone; where the kernel is in ring 3 the hypervisor makes
/// it accessible there.
pub const DATA: u64 = pte::PRESENT | pte::WRITABLE | pte::ACCESSED | pte::DIRTY | pte::NO_EXECUTE;
/// Flags of a mapping that is only read.
pub const READ_ONLY: u64 = pte::PRESENT | pte::ACCESSED | pte::NO_EXECUTE;
/// Flags of a mapping of device registers.
pub const DEVICE: u64 = DATA | pte::CACHE_DISABLE | pte::WRITE_THROUGH;

const TABLE: u64 = pte::PRESENT | pte::WRITABLE | pte::USER | pte::ACCESSED | pte::DIRTY;

static FREE: Mutex<RefCell<Option<Ranges>>> = Mutex::new(RefCell::new(None));

/// Reserved addresses of the window, page-aligned; nothing is mapped there yet.
#[derive(Debug)]
pub struct Range {
    address: u64,
    pages: u64,
}

impl Range {
    /// Reserves addresses for `pages` pages, with the page tables that they need.
    ///
    /// # Errors
    /// [`Errno::NoMem`] when window or memory is used up, otherwise what the hypervisor says of the page tables.
    pub fn new(pages: u64) -> hypercall::Result<Self> {
        let bytes = pages << PAGE_SHIFT;
        let address = with_free(|free| free.take(bytes)).ok_or(Errno::NoMem)?;
        let range = Self { address, pages };
        let mut at = address;
        while at < address + bytes {
            ensure_table(at)?;
            at = (at | 0x1f_ffff) + 1;
        }
        Ok(range)
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// How many pages it has.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Maps a machine frame at page `index` of the range.
    ///
    /// # Errors
    /// [`Errno::Range`] outside the range; otherwise as the hypervisor says: the frame must be one that we may map.
    pub fn map(&self, index: u64, mfn: Mfn, flags: u64) -> hypercall::Result {
        if index >= self.pages {
            return Err(Errno::Range);
        }
        // SAFETY: the address is reserved by this range and holds nothing that Rust knows of.
        unsafe {
            calls::update_va_mapping(
                self.address + (index << PAGE_SHIFT),
                mfn.address() | flags,
                flush::INVLPG,
            )
        }
    }

    /// Removes what is mapped at page `index`.
    ///
    /// # Safety
    /// Nobody uses the mapping any more.
    ///
    /// # Errors
    /// [`Errno::Range`] outside the range; otherwise as the hypervisor says.
    pub unsafe fn unmap(&self, index: u64) -> hypercall::Result {
        if index >= self.pages {
            return Err(Errno::Range);
        }
        // SAFETY: the caller says that the mapping is no longer used.
        unsafe { calls::update_va_mapping(self.address + (index << PAGE_SHIFT), 0, flush::INVLPG) }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        with_free(|free| free.give(self.address, self.pages << PAGE_SHIFT));
    }
}

fn with_free<T>(work: impl FnOnce(&mut Ranges) -> T) -> T {
    critical_section::with(|token| {
        let mut free = FREE.borrow(token).borrow_mut();
        let free = free.get_or_insert_with(|| {
            let mut ranges = Ranges::new(Vec::new());
            ranges.give(START, END - START);
            ranges.give(FAR.start, FAR.end - FAR.start);
            ranges
        });
        work(free)
    })
}

/// Maps the shared page at its place.
pub(super) fn map_shared_info(machine_address: u64) -> hypercall::Result {
    ensure_table(SHARED_INFO as u64)?;
    // SAFETY: nothing else is mapped there, and this place is kept for the shared page.
    unsafe { calls::update_va_mapping(SHARED_INFO as u64, machine_address | DATA, flush::INVLPG) }
}

/// Whether the shared page is there; before that nothing may look at it.
pub(super) fn shared_info_is_mapped() -> bool {
    memory::root() != 0 && is_mapped(SHARED_INFO as u64)
}

/// Makes sure that page tables for an address exist down to level 1.
pub fn ensure_table(address: u64) -> hypercall::Result {
    let mut table = memory::root();
    for level in [4, 3, 2] {
        let index = (address >> (12 + 9 * (level - 1))) & 511;
        let mut value = read_entry(table, index);
        if value & pte::PRESENT == 0 {
            value = link_table(table, index)?;
        }
        table = next_table(value);
    }
    Ok(())
}

/// Makes an empty table, links it into entry `index` of `parent`, and returns the new entry.
fn link_table(parent: u64, index: u64) -> hypercall::Result<u64> {
    let page = Page::new().ok_or(Errno::NoMem)?;
    let mfn = page.machine_frame();
    // SAFETY: from here on the page is a table that only the hypervisor writes; nothing else uses it.
    unsafe { calls::update_va_mapping(page.address(), mfn.address() | READ_ONLY, flush::INVLPG) }?;
    page.leak();
    let parent = memory::machine_frame_at(parent).ok_or(Errno::Fault)?;
    let value = mfn.address() | TABLE;
    // SAFETY: the entry was not present, so that no mapping is taken away.
    unsafe { calls::mmu_update(&mut [MmuUpdate { ptr: parent.address() + index * 8, val: value }]) }?;
    Ok(value)
}

/// The machine address of the level 1 entry that maps `address`; `None` without page tables for it.
#[must_use]
pub fn entry_machine_address(address: u64) -> Option<u64> {
    let table = memory::machine_frame_at(level1_table(address)?)?;
    Some(table.address() + ((address >> PAGE_SHIFT) & 511) * 8)
}

/// Whether something is mapped at `address`.
pub(super) fn is_mapped(address: u64) -> bool {
    level1_table(address)
        .is_some_and(|table| read_entry(table, (address >> PAGE_SHIFT) & 511) & pte::PRESENT != 0)
}

/// Address of the level 1 table for `address`; `None` without one.
fn level1_table(address: u64) -> Option<u64> {
    let mut table = memory::root();
    for level in [4, 3, 2] {
        let value = read_entry(table, (address >> (12 + 9 * (level - 1))) & 511);
        if value & pte::PRESENT == 0 {
            return None;
        }
        table = next_table(value);
    }
    Some(table)
}

/// Entry `index` (below 512) of the page table at `table`.
fn read_entry(table: u64, index: u64) -> u64 {
    let entry = (table + index * 8) as *const u64;
    // SAFETY: `table` is one of our page tables, which are mapped for reading in our linear mapping.
    unsafe { entry.read_volatile() }
}

/// Address of the table that a present entry leads to.
fn next_table(entry: u64) -> u64 {
    memory::address_of(memory::pseudo_physical_frame(Mfn::containing(entry & pte::ADDRESS)))
}
