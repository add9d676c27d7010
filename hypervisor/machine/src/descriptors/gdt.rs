//! Segment descriptors, at the selectors that Xen's guests expect.
//! The first 14 pages of the table belong to guests on Xen; here one page of zeros stands in for all of them.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypercall_abi::layout::{FIRST_RESERVED_GDT_PAGE, GUEST_CODE, GUEST_CODE32, GUEST_DATA};

use hypervisor_core::ring::{RING1_CODE, RING1_DATA};

use super::TablePointer;

/// Selector of the first descriptor that is the hypervisor's.
pub(crate) const FIRST: u64 = FIRST_RESERVED_GDT_PAGE as u64 * 4096;
/// The hypervisor's code.
pub(crate) const CODE: u16 = 0xe008;
/// The hypervisor's stack.
pub(crate) const DATA: u16 = 0xe010;
/// The task state.
pub(crate) const TASK: u16 = 0xe040;

/// Access bits: code of ring 0, present. All are marked as accessed from the start, since the processor could not mark
/// them where the table is read-only.
const CODE64_RING0: u64 = 0x00af_9b00_0000_ffff;
const DATA_RING0: u64 = 0x00cf_9300_0000_ffff;
const CODE32_RING3: u64 = 0x00cf_fb00_0000_ffff;
const DATA_RING3: u64 = 0x00cf_f300_0000_ffff;
const CODE64_RING3: u64 = 0x00af_fb00_0000_ffff;
const DATA_RING1: u64 = 0x00cf_b300_0000_ffff;
const CODE64_RING1: u64 = 0x00af_bb00_0000_ffff;
const TASK_FREE: u64 = 0x0000_8900_0000_0000;

/// The page of descriptors from selector 0xe000.
#[repr(C, align(4096))]
pub(crate) struct Gdt([AtomicU64; 512]);

impl Gdt {
    /// No descriptors.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 512])
    }

    /// Writes all descriptors; `tss` is the address of the task state.
    pub(crate) fn fill(&self, tss: u64) {
        self.set(CODE, CODE64_RING0);
        self.set(DATA, DATA_RING0);
        self.set(GUEST_CODE32, CODE32_RING3);
        self.set(GUEST_DATA, DATA_RING3);
        self.set(GUEST_CODE, CODE64_RING3);
        self.set(RING1_CODE, CODE64_RING1);
        self.set(RING1_DATA, DATA_RING1);
        self.set(TASK, TASK_FREE | super::tss::LIMIT | (tss & 0xff_ffff) << 16 | (tss >> 24 & 0xff) << 56);
        self.set(TASK + 8, tss >> 32);
    }

    fn set(&self, selector: u16, descriptor: u64) {
        self.0[usize::from(selector) % 4096 / 8].store(descriptor, Relaxed);
    }
}

/// Where the table stands in the address space: 14 shared pages of zeros, then a [`Gdt`].
pub(crate) fn window() -> u64 {
    unsafe extern "C" {
        static gdt_window: u8;
    }
    &raw const gdt_window as u64
}

/// Loads the table that begins at `base` and the hypervisor's segments from it.
///
/// # Safety
/// A [`Gdt`] is mapped at `base + FIRST`, and filled.
pub(super) unsafe fn load(base: u64) {
    let pointer = TablePointer::new(base, FIRST + 4096);
    // SAFETY: the caller vouches for the table; code and stack segments are the same as before.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "mov ss, {data:x}",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            pointer = in(reg) &raw const pointer,
            data = in(reg) DATA,
            code = in(reg) u64::from(CODE),
            scratch = out(reg) _,
            options(preserves_flags),
        );
    }
}
