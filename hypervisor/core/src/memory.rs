//! Machine memory as the core sees it: words in and out, by value.
//! It is one small trait so that tests can put a hostile memory under the same code that the machine runs.

use hypercall_abi::Mfn;

/// A byte's place in machine memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineAddress(pub u64);

impl MachineAddress {
    /// The address `offset` bytes into a frame; `offset` is below the size of a page.
    #[must_use]
    pub const fn in_frame(mfn: Mfn, offset: u64) -> Self {
        Self(mfn.address() | offset)
    }

    /// The frame that holds the byte.
    #[must_use]
    pub const fn frame(self) -> Mfn {
        Mfn::containing(self.0)
    }
}

/// Machine memory. Callers pass frames that the frame table knows as RAM, and never cross a frame's end.
///
/// Guests run between calls and other processors may run during them, so no reference into memory is ever
/// made, and single words are read and written whole.
pub trait MachineMemory {
    /// Reads an aligned word.
    fn load(&self, at: MachineAddress) -> u64;
    /// Writes an aligned word.
    fn store(&mut self, at: MachineAddress, value: u64);
    /// Sets bits of an aligned word; returns the word as it was.
    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64;
    /// Keeps only `bits` of an aligned word; returns the word as it was.
    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64;
    /// Replaces an aligned word if it is `old`.
    ///
    /// # Errors
    /// The word that was there instead.
    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64>;
    /// Copies bytes out.
    fn read(&self, at: MachineAddress, into: &mut [u8]);
    /// Copies bytes in.
    fn write(&mut self, at: MachineAddress, from: &[u8]);
    /// Copies within memory; the two ranges are in different frames or do not overlap.
    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize);
    /// Fills a frame with zeros.
    fn zero_frame(&mut self, frame: Mfn);
}
