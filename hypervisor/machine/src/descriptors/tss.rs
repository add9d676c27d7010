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

/// Words of a task state.
const WORDS: usize = 26;

/// Last byte of the task state that the processor sees. The padding behind it must stay outside: zeros there would be
/// a port map that allows ports.
pub(crate) const LIMIT: u64 = WORDS as u64 * 4 - 1;

/// Offset of the port map: past the limit, so that guests may use no port.
const PORT_MAP: u32 = WORDS as u32 * 4;

const _: () = assert!(PORT_MAP as u64 > LIMIT, "guests would use ports");

/// Words 1 and 2 are RSP for ring 0, 3 and 4 for ring 1; 9 to 22 are the interrupt stack table; the last says that there is no port map.
/// It has a page of its own, which guests in ring 1 can read.
#[repr(C, align(4096))]
pub(crate) struct Tss([AtomicU32; WORDS]);

impl Tss {
    /// A task state without stacks.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; WORDS])
    }

    /// Sets the stack for entries from guests and those of the interrupt stack table.
    pub(crate) fn set_stacks(&self, entry: u64, interrupt: [u64; 4]) {
        self.set(1, entry);
        for (number, stack) in interrupt.into_iter().enumerate() {
            self.set(9 + 2 * number, stack);
        }
        self.0[25].store(PORT_MAP << 16, Relaxed);
    }

    /// Sets the stack on which the processor enters ring 1 from ring 3.
    pub(crate) fn set_ring1_stack(&self, stack: u64) {
        self.set(3, stack);
    }

    fn set(&self, word: usize, address: u64) {
        self.0[word].store(address as u32, Relaxed);
        self.0[word + 1].store((address >> 32) as u32, Relaxed);
    }
}
