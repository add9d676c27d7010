//! The device's interrupt: an entry of its MSI-X table, bound to an event channel.
//! The hypervisor writes the table; we only say which entry.

use guest_kernel::hypercall::raw;
use guest_kernel::ports::EventPort;
use hypercall_abi::physdev::{MapPirq, MapPirqType, PhysdevOp};
use hypercall_abi::{DomId, Errno, Hypercall};

/// Binds entry `entry` of the MSI-X table of the device at `pci_address` (as in the directory).
pub(super) fn bind(pci_address: u32, entry: u16) -> Result<EventPort, Errno> {
    let mut argument = MapPirq {
        domid: DomId::SELF.0,
        pad: 0,
        kind: MapPirqType::MsiSeg.raw(),
        index: u32::MAX,
        pirq: u32::MAX,
        bus: (pci_address >> 8) & 0xff | pci_address & 0xffff_0000,
        devfn: pci_address & 0xff,
        entry_nr: entry.into(),
        pad2: 0,
        table_base: 0,
    };
    // SAFETY: the argument is the structure that this operation reads and writes.
    let rax = unsafe {
        raw::call2::<{ Hypercall::PhysdevOp.raw() }>(
            PhysdevOp::MapPirq.raw().into(),
            (&raw mut argument) as u64,
        )
    };
    Errno::from_rax(rax)?;
    EventPort::pirq(argument.pirq)
}
