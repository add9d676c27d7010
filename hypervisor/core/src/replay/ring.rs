//! How a log lies on its way from the hypervisor to the host: the second half of the memory that they share.
//! Nothing of it may be lost, so the hypervisor waits while the ring is full.

/// What the host writes first, before the hypervisor starts, to ask for a log: `DENRECRD`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"DENRECRD");
/// Index of that word.
pub const ASKED: usize = 0;
/// Index of the bytes that the hypervisor has put.
pub const PUT: usize = 1;
/// Index of the bytes that the host has taken.
pub const TAKEN: usize = 2;
/// Index of the first word of bytes.
pub const DATA: usize = 8;

/// First word of the ring in so many words of shared memory.
#[must_use]
pub const fn first(words: usize) -> usize {
    words / 2
}
