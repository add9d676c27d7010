//! The PCI transport with message-signalled interrupts and gathered doorbells, which the virtio driver leaves to us.
//! Everything else is passed on.

use alloc::rc::Rc;
use core::cell::Cell;
use core::ptr::NonNull;

use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Hal, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Type of the capability that locates the common configuration.
const COMMON_CFG: u8 = 1;
/// Type of the capability that locates the doorbells.
const NOTIFY_CFG: u8 = 2;
/// Bytes into the common configuration of its 16-bit registers.
const QUEUE_SELECT: usize = 22;
const QUEUE_MSIX_VECTOR: usize = 26;
const QUEUE_NOTIFY_OFF: usize = 30;
/// In `queue_msix_vector`: no interrupt.
pub(crate) const NO_VECTOR: u16 = 0xffff;
/// The most queues of a device here: a network device without extras has two.
const QUEUES: usize = 2;

/// A run of device registers.
#[derive(Clone, Copy, Debug)]
struct Registers {
    start: NonNull<u8>,
    bytes: usize,
    /// Of the doorbells' capability: bytes from one to the next.
    multiplier: usize,
}

impl Registers {
    /// Finds the registers that a capability of the device locates.
    fn find<H: Hal, C: ConfigurationAccess>(
        root: &mut PciRoot<C>,
        config: &C,
        function: DeviceFunction,
        kind: u8,
    ) -> Option<Self> {
        let capability = root.capabilities(function).find(|capability| {
            capability.id == PCI_CAP_ID_VNDR && (capability.private_header >> 8) as u8 == kind
        })?;
        let word = |at: u8| config.read_word(function, capability.offset + at);
        let (bar, offset, bytes) = (word(4) as u8, word(8), word(12) as usize);
        let multiplier = if kind == NOTIFY_CFG { word(16) as usize } else { 0 };
        let (base, size) = root.bar_info(function, bar).ok()??.memory_address_size()?;
        if u64::from(offset) + bytes as u64 > size {
            return None;
        }
        // SAFETY: the region lies in a BAR, as was just checked.
        let start = unsafe { H::mmio_phys_to_virt(base + u64::from(offset), bytes) };
        Some(Self { start, bytes, multiplier })
    }

    /// A 16-bit register; `None` outside the run.
    fn register(self, offset: usize) -> Option<NonNull<u16>> {
        if offset + 2 > self.bytes || !offset.is_multiple_of(2) {
            return None;
        }
        // SAFETY: within the run, as was just checked.
        Some(unsafe { self.start.byte_add(offset) }.cast())
    }

    fn write(self, offset: usize, value: u16) {
        if let Some(register) = self.register(offset) {
            // SAFETY: a mapped device register, written in one piece.
            unsafe { register.write_volatile(value) };
        }
    }

    fn read(self, offset: usize) -> u16 {
        // SAFETY: a mapped device register, read in one piece.
        self.register(offset).map_or(0, |register| unsafe { register.read_volatile() })
    }
}

/// Doorbells that are due, and where they are.
#[derive(Debug)]
pub(crate) struct Doorbells {
    due: Cell<[bool; QUEUES]>,
    offsets: Cell<[usize; QUEUES]>,
    registers: Registers,
}

impl Doorbells {
    fn note(&self, queue: u16) {
        let mut due = self.due.get();
        if let Some(due) = due.get_mut(usize::from(queue)) {
            *due = true;
        }
        self.due.set(due);
    }

    /// Rings each doorbell that is due, once.
    pub(crate) fn ring(&self) {
        let due = self.due.replace([false; QUEUES]);
        for (queue, (due, offset)) in (0..).zip(due.into_iter().zip(self.offsets.get())) {
            if due {
                self.registers.write(offset, queue);
            }
        }
    }
}

/// A transport that gives each queue its entry of the MSI-X table, and rings doorbells when it is told to.
pub(crate) struct MsixTransport {
    inner: PciTransport,
    common: Registers,
    doorbells: Rc<Doorbells>,
    /// Entry for each queue, by its number; others get none.
    vectors: &'static [u16],
}

impl MsixTransport {
    /// Adds interrupts and doorbells to `inner`; `None` when the device does not say where they are.
    pub(crate) fn new<H: Hal, C: ConfigurationAccess>(
        inner: PciTransport,
        root: &mut PciRoot<C>,
        config: &C,
        function: DeviceFunction,
        vectors: &'static [u16],
    ) -> Option<Self> {
        let common = Registers::find::<H, C>(root, config, function, COMMON_CFG)?;
        let registers = Registers::find::<H, C>(root, config, function, NOTIFY_CFG)?;
        let doorbells = Rc::new(Doorbells {
            due: Cell::new([false; QUEUES]),
            offsets: Cell::new([0; QUEUES]),
            registers,
        });
        Some(Self { inner, common, doorbells, vectors })
    }

    /// The doorbells, to be rung by whoever knows that a turn is over.
    pub(crate) fn doorbells(&self) -> Rc<Doorbells> {
        self.doorbells.clone()
    }
}

impl Transport for MsixTransport {
    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        let vector = self.vectors.get(usize::from(queue)).copied().unwrap_or(NO_VECTOR);
        self.common.write(QUEUE_SELECT, queue);
        self.common.write(QUEUE_MSIX_VECTOR, vector);
        let offset = usize::from(self.common.read(QUEUE_NOTIFY_OFF)) * self.doorbells.registers.multiplier;
        let mut offsets = self.doorbells.offsets.get();
        if let Some(place) = offsets.get_mut(usize::from(queue)) {
            *place = offset;
        }
        self.doorbells.offsets.set(offsets);
        self.inner.queue_set(queue, size, descriptors, driver, device);
    }

    fn notify(&mut self, queue: u16) {
        self.doorbells.note(queue);
    }

    fn device_type(&self) -> DeviceType {
        self.inner.device_type()
    }
    fn read_device_features(&mut self) -> u64 {
        self.inner.read_device_features()
    }
    fn write_driver_features(&mut self, driver_features: u64) {
        self.inner.write_driver_features(driver_features);
    }
    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.inner.max_queue_size(queue)
    }
    fn get_status(&self) -> DeviceStatus {
        self.inner.get_status()
    }
    fn set_status(&mut self, status: DeviceStatus) {
        self.inner.set_status(status);
    }
    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        self.inner.set_guest_page_size(guest_page_size);
    }
    fn requires_legacy_layout(&self) -> bool {
        self.inner.requires_legacy_layout()
    }
    fn queue_unset(&mut self, queue: u16) {
        self.inner.queue_unset(queue);
    }
    fn queue_used(&mut self, queue: u16) -> bool {
        self.inner.queue_used(queue)
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.inner.ack_interrupt()
    }
    fn read_config_generation(&self) -> u32 {
        self.inner.read_config_generation()
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        self.inner.read_config_space(offset)
    }
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        self.inner.write_config_space(offset, value)
    }
}
