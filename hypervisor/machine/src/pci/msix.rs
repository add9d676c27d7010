//! Message interrupts of a device (MSI-X): its table, which only the hypervisor writes.
//! A guest that could write it could raise any vector on any processor.

use hypervisor_core::machine::PciAddress;
use hypervisor_core::pci::MsiX;

use super::Config;
use crate::paging::registers::Registers;

const ENABLE: u32 = 1 << 31;
const MASK_ALL: u32 = 1 << 30;
const ENTRY_BYTES: usize = 16;
const MASKED: u32 = 1;
/// Where local APICs take messages.
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// A device's table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageTable {
    /// Whose it is.
    pub(crate) device: PciAddress,
    capability: u16,
    registers: Registers,
    entries: usize,
}

impl MessageTable {
    /// Bytes of a function's table.
    pub(crate) fn bytes(msix: &MsiX) -> u64 {
        u64::from(msix.entries) * ENTRY_BYTES as u64
    }

    /// A device's table, which `registers` map.
    pub(crate) fn new(device: PciAddress, msix: &MsiX, registers: Registers) -> Self {
        Self { device, capability: msix.capability, registers, entries: usize::from(msix.entries) }
    }

    /// Sends an entry's messages to a processor as `vector`; whether there is such an entry.
    pub(crate) fn route(&self, config: &Config, entry: u16, vector: u8, apic_id: u8) -> bool {
        let Some(at) = self.entry(entry) else { return false };
        config.enable_memory(self.device);
        self.registers.write(at + 12, MASKED);
        self.registers.write(at, MESSAGE_ADDRESS | u32::from(apic_id) << 12);
        self.registers.write(at + 4, 0);
        self.registers.write(at + 8, u32::from(vector));
        self.registers.write(at + 12, 0);
        let control = config.read_word(self.device, self.capability);
        config.write_word(self.device, self.capability, control & !MASK_ALL | ENABLE);
        true
    }

    /// Masks an entry.
    pub(crate) fn unroute(&self, config: &Config, entry: u16) {
        if let Some(at) = self.entry(entry) {
            config.enable_memory(self.device);
            self.registers.write(at + 12, MASKED);
        }
    }

    /// Offset of an entry in the table.
    fn entry(&self, entry: u16) -> Option<usize> {
        let entry = usize::from(entry);
        (entry < self.entries).then_some(entry * ENTRY_BYTES)
    }
}
