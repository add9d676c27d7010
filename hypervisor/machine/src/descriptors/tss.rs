//! The task state: which stack the processor takes on entry.
//! Four vectors have stacks of their own because they can strike before an entry path has one.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Stack for double faults in the interrupt stack table; gates carry this number.
pub(crate) const DOUBLE_FAULT: u8 = 1;
/// Stack for NMIs.
pub(crate) const NMI: u8 = 2;
/// Stack for machine checks.
pub(crate) const MACHINE_CHECK: u8 = 3;
/// Stack for debug exceptions.
pub(crate) const DEBUG: u8 = 4;

/// Words 1 and 2 are RSP for ring 0; 9 to 22 are the interrupt stack table; the last says that there is no port map.
#[repr(C, align(128))]
pub(crate) struct Tss([AtomicU32; 26]);

impl Tss {
    /// A task state without stacks.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 26])
    }

    /// Sets the stack for entries from guests and those of the interrupt stack table.
    pub(crate) fn set_stacks(&self, entry: u64, interrupt: [u64; 4]) {
        self.set(1, entry);
        for (number, stack) in interrupt.into_iter().enumerate() {
            self.set(9 + 2 * number, stack);
        }
        // Offset of the port map: past the limit, so that guests may use no port.
        self.0[25].store(0x68 << 16, Relaxed);
    }

    fn set(&self, word: usize, address: u64) {
        self.0[word].store(address as u32, Relaxed);
        self.0[word + 1].store((address >> 32) as u32, Relaxed);
    }
}
