//! How a virtio device is reset through configuration space alone.
//! Bus mastering that is turned off stops what a device would begin, but QEMU's disks go on with what they have begun, in
//! memory that is somebody else's by then. After a reset nothing is under way (virtio 1.1, 2.4 and 4.1.4.9).

use super::{Bar, function};
use crate::machine::{Machine, PciAddress};

/// Vendor of all virtio devices.
const VENDOR: u32 = 0x1af4;
/// Identification of capabilities that a vendor defines.
const VENDOR_SPECIFIC: u32 = 0x09;
/// Their type: where the common configuration is.
const COMMON: u32 = 1;
/// Their type: a window through which registers are reached.
const WINDOW: u32 = 5;
/// Offset of the device's status in the common configuration; a zero resets it.
const STATUS: u32 = 20;

/// Where the status register is, and the window to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    /// Offset of the window's capability in configuration space.
    window: u16,
    /// The BAR with the common configuration.
    bar: u32,
    /// The status register in it.
    status: u32,
}

impl Reset {
    /// Finds both, if it is a virtio device that has them.
    pub(super) fn find<M: Machine>(m: &mut M, address: PciAddress, id: u32, bars: &[Bar; 6]) -> Option<Self> {
        if id & 0xffff != VENDOR {
            return None;
        }
        let mut of_type = |wanted| {
            function::find_capability(m, address, |m, at, header| {
                let bar = m.pci_read(address, at.saturating_add(4), 1);
                let known = usize::try_from(bar).ok().and_then(|bar| bars.get(bar)).is_some();
                let fits = header & 0xff == VENDOR_SPECIFIC && header >> 24 == wanted && known;
                fits.then(|| (at, bar, m.pci_read(address, at.saturating_add(8), 4)))
            })
        };
        let (_, bar, offset) = of_type(COMMON)?;
        let (window, ..) = of_type(WINDOW)?;
        Some(Self { window, bar, status: offset.checked_add(STATUS)? })
    }

    /// Resets the device. It has forgotten its driver's memory when this returns, as far as it does what the standard asks.
    pub(super) fn reset<M: Machine>(self, m: &mut M, address: PciAddress) {
        let at = |bytes: u16| self.window.saturating_add(bytes);
        m.pci_write(address, at(4), 1, self.bar);
        m.pci_write(address, at(8), 4, self.status);
        m.pci_write(address, at(12), 4, 1);
        m.pci_write(address, at(16), 1, 0);
    }
}
