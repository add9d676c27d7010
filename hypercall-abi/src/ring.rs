//! The rules of Xen's shared rings, on plain numbers.

/// Bytes of indices before the first entry of a ring.
pub const HEADER_BYTES: usize = 64;
