//! Assigned PCI functions: what a driver domain may see and do of a real device.
//! They exist in the core because the filter is policy: a driver domain must not move a BAR over another's memory
//! or write an interrupt message, and each refusal is tested without a device.

mod config_space;
mod function;
mod reset;

pub use config_space::ConfigSpace;
pub use function::{Bar, Function, MsiX};

/// Offsets and bits of configuration space (PCI Local Bus 3.0, 6.1 and 6.8.2).
mod offset {
    /// Vendor in the lower half, device in the upper.
    pub(super) const ID: u16 = 0x00;
    /// Command, 16 bits.
    pub(super) const COMMAND: u16 = 0x04;
    /// Status, 16 bits.
    pub(super) const STATUS: u16 = 0x06;
    /// Header type, 8 bits.
    pub(super) const HEADER_TYPE: u16 = 0x0e;
    /// First base address register.
    pub(super) const BAR0: u16 = 0x10;
    /// First byte past the base address registers of a type 0 header.
    pub(super) const BARS_END: u16 = 0x28;
    /// First capability, 8 bits.
    pub(super) const CAPABILITIES: u16 = 0x34;
    /// First byte past configuration space without extension.
    pub(super) const END: u16 = 0x100;
}

/// Bits of the command register.
mod command {
    /// Answers port accesses.
    pub(super) const IO: u32 = 1 << 0;
    /// Answers memory accesses.
    pub(super) const MEMORY: u32 = 1 << 1;
    /// May do DMA.
    pub(super) const BUS_MASTER: u32 = 1 << 2;
    /// Raises no line interrupt.
    pub(super) const NO_INTX: u32 = 1 << 10;
}
