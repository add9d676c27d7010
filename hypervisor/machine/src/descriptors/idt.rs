//! Interrupt gates: every vector enters with interrupts off.
//! Guests may raise #BP and #OF themselves; every other `int` of theirs ends as #GP, which the core decodes.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{TablePointer, gdt, tss};
use crate::entry;

const PRESENT: u64 = 1 << 47;
const INTERRUPT_GATE: u64 = 0xe << 40;
const FROM_RING3: u64 = 3 << 45;

/// Vectors.
const COUNT: usize = 256;

/// The table, two words a gate.
static IDT: [AtomicU64; 2 * COUNT] = [const { AtomicU64::new(0) }; 2 * COUNT];

/// Fills the table and loads it.
pub(super) fn load() {
    for vector in 0..COUNT {
        let (stub, stack) = match vector {
            1 => (entry::exception::debug_stub(), tss::DEBUG),
            2 => (entry::exception::nmi_stub(), tss::NMI),
            8 => (entry::exception::stub(vector), tss::DOUBLE_FAULT),
            18 => (entry::exception::stub(vector), tss::MACHINE_CHECK),
            0..32 => (entry::exception::stub(vector), 0),
            _ => (entry::interrupt::stub(vector), 0),
        };
        let ring = if matches!(vector, 3 | 4) { FROM_RING3 } else { 0 };
        let low = (stub & 0xffff) | u64::from(gdt::CODE) << 16 | u64::from(stack) << 32;
        let low = low | INTERRUPT_GATE | PRESENT | ring | (stub >> 16 & 0xffff) << 48;
        IDT[2 * vector].store(low, Relaxed);
        IDT[2 * vector + 1].store(stub >> 32, Relaxed);
    }
    let pointer = TablePointer::new(IDT.as_ptr() as u64, size_of_val(&IDT) as u64);
    // SAFETY: every gate leads to a stub of the hypervisor.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}
