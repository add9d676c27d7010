//! Access to configuration space: through memory where ACPI names it, else through the two old ports.
//! The core filters what domains may do; here is only the way.

use hypervisor_core::machine::PciAddress;

use crate::cpu::port;
use crate::paging::registers::Registers;

const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
/// Offset of the command register; the status register lies above it.
const COMMAND: u16 = 4;
/// In the command register: answers at its memory.
const MEMORY: u32 = 1 << 1;

/// The way to configuration space.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Config {
    /// A window of 4 KiB a function.
    Memory {
        /// The window, from bus 0.
        window: Registers,
        /// Last bus in it.
        last_bus: u8,
    },
    /// 256 bytes a function, behind an address and a data port.
    Ports,
}

impl Config {
    /// Reads the word that contains `offset`; all ones where there is nothing.
    pub(crate) fn read_word(&self, device: PciAddress, offset: u16) -> u32 {
        match self {
            Self::Memory { window, last_bus } if device.segment == 0 && device.bus <= *last_bus => {
                window.read(position(device, offset))
            }
            Self::Ports if device.segment == 0 && offset < 256 => {
                port::write_u32(ADDRESS_PORT, port_address(device, offset));
                port::read_u32(DATA_PORT)
            }
            _ => u32::MAX,
        }
    }

    /// Writes the word at `offset`.
    pub(crate) fn write_word(&self, device: PciAddress, offset: u16, value: u32) {
        match self {
            Self::Memory { window, last_bus } if device.segment == 0 && device.bus <= *last_bus => {
                window.write(position(device, offset), value);
            }
            Self::Ports if device.segment == 0 && offset < 256 => {
                port::write_u32(ADDRESS_PORT, port_address(device, offset));
                port::write_u32(DATA_PORT, value);
            }
            _ => {}
        }
    }

    /// Lets a function answer at its memory.
    pub(crate) fn enable_memory(&self, device: PciAddress) {
        let command = self.read(device, COMMAND, 2);
        self.write(device, COMMAND, 2, command | MEMORY);
    }

    /// Reads 1, 2 or 4 bytes at a multiple of `width`.
    pub(crate) fn read(&self, device: PciAddress, offset: u16, width: u8) -> u32 {
        self.read_word(device, offset) >> shift(offset) & mask(width)
    }

    /// Writes 1, 2 or 4 bytes at a multiple of `width`. Status bits that clear when they are written as 1 share a
    /// word with the command register and are written as 0 beside it.
    pub(crate) fn write(&self, device: PciAddress, offset: u16, width: u8, value: u32) {
        if width == 4 {
            return self.write_word(device, offset, value);
        }
        let mut word = self.read_word(device, offset);
        if offset & !3 == COMMAND {
            word &= 0xffff;
        }
        let mask = mask(width) << shift(offset);
        self.write_word(device, offset, word & !mask | value << shift(offset) & mask);
    }
}

fn position(device: PciAddress, offset: u16) -> usize {
    usize::from(device.bus) << 20 | usize::from(device.devfn) << 12 | usize::from(offset & 0xffc)
}

fn port_address(device: PciAddress, offset: u16) -> u32 {
    1 << 31 | u32::from(device.bus) << 16 | u32::from(device.devfn) << 8 | u32::from(offset & 0xfc)
}

fn shift(offset: u16) -> u32 {
    u32::from(offset & 3) * 8
}

fn mask(width: u8) -> u32 {
    match width {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}
