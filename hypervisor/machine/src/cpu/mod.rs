//! Single instructions of the processor behind safe functions where the hypervisor may always execute them.
//! They exist so that the rest of the machine reads as prose and unsafe blocks stay here, one operation each.

pub(crate) mod port;

use core::arch::asm;

/// Stops this processor for ever.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: the hypervisor runs in ring 0; with interrupts off `hlt` only stops the processor.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
