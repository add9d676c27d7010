//! Configuration space of an assigned device, by hypercall.
//! The hypervisor lets through what can harm nobody but its owner.

use guest_kernel::hypercall::extension;
use hypercall_abi::extension::PciConfig;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

/// The configuration space of the device with this index in our directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigSpace {
    pub(super) device: u32,
}

impl ConfigSpace {
    fn access(self, offset: u8, write: bool, value: u32) -> Option<u32> {
        let mut access = PciConfig {
            device: self.device,
            offset: offset.into(),
            width: 4,
            write: write.into(),
            value,
            pad: 0,
        };
        extension::pci_config(&mut access).ok().map(|()| access.value)
    }
}

impl ConfigurationAccess for ConfigSpace {
    fn read_word(&self, _: DeviceFunction, register_offset: u8) -> u32 {
        // What cannot be read is all ones, as on a bus without the device.
        self.access(register_offset, false, 0).unwrap_or(u32::MAX)
    }

    fn write_word(&mut self, _: DeviceFunction, register_offset: u8, data: u32) {
        if self.access(register_offset, true, data).is_none() {
            log::warn!("configuration register {register_offset:#x} was not written");
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}
