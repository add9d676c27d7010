//! Machine memory through the direct map.
//! This is the one place that turns a machine address into a pointer.

use core::sync::atomic::AtomicU64;

use crate::layout::DIRECT_BASE;

/// The direct map's pointer to a machine address.
pub(crate) const fn pointer(address: u64) -> *mut u8 {
    (DIRECT_BASE + address) as *mut u8
}

/// An aligned word of machine memory.
///
/// # Safety
/// The word lies in memory that the direct map covers, and no Rust reference other than to atomics covers it.
pub(crate) unsafe fn word(address: u64) -> &'static AtomicU64 {
    // SAFETY: the caller vouches for the address; the direct map never goes away.
    unsafe { AtomicU64::from_ptr(pointer(address).cast()) }
}

/// Bytes of machine memory.
///
/// # Safety
/// The direct map covers the bytes, and nobody writes them as long as the slice is used.
pub(crate) unsafe fn bytes(address: u64, length: usize) -> &'static [u8] {
    // SAFETY: the caller vouches for mapping and stillness; the direct map never goes away.
    unsafe { core::slice::from_raw_parts(pointer(address), length) }
}

/// Bytes of machine memory to write.
///
/// # Safety
/// The direct map covers the bytes, and the caller gives nobody else access to them.
pub(crate) unsafe fn bytes_mut(address: u64, length: usize) -> &'static mut [u8] {
    // SAFETY: the caller vouches for mapping and exclusiveness; the direct map never goes away.
    unsafe { core::slice::from_raw_parts_mut(pointer(address), length) }
}
