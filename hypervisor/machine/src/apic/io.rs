//! The I/O APIC: one input of one controller, for the serial port.
//! Everything else that could interrupt stays masked.

use crate::paging::registers::Registers;

const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;
const VERSION: u32 = 1;
const FIRST_ENTRY: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// Where an interrupt arrives and how its line behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    /// Number across all controllers.
    pub(crate) number: u32,
    /// Whether low means raised.
    pub(crate) active_low: bool,
    /// Whether the level counts and not the edge.
    pub(crate) level: bool,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoApic {
    registers: Registers,
    first_input: u32,
}

impl IoApic {
    /// Takes it into use with every input masked.
    pub(crate) fn initialise(registers: Registers, first_input: u32) -> Self {
        let apic = Self { registers, first_input };
        let last = apic.read(VERSION) >> 16 & 0xff;
        for input in 0..=last {
            apic.write(FIRST_ENTRY + 2 * input, MASKED);
        }
        apic
    }

    /// Sends an input's interrupts to a processor as `vector`.
    pub(crate) fn route(&self, input: Input, vector: u8, apic_id: u8) {
        let Some(index) = input.number.checked_sub(self.first_input) else { return };
        let entry = FIRST_ENTRY + 2 * index;
        let low = if input.active_low { ACTIVE_LOW } else { 0 };
        let level = if input.level { LEVEL } else { 0 };
        self.write(entry + 1, u32::from(apic_id) << 24);
        self.write(entry, u32::from(vector) | low | level);
    }

    fn read(&self, register: u32) -> u32 {
        self.registers.write(SELECT, register);
        self.registers.read(WINDOW)
    }

    fn write(&self, register: u32, value: u32) {
        self.registers.write(SELECT, register);
        self.registers.write(WINDOW, value);
    }
}
