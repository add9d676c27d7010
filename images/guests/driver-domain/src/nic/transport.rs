//! The PCI transport with message-signalled interrupts, which the virtio driver leaves to us.
//! Everything but a queue's interrupt is passed on.

use core::ptr::NonNull;

use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Hal, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Type of the capability that locates the common configuration.
const COMMON_CFG: u8 = 1;
/// Bytes into the common configuration of `queue_select`, a 16-bit register.
const QUEUE_SELECT: usize = 22;
/// Bytes into the common configuration of `queue_msix_vector`, a 16-bit register.
const QUEUE_MSIX_VECTOR: usize = 26;
/// In `queue_msix_vector`: no interrupt.
pub(super) const NO_VECTOR: u16 = 0xffff;

/// A transport that gives each queue its entry of the MSI-X table.
pub(super) struct MsixTransport {
    inner: PciTransport,
    common: NonNull<u8>,
    /// Entry for each queue, by its number; others get none.
    vectors: &'static [u16],
}

impl MsixTransport {
    /// Adds interrupts to `inner`; `None` when the device has no common configuration.
    pub(super) fn new<H: Hal, C: ConfigurationAccess>(
        inner: PciTransport,
        root: &mut PciRoot<C>,
        config: &C,
        function: DeviceFunction,
        vectors: &'static [u16],
    ) -> Option<Self> {
        let capability = root.capabilities(function).find(|capability| {
            capability.id == PCI_CAP_ID_VNDR && (capability.private_header >> 8) as u8 == COMMON_CFG
        })?;
        let bar = config.read_word(function, capability.offset + 4) as u8;
        let offset = config.read_word(function, capability.offset + 8);
        let length = config.read_word(function, capability.offset + 12);
        let (base, _) = root.bar_info(function, bar).ok()??.memory_address_size()?;
        // SAFETY: the region lies in a BAR, as the device itself says.
        let common = unsafe { H::mmio_phys_to_virt(base + u64::from(offset), length as usize) };
        Some(Self { inner, common, vectors })
    }

    fn write_common(&mut self, register: usize, value: u16) {
        // SAFETY: the common configuration is 56 bytes long, mapped, and these registers lie in it.
        let register = unsafe { self.common.byte_add(register) };
        // SAFETY: as above; device registers are written in one piece.
        unsafe { register.cast::<u16>().write_volatile(value) };
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
        self.write_common(QUEUE_SELECT, queue);
        self.write_common(QUEUE_MSIX_VECTOR, vector);
        self.inner.queue_set(queue, size, descriptors, driver, device);
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
    fn notify(&mut self, queue: u16) {
        self.inner.notify(queue);
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
