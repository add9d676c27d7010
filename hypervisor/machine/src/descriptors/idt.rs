//! Interrupt gates: every vector enters with interrupts off.
//! Guests may raise #BP and #OF themselves; every other `int` of theirs ends as #GP, which the core decodes.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypervisor_core::ring::RING1_CODE;

use super::{TablePointer, gdt, tss};
use crate::entry;
use crate::per_cpu::PER_CPU;

const PRESENT: u64 = 1 << 47;
const INTERRUPT_GATE: u64 = 0xe << 40;
const TRAP_GATE: u64 = 0xf << 40;
/// A trap gate leaves interrupts on, which a kernel in ring 1 could not switch on again.
const KERNEL_GATE: u64 = if cfg!(feature = "plant-interrupt-gate") { INTERRUPT_GATE } else { TRAP_GATE };

/// Vectors.
pub(crate) const COUNT: usize = 256;

/// A table, two words a gate.
#[repr(C, align(16))]
pub(crate) struct Idt([AtomicU64; 2 * COUNT]);

/// What a gate leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gate {
    /// Nothing: using it is a #GP.
    Closed,
    /// The hypervisor, with interrupts off, on this stack of the interrupt stack table or, if 0, that of ring 0.
    Hypervisor {
        /// The stub.
        address: u64,
        /// The stack.
        stack: u8,
        /// The least privileged ring whose `int` may use it.
        from: u8,
    },
    /// The kernel of a guest in ring 1, from its processes, with interrupts as they are.
    Kernel {
        /// The kernel's entry.
        address: u64,
    },
}

impl Idt {
    /// A table of closed gates.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 2 * COUNT])
    }

    /// Sets a gate.
    pub(crate) fn set(&self, vector: usize, gate: Gate) {
        let (address, rest) = match gate {
            Gate::Closed => (0, 0),
            Gate::Hypervisor { address, stack, from } => {
                let flags = INTERRUPT_GATE | PRESENT | u64::from(from) << 45;
                (address, flags | u64::from(gdt::CODE) << 16 | u64::from(stack) << 32)
            }
            Gate::Kernel { address } => {
                (address, KERNEL_GATE | PRESENT | 3 << 45 | u64::from(RING1_CODE) << 16)
            }
        };
        let low = (address & 0xffff) | rest | (address >> 16 & 0xffff) << 48;
        self.0[2 * vector].store(low, Relaxed);
        self.0[2 * vector + 1].store(address >> 32, Relaxed);
    }

    /// Makes the processor use it.
    ///
    /// # Safety
    /// Each gate that leads into the hypervisor leads to a stub that fits the present task state.
    pub(crate) unsafe fn load(&self) {
        let pointer = TablePointer::new(self.0.as_ptr() as u64, size_of_val(&self.0) as u64);
        // SAFETY: the caller vouches for the gates.
        unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
    }
}

/// Makes the processor use the table for guests in ring 3.
///
/// # Safety
/// [`fill`] came before; the task state has the hypervisor's own stacks.
pub(crate) unsafe fn load() {
    // SAFETY: every gate leads to a stub of the hypervisor; the caller vouches for the stacks.
    unsafe { PER_CPU.idt.load() };
}

/// Fills the table.
pub(super) fn fill() {
    for vector in 0..COUNT {
        let (stub, stack) = match vector {
            1 => (entry::exception::debug_stub(), tss::DEBUG),
            2 => (entry::exception::nmi_stub(), tss::NMI),
            8 => (entry::exception::stub(vector), tss::DOUBLE_FAULT),
            18 => (entry::exception::machine_check_stub(), tss::MACHINE_CHECK),
            0..32 => (entry::exception::stub(vector), 0),
            _ => (entry::interrupt::stub(vector), 0),
        };
        PER_CPU.idt.set(vector, Gate::Hypervisor { address: stub, stack, from: least_privileged(vector) });
    }
}

/// The ring whose `int` may use a vector: #BP and #OF are instructions of their own, for everybody.
pub(crate) const fn least_privileged(vector: usize) -> u8 {
    if matches!(vector, 3 | 4) { 3 } else { 0 }
}
