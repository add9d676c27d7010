//! Virtio devices of this domain: their registers mapped, their interrupt bound, their memory as they see it.
//! What network and disks have in common stands here once.

mod config_space;
mod hal;
mod interrupt;
mod requests;
mod transport;

use core::fmt;

use guest_kernel::ports::EventPort;
use hypercall_abi::Errno;
use virtio_drivers::transport::pci::bus::{Command, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError};
use virtio_drivers::transport::{DeviceStatus, Transport};

use self::config_space::ConfigSpace;
pub(crate) use self::hal::DomainMemory;
pub(crate) use self::requests::{ENTRIES, ENVELOPE_RUNS, Head, RequestQueue, Run};
pub(crate) use self::transport::{Doorbells, MsixTransport, NO_VECTOR};
use crate::kernel::PORTS;

/// How often a device is asked whether its reset is done.
const RESET_LOOKS: u32 = 100_000;

/// Why a device cannot be used.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Its registers cannot be mapped.
    Registers(Errno),
    /// It has no usable virtio registers.
    Transport(VirtioPciError),
    /// Its interrupt cannot be bound.
    Interrupt(Errno),
    /// It refuses to start.
    Device,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registers(errno) => write!(f, "its registers cannot be mapped: {errno:?}"),
            Self::Transport(error) => write!(f, "{error}"),
            Self::Interrupt(errno) => write!(f, "its interrupt cannot be bound: {errno:?}"),
            Self::Device => write!(f, "it refuses to start"),
        }
    }
}

/// Takes the device with this index in the directory, at this PCI address; `vectors` says which queue interrupts by which
/// entry of its table. Its interrupt is entry 0 and comes to [`PORTS`].
pub(crate) fn open(
    index: u32,
    pci_address: u32,
    vectors: &'static [u16],
) -> Result<(MsixTransport, EventPort), OpenError> {
    let config = ConfigSpace { device: index };
    let mut root = PciRoot::new(config);
    let function = DeviceFunction {
        bus: (pci_address >> 8) as u8,
        device: (pci_address >> 3) as u8 & 0x1f,
        function: pci_address as u8 & 7,
    };
    root.set_command(function, Command::MEMORY_SPACE);
    map_bars(&mut root, function)?;
    let inner = PciTransport::new::<DomainMemory, _>(&mut root, function).map_err(OpenError::Transport)?;
    let mut transport = MsixTransport::new::<DomainMemory, _>(inner, &mut root, &config, function, vectors)
        .ok_or(OpenError::Transport(VirtioPciError::MissingCommonConfig))?;
    reset(&mut transport)?;
    root.set_command(function, Command::MEMORY_SPACE | Command::BUS_MASTER);
    let interrupt = interrupt::bind(pci_address, 0).map_err(OpenError::Interrupt)?;
    interrupt.join(&PORTS);
    Ok((transport, interrupt))
}

/// Resets a device that an earlier driver may have left in the midst of its work: not before it has forgotten that
/// driver's memory, which may be anybody's by now, may it become a bus master.
fn reset(transport: &mut MsixTransport) -> Result<(), OpenError> {
    transport.set_status(DeviceStatus::empty());
    let forgotten = (0..RESET_LOOKS).any(|_| transport.get_status().is_empty());
    if forgotten { Ok(()) } else { Err(OpenError::Device) }
}

/// Maps each memory BAR that we may map; that of the interrupt table is the hypervisor's.
fn map_bars(root: &mut PciRoot<ConfigSpace>, function: DeviceFunction) -> Result<(), OpenError> {
    let bars = root.bars(function).map_err(|error| OpenError::Transport(error.into()))?;
    let mut last = Err(OpenError::Registers(hypercall_abi::Errno::NoDev));
    for (address, size) in bars.iter().flatten().filter_map(|bar| bar.memory_address_size()) {
        if address == 0 || size == 0 {
            continue;
        }
        match hal::map_registers(address, size) {
            Ok(()) => last = Ok(()),
            Err(errno) if last.is_err() => last = Err(OpenError::Registers(errno)),
            Err(_) => {}
        }
    }
    last
}
