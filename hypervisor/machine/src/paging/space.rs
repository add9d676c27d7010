//! The final address space, piece by piece.
//! After it is loaded, code cannot be written, data cannot be executed, and guests see the machine-to-physical table alone.

use core::sync::atomic::AtomicU64;

use hypercall_abi::layout::{HYPERVISOR_SLOT_FIRST, HYPERVISOR_SLOT_LAST, MACHINE_TO_PHYS};
use hypervisor_core::reserve::{self, DIRECT_LEAST};

use super::registers::Registers;
use super::{Flags, Tables};
use crate::cpu::control;
use crate::descriptors::gdt;
use crate::layout::{DIRECT_BASE, DIRECT_END, IMAGE_BASE, IMAGE_SLOT};
use crate::per_cpu::PER_CPU;
use crate::ring1::area;

const PAGE: u64 = 4096;
const GIB: u64 = 1 << 30;

const DATA: Flags = Flags::WRITE.union(Flags::NO_EXECUTE);

/// The hypervisor's address space.
#[derive(Debug)]
pub(crate) struct Space {
    tables: Tables,
    next_device: u64,
    /// The page of zeros.
    zeros: u64,
}

impl Space {
    /// The image and the direct map, with tables from `pool`, loaded.
    pub(crate) fn enter(pool: u64, memory_end: u64, huge_pages: bool) -> Self {
        let tables = Tables::new(pool, reserve::pool(memory_end), huge_pages);
        let mut space = Self { tables, next_device: gdt::window() + gdt::FIRST + PAGE, zeros: 0 };
        space.map_image();
        let direct = memory_end.max(DIRECT_LEAST).next_multiple_of(GIB);
        assert!(direct <= DIRECT_END - DIRECT_BASE, "more memory than the direct map has room for");
        space.tables.map(DIRECT_BASE, 0, direct, DATA);
        control::load_root(space.tables.root());
        space
    }

    /// Machine address of the top-level table.
    pub(crate) fn root(&self) -> u64 {
        self.tables.root()
    }

    /// What every domain's top-level table gets.
    pub(crate) fn hypervisor_slots(&self) -> [u64; HYPERVISOR_SLOT_LAST - HYPERVISOR_SLOT_FIRST + 1] {
        core::array::from_fn(|slot| self.tables.root_entry(HYPERVISOR_SLOT_FIRST + slot))
    }

    /// The same where the guest's kernel is in ring 1: the machine-to-physical table, for its kernel alone, and the
    /// entry area.
    pub(crate) fn ring1_slots(&mut self) -> [u64; HYPERVISOR_SLOT_LAST - HYPERVISOR_SLOT_FIRST + 1] {
        let root = self.tables.frame();
        for (address, bytes, flags) in area::pages() {
            self.tables.map_under(root, address, address - IMAGE_BASE, bytes, flags);
        }
        self.map_descriptors_under(root);
        let mut slots = [0; _];
        slots[0] = self.tables.root_entry(HYPERVISOR_SLOT_FIRST) & !Flags::USER.bits();
        slots[IMAGE_SLOT - HYPERVISOR_SLOT_FIRST] = Tables::entry_of(root, IMAGE_SLOT);
        slots
    }

    /// Shows guests the machine-to-physical table, which lies at `table`.
    pub(crate) fn map_machine_to_phys(&mut self, table: u64, bytes: u64) {
        self.tables.map(MACHINE_TO_PHYS, table, bytes, Flags::USER | Flags::NO_EXECUTE);
    }

    /// The descriptor table's window: one page of zeros fourteen times, then this processor's descriptors.
    pub(crate) fn map_descriptors(&mut self, zeros: u64) {
        self.zeros = zeros;
        self.map_descriptors_under(self.tables.root());
    }

    fn map_descriptors_under(&mut self, root: u64) {
        for page in 0..gdt::FIRST / PAGE {
            let at = gdt::window() + page * PAGE;
            self.tables.map_under(root, at, self.zeros, PAGE, Flags::NO_EXECUTE);
        }
        let descriptors = &raw const PER_CPU.gdt as u64 - IMAGE_BASE;
        self.tables.map_under(root, gdt::window() + gdt::FIRST, descriptors, PAGE, Flags::NO_EXECUTE);
    }

    /// Maps registers of a device.
    ///
    /// # Safety
    /// A device that the hypervisor alone drives answers at these machine addresses.
    pub(crate) unsafe fn map_registers(&mut self, address: u64, bytes: u64) -> Registers {
        let at = self.map_device(address, bytes, DATA | Flags::UNCACHED);
        // SAFETY: just mapped, for ever; the caller vouches for the device.
        unsafe { Registers::new(at, bytes) }
    }

    /// Maps a device's memory as words.
    ///
    /// # Safety
    /// The addresses are a device's memory that nothing else in the hypervisor maps.
    pub(crate) unsafe fn map_words(&mut self, address: u64, bytes: u64) -> &'static [AtomicU64] {
        let at = self.map_device(address, bytes, DATA);
        // SAFETY: just mapped, for ever; atomics may be shared with whoever else sees the memory.
        unsafe { core::slice::from_raw_parts(at as *const AtomicU64, (bytes / 8) as usize) }
    }

    fn map_device(&mut self, address: u64, bytes: u64, flags: Flags) -> u64 {
        const LARGE: u64 = 1 << 21;
        let first = address & !(PAGE - 1);
        let end = (address + bytes).next_multiple_of(PAGE);
        let at = if end - first < LARGE {
            self.next_device
        } else {
            // The same place within a large page on both sides, so that large pages fit.
            self.next_device.next_multiple_of(LARGE) + first % LARGE
        };
        assert!(at + (end - first) <= DIRECT_BASE, "devices lie before the direct map");
        self.tables.map(at, first, end - first, flags);
        self.next_device = at + (end - first);
        at + (address - first)
    }

    fn map_image(&mut self) {
        unsafe extern "C" {
            static text_start: u8;
            static text_end: u8;
            static rodata_end: u8;
            static image_end: u8;
        }
        let (text, rodata) = (&raw const text_start as u64, &raw const text_end as u64);
        let (data, end) = (&raw const rodata_end as u64, &raw const image_end as u64);
        for (start, end, flags) in
            [(text, rodata, Flags::empty()), (rodata, data, Flags::NO_EXECUTE), (data, end, DATA)]
        {
            self.tables.map(start, start - IMAGE_BASE, end - start, flags);
        }
    }
}

/// Machine addresses of the image, with its boot part.
pub(crate) fn image() -> (u64, u64) {
    unsafe extern "C" {
        static image_start: u8;
        static image_end: u8;
    }
    (&raw const image_start as u64, &raw const image_end as u64 - IMAGE_BASE)
}
