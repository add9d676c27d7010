//! Registers of devices in memory: 32-bit words, read and written whole.
//! A window checks offsets, so that no device's driver needs a pointer.

use core::ptr::NonNull;

/// A mapped window of device registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    base: NonNull<u32>,
    bytes: usize,
}

// SAFETY: a window is an address of memory that stays mapped; accesses are single volatile instructions.
unsafe impl Send for Registers {}

impl Registers {
    /// A window.
    ///
    /// # Safety
    /// `bytes` bytes at `address`, a multiple of 4, are mapped for ever to device memory that the hypervisor alone drives.
    pub(super) unsafe fn new(address: u64, bytes: u64) -> Self {
        let base = NonNull::new(address as *mut u32).expect("the hypervisor maps nothing at 0");
        Self { base, bytes: bytes as usize }
    }

    /// Reads the register at a byte offset.
    ///
    /// # Panics
    /// If the offset lies outside the window, which is a bug of the driver.
    #[inline]
    pub(crate) fn read(&self, offset: usize) -> u32 {
        let register = self.at(offset);
        // SAFETY: the window is mapped, and the offset lies in it.
        unsafe { register.read_volatile() }
    }

    /// Writes the register at a byte offset.
    ///
    /// # Panics
    /// As [`Registers::read`].
    #[inline]
    pub(crate) fn write(&self, offset: usize, value: u32) {
        let register = self.at(offset);
        // SAFETY: the window is mapped, and the offset lies in it.
        unsafe { register.write_volatile(value) };
    }

    #[inline]
    fn at(&self, offset: usize) -> NonNull<u32> {
        assert!(offset.is_multiple_of(4) && offset < self.bytes, "no register at offset {offset:#x}");
        // SAFETY: the offset lies within the mapped window.
        unsafe { self.base.byte_add(offset) }
    }
}
