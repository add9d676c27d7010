//! Single instructions of the processor behind safe functions where the hypervisor may always execute them.
//! They exist so that the rest of the machine reads as prose and unsafe blocks stay here, one operation each.

pub(crate) mod control;
pub(crate) mod msr;
pub(crate) mod port;
pub(crate) mod segments;
pub(crate) mod string;

use core::arch::asm;

/// Stops this processor for ever.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: the hypervisor runs in ring 0; with interrupts off `hlt` only stops the processor.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Waits with interrupts on until one has been taken.
pub(crate) fn wait_for_interrupt() {
    // SAFETY: gates and stacks are in place before the first call; an interrupt in ring 0 only notes its vector.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// The time-stamp counter.
#[inline]
pub(crate) fn tsc() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: reading the counter changes nothing.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    high << 32 | low
}

/// Drops all translations of the present root.
pub(crate) fn flush_tlb() {
    control::load_root(control::root());
}

/// Drops the translation of one address.
pub(crate) fn flush_address(address: u64) {
    // SAFETY: forgetting a translation makes the processor walk the tables again, no more.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}
