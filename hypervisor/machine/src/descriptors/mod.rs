//! The processor's tables: segments, interrupt gates, task state.
//! They exist to say which code runs on which stack for each way into the hypervisor.

pub(crate) mod gdt;
pub(crate) mod idt;
pub(crate) mod tss;

use core::arch::asm;

/// Operand of `lgdt` and `lidt`.
#[repr(C, packed)]
pub(crate) struct TablePointer {
    /// Bytes of the table minus one.
    limit: u16,
    /// Linear address.
    base: u64,
}

impl TablePointer {
    /// A table of `bytes` at `base`.
    pub(crate) const fn new(base: u64, bytes: u64) -> Self {
        Self { limit: (bytes - 1) as u16, base }
    }
}

/// Sets the hypervisor's own stacks for the ways into it.
pub(crate) fn set_stacks() {
    use crate::per_cpu::PER_CPU;
    PER_CPU.tss.set_stacks(PER_CPU.stack.end(), PER_CPU.interrupt_stacks.each_ref().map(|stack| stack.end()));
}

/// Loads all tables of this processor. The descriptor table's window must be mapped.
pub(crate) fn load() {
    use crate::per_cpu::PER_CPU;
    set_stacks();
    PER_CPU.gdt.fill(&raw const PER_CPU.tss as u64);
    // The writable alias first: `ltr` marks its descriptor busy, and the window is read-only.
    // SAFETY: the table has code and data at the selectors in use.
    unsafe { gdt::load(&raw const PER_CPU.gdt as u64 - gdt::FIRST) };
    // SAFETY: the descriptor is of this processor's task state, and free.
    unsafe { asm!("ltr {:x}", in(reg) gdt::TASK, options(nostack, preserves_flags)) };
    // SAFETY: the window shows the same descriptors.
    unsafe { gdt::load(gdt::window()) };
    idt::fill();
    // SAFETY: filled just now; the stacks were set above.
    unsafe { idt::load() };
}
