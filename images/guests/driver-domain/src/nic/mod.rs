//! The network device as the switch's uplink, or its absence.
//! What may fail while it is brought up fails here with a name, and the switch goes on without it.

mod device;

use core::fmt;

use alloc::boxed::Box;

use drivers_backend::{MacAddress, SendError, Uplink};
use guest_kernel::devices;
use hypercall_abi::Port;
use hypercall_abi::device::DeviceKind;

pub(crate) use self::device::Virtio;
use crate::virtio::OpenError;

/// Vendor and device of a modern virtio network device, as in configuration space.
const VIRTIO_NET: u32 = 0x1041_1af4;

/// Why there is no device.
#[derive(Debug)]
pub(crate) enum NicError {
    /// The directory names none.
    Missing,
    /// It cannot be used.
    Open(OpenError),
    /// It refuses to start.
    Device(virtio_drivers::Error),
}

impl fmt::Display for NicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "missing device: virtio-net (PCI 1af4:1041)"),
            Self::Open(error) => write!(f, "virtio-net: {error}"),
            Self::Device(error) => write!(f, "virtio-net: {error}"),
        }
    }
}

/// The network device, if there is one.
pub(crate) enum Nic {
    /// A virtio device.
    Virtio(Box<Virtio>),
    /// None.
    Absent,
}

impl Nic {
    /// Whether the directory names one.
    pub(crate) fn is_there() -> bool {
        devices::of_kind(DeviceKind::Pci).any(|(_, entry)| entry.pci_id == VIRTIO_NET)
    }

    /// Brings up the device that the directory names.
    pub(crate) fn open() -> Result<Self, NicError> {
        let (index, entry) = devices::of_kind(DeviceKind::Pci)
            .find(|(_, entry)| entry.pci_id == VIRTIO_NET)
            .ok_or(NicError::Missing)?;
        Virtio::open(index, entry.pci_address).map(|device| Self::Virtio(Box::new(device)))
    }

    /// The port of its interrupt.
    pub(crate) fn port(&self) -> Option<Port> {
        match self {
            Self::Virtio(device) => Some(device.port()),
            Self::Absent => None,
        }
    }
}

impl Uplink for Nic {
    fn mac(&self) -> MacAddress {
        match self {
            Self::Virtio(device) => device.mac(),
            Self::Absent => MacAddress([0; 6]),
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        match self {
            Self::Virtio(device) => device.receive(into),
            Self::Absent => None,
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), SendError> {
        match self {
            Self::Virtio(device) => device.send(frame),
            Self::Absent => Err(SendError::Broken),
        }
    }

    fn flush(&mut self) {
        if let Self::Virtio(device) = self {
            device.flush();
        }
    }

    fn arm(&mut self) -> bool {
        match self {
            Self::Virtio(device) => device.waits(),
            Self::Absent => false,
        }
    }
}
