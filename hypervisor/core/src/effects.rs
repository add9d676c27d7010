//! What the machine must do after the core has decided.
//! It is data, so that the core touches no hardware and a test sees each consequence.

use bitflags::bitflags;

bitflags! {
    /// Consequences that are yes or no. The machine carries them out before it returns to a guest.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Todo: u32 {
        /// The processor may have to change hands.
        const RESCHEDULE = 1 << 0;
        /// The current domain's root changed: load CR3.
        const LOAD_ROOT = 1 << 1;
        /// Flush the whole TLB.
        const FLUSH_TLB = 1 << 2;
        /// The next deadline may have changed: program the timer.
        const TIMER = 1 << 4;
        /// There is text for the serial line.
        const CONSOLE = 1 << 5;
        /// The current domain, which has a base of GS for each mode, changed the mode: keep one, load the other.
        const SEGMENTS = 1 << 6;
        /// The current domain set a base of FS: load it.
        const FS = 1 << 11;
        /// It set a base of GS for its kernel: load it when the kernel runs.
        const GS_KERNEL = 1 << 12;
        /// It set a base of GS for its processes: load it when they run.
        const GS_USER = 1 << 13;
        /// The current domain's FPU flag changed: set CR0.TS accordingly.
        const FPU = 1 << 7;
        /// A device's interrupts are to be set up or torn down: see `World::take_device_requests`.
        const DEVICES = 1 << 8;
        /// Audit the frame table and report.
        const AUDIT = 1 << 9;
        /// The current domain's stack or gate for its processes changed: tell the processor. Its kernel is in ring 1.
        const GATES = 1 << 3;
        /// End the system.
        const POWEROFF = 1 << 10;
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// Yes or no.
    pub todo: Todo,
}
