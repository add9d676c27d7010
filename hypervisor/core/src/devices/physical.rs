//! Real PCI functions in the hands of a driver domain: assignment, configuration space, interrupts.
//! The domain drives the device; where its interrupts go and which frames it may map is decided here.

use alloc::vec::Vec;

use hypercall_abi::device::{DeviceKind, NO_DISK};
use hypercall_abi::extension::PciConfig;
use hypercall_abi::physdev::{Eoi, MapPirq, MapPirqType, PhysdevOp, SetIopl, UnmapPirq};
use hypercall_abi::{DomId, Errno, Port};

use super::directory::change;
use crate::call::Call;
use crate::config::Device;
use crate::dispatch::Arguments;
use crate::effects::Todo;
use crate::events;
use crate::frames::Extent;
use crate::machine::{Machine, PciAddress};
use crate::pci::{ConfigSpace, Function};
use crate::trace::Record;
use crate::world::World;

/// Interrupts that devices can have in all: what vectors there are for them.
const PIRQS_MAX: usize = 96;

/// A PCI function that can be assigned, and to whom it is.
#[derive(Debug)]
pub(super) struct Assigned {
    space: ConfigSpace,
    owner: Option<DomId>,
}

impl Assigned {
    pub(super) fn new(function: Function) -> Self {
        Self { space: ConfigSpace::new(function), owner: None }
    }
}

/// An interrupt of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pirq {
    owner: DomId,
    device: PciAddress,
    entry: u16,
    port: Option<Port>,
}

/// What the machine has to do about a device's interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRequest {
    /// Send an MSI-X entry's messages as interrupt `pirq`.
    Route {
        /// The function.
        device: PciAddress,
        /// Entry of its table.
        entry: u16,
        /// The interrupt.
        pirq: u32,
    },
    /// Mask an MSI-X entry.
    Unroute {
        /// The function.
        device: PciAddress,
        /// Entry of its table.
        entry: u16,
        /// The interrupt that it was.
        pirq: u32,
    },
}

/// Assigns the first free function that a device of the configuration describes, and enters it in the directory.
/// Without one the entry stays empty, and the log names what is missing.
pub(crate) fn assign<M: Machine>(world: &mut World, m: &mut M, id: DomId, index: u32) {
    let Some(domain) = world.domains.get_mut(id) else { return };
    let device = usize::try_from(index).ok().and_then(|index| domain.config.devices.get(index));
    let Some(Device::Pci { vendor, device, slot, disk }) = device else { return };
    let (slot, disk) = (*slot, disk.unwrap_or(NO_DISK));
    // Bus 0 of the first segment, and no other function than the first.
    let fits = |address: PciAddress| slot.is_none_or(|slot| address.raw() == u32::from(slot) << 3);
    let wanted = (u32::from(*device) << 16) | u32::from(*vendor);
    let free = world.devices.functions.iter_mut().find(|assigned| {
        let function = assigned.space.function();
        assigned.owner.is_none() && function.id == wanted && fits(function.address)
    });
    let Some(assigned) = free else {
        let text = alloc::format!("{}: no PCI device {vendor:04x}:{device:04x} in this machine", domain.name);
        world.output.log(&text);
        return;
    };
    assigned.owner = Some(id);
    let function = *assigned.space.function();
    assigned.space = ConfigSpace::new(function);
    for (first, end) in function.mappable() {
        let count = u32::try_from(end.0.saturating_sub(first.0)).unwrap_or(0);
        domain.address_space.permit_device(Extent { first, count });
    }
    change(world, m, id, index, |entry| {
        entry.kind = DeviceKind::Pci.raw();
        entry.pci_address = function.address.raw();
        entry.pci_id = function.id;
        entry.disk = disk;
    });
}

/// Takes a domain's devices and interrupts back. The devices stop before anything else of the domain goes, so that
/// none writes to memory that is already somebody else's.
pub(crate) fn release<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    for assigned in world.devices.functions.iter_mut().filter(|assigned| assigned.owner == Some(id)) {
        assigned.owner = None;
        assigned.space.function().stop(m);
    }
    for number in 0..u32::try_from(world.devices.pirqs.len()).unwrap_or(0) {
        let _ = unmap(world, id, number);
    }
}

fn slot(world: &mut World, pirq: u32) -> Option<&mut Option<Pirq>> {
    world.devices.pirqs.get_mut(usize::try_from(pirq).ok()?)
}

/// A device raised an interrupt.
pub(crate) fn interrupt<M: Machine>(world: &mut World, m: &mut M, pirq: u32) {
    let Some(Some(Pirq { owner, port: Some(port), .. })) = slot(world, pirq).copied() else { return };
    if world.trace.is_on() {
        let pirq = u16::try_from(pirq).unwrap_or(u16::MAX);
        world.trace.put(m, owner, &Record::DeviceInterrupt { pirq });
    }
    events::raise(world, m, owner, port);
}

/// The caller's interrupt with this number, if it may be bound to a port.
///
/// # Errors
/// [`Errno::Inval`] if it is not the caller's, [`Errno::Exist`] if it is bound.
pub fn bindable_pirq(world: &mut World, caller: DomId, number: u32) -> Result<u16, Errno> {
    let short = u16::try_from(number).map_err(|_| Errno::Inval)?;
    match slot(world, number) {
        Some(Some(Pirq { owner, port: None, .. })) if *owner == caller => Ok(short),
        Some(Some(Pirq { owner, .. })) if *owner == caller => Err(Errno::Exist),
        _ => Err(Errno::Inval),
    }
}

/// Binds an interrupt to a port of its owner.
pub fn bind_pirq(world: &mut World, number: u16, port: Port) {
    if let Some(Some(pirq)) = slot(world, u32::from(number)) {
        pirq.port = Some(port);
    }
}

/// Unbinds an interrupt from its owner's port.
pub fn unbind_pirq(world: &mut World, id: DomId, number: u16) {
    if let Some(Some(pirq)) = slot(world, u32::from(number))
        && pirq.owner == id
    {
        pirq.port = None;
    }
}

/// `physdev_op(op, argument)`.
///
/// # Errors
/// [`Errno::NoSys`] for an unknown operation, [`Errno::Fault`] for a bad pointer; by operation: [`Errno::NoDev`] for
/// a device that is not the caller's, [`Errno::Inval`] for what it does not have, [`Errno::NoSpc`] without a free number.
pub fn physdev_op<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [op, at, ..] = args;
    match u32::try_from(op).ok().and_then(PhysdevOp::from_raw).ok_or(Errno::NoSys)? {
        PhysdevOp::SetIopl => {
            let SetIopl { iopl } = call.read(at)?;
            if iopl > 3 {
                return Err(Errno::Inval);
            }
        }
        PhysdevOp::Eoi => {
            let Eoi { irq } = call.read(at)?;
            match slot(call.world, irq) {
                Some(Some(pirq)) if pirq.owner == call.caller => {}
                _ => return Err(Errno::Inval),
            }
        }
        PhysdevOp::MapPirq => map(call, at)?,
        PhysdevOp::UnmapPirq => {
            let UnmapPirq { domid, pirq, .. } = call.read(at)?;
            let id = call.own_domain(domid)?;
            unmap(call.world, id, pirq)?;
        }
    }
    Ok(0)
}

fn map<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: MapPirq = call.read(at)?;
    let caller = call.own_domain(argument.domid)?;
    let segment = match MapPirqType::from_raw(argument.kind).ok_or(Errno::Inval)? {
        MapPirqType::Msi => 0,
        MapPirqType::MsiSeg => argument.bus >> 16,
    };
    let device = PciAddress {
        segment: u16::try_from(segment).map_err(|_| Errno::Inval)?,
        bus: u8::try_from(argument.bus & 0xffff).map_err(|_| Errno::Inval)?,
        devfn: u8::try_from(argument.devfn).map_err(|_| Errno::Inval)?,
    };
    let devices = &mut call.world.devices;
    let assigned = devices
        .functions
        .iter()
        .find(|assigned| assigned.owner == Some(caller) && assigned.space.function().address == device)
        .ok_or(Errno::NoDev)?;
    let msix = assigned.space.function().msix.ok_or(Errno::Inval)?;
    let entry = u16::try_from(argument.entry_nr).map_err(|_| Errno::Inval)?;
    if entry >= msix.entries {
        return Err(Errno::Inval);
    }
    if devices.pirqs.iter().flatten().any(|pirq| pirq.device == device && pirq.entry == entry) {
        return Err(Errno::Exist);
    }
    let free = devices.pirqs.iter().position(Option::is_none).unwrap_or(devices.pirqs.len());
    let number = u32::try_from(free).map_err(|_| Errno::NoSpc)?;
    if free >= PIRQS_MAX || (argument.pirq != u32::MAX && argument.pirq != number) {
        return Err(Errno::NoSpc);
    }
    if free == devices.pirqs.len() {
        devices.pirqs.try_reserve(1).map_err(|_| Errno::NoMem)?;
    }
    devices.requests.try_reserve(1).map_err(|_| Errno::NoMem)?;
    call.write(at, &MapPirq { pirq: number, ..argument })?;
    let devices = &mut call.world.devices;
    if free == devices.pirqs.len() {
        devices.pirqs.push(None);
    }
    if let Some(slot) = devices.pirqs.get_mut(free) {
        *slot = Some(Pirq { owner: caller, device, entry, port: None });
    }
    devices.requests.push(DeviceRequest::Route { device, entry, pirq: number });
    call.world.effects.todo |= Todo::DEVICES;
    Ok(())
}

/// Takes an interrupt from its owner.
fn unmap(world: &mut World, id: DomId, number: u32) -> Result<(), Errno> {
    let Some(slot) = slot(world, number) else { return Err(Errno::Inval) };
    let Pirq { device, entry, port, .. } = slot.filter(|pirq| pirq.owner == id).ok_or(Errno::Inval)?;
    if port.is_some() {
        return Err(Errno::Busy);
    }
    *slot = None;
    let requests: &mut Vec<DeviceRequest> = &mut world.devices.requests;
    if requests.try_reserve(1).is_ok() {
        requests.push(DeviceRequest::Unroute { device, entry, pirq: number });
    }
    world.effects.todo |= Todo::DEVICES;
    Ok(())
}

/// `pci_config(&argument)`: configuration space of a device in the caller's directory, through the filter.
///
/// # Errors
/// [`Errno::NoDev`] if the entry is no PCI device, else as [`ConfigSpace::read`] and [`ConfigSpace::write`].
#[cold]
#[inline(never)]
pub fn pci_config<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<u64, Errno> {
    let argument: PciConfig = call.read(at)?;
    let entry = usize::try_from(argument.device).ok();
    let entry = entry.and_then(|index| call.domain().ok()?.directory.entries.get(index));
    let entry = entry.filter(|entry| entry.kind == DeviceKind::Pci.raw()).ok_or(Errno::NoDev)?;
    let address = entry.pci_address;
    let caller = call.caller;
    let functions = &mut call.world.devices.functions;
    let assigned = functions
        .iter_mut()
        .find(|assigned| assigned.owner == Some(caller) && assigned.space.function().address.raw() == address)
        .ok_or(Errno::NoDev)?;
    if argument.write != 0 {
        assigned.space.write(call.memory, argument.offset, argument.width, argument.value)?;
    } else {
        let value = assigned.space.read(call.memory, argument.offset, argument.width)?;
        call.write(at, &PciConfig { value, ..argument })?;
    }
    Ok(0)
}
