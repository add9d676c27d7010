//! ACPI's power-management timer: 3.58 MHz, behind one port.
//! Its frequency is the one thing on a PC that needs no measuring, so the other clocks are measured by it.

use crate::cpu::port;

/// The timer counts at least this many bits.
const MASK: u32 = 0x00ff_ffff;

/// The timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PmTimer {
    /// Where it is read.
    pub(crate) port: u16,
}

impl PmTimer {
    /// Waits for a tick; the count after it.
    pub(crate) fn next_tick(&self) -> u32 {
        let start = self.read();
        loop {
            let count = self.read();
            if count != start {
                return count;
            }
        }
    }

    /// Ticks since the count was `start`, if that was less than 4 s ago.
    pub(crate) fn since(&self, start: u32) -> u64 {
        u64::from(self.read().wrapping_sub(start) & MASK)
    }

    fn read(&self) -> u32 {
        port::read_u32(self.port) & MASK
    }
}
