//! Memory as the core left it and last saw it: what a replay has in place of a machine's.
//! What guests write shows here when the core reads it, so page tables, which only the core writes, are always right.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use hypercall_abi::Mfn;

use crate::memory::MachineAddress;

/// Words of a frame.
const WORDS: usize = 512;

/// Memory of which only the frames that were touched take room.
#[derive(Debug, Default)]
pub(super) struct Model {
    frames: BTreeMap<u64, Box<[u64; WORDS]>>,
}

impl Model {
    fn place(at: u64) -> usize {
        usize::try_from((at >> 3) & 511).unwrap_or(0)
    }

    pub(super) fn load(&self, at: MachineAddress) -> u64 {
        let frame = self.frames.get(&at.frame().0);
        frame.and_then(|frame| frame.get(Self::place(at.0))).copied().unwrap_or(0)
    }

    pub(super) fn store(&mut self, at: MachineAddress, word: u64) {
        let frame = self.frames.entry(at.frame().0).or_insert_with(|| Box::new([0; WORDS]));
        if let Some(slot) = frame.get_mut(Self::place(at.0)) {
            *slot = word;
        }
    }

    /// The byte in a word that an address means, as a shift.
    fn shift(at: u64) -> u32 {
        u32::try_from(at & 7).unwrap_or(0).saturating_mul(8)
    }

    pub(super) fn write(&mut self, at: MachineAddress, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(at.0..) {
            let word = self.load(MachineAddress(at));
            let cleared = word & !0xff_u64.wrapping_shl(Self::shift(at));
            self.store(MachineAddress(at), cleared | u64::from(*byte).wrapping_shl(Self::shift(at)));
        }
    }

    pub(super) fn read(&self, at: MachineAddress, into: &mut [u8]) {
        for (byte, at) in into.iter_mut().zip(at.0..) {
            let [low, ..] = self.load(MachineAddress(at)).wrapping_shr(Self::shift(at)).to_le_bytes();
            *byte = low;
        }
    }

    pub(super) fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        // No copy crosses a frame's end.
        let mut buffer = [0; WORDS * 8];
        if let Some(buffer) = buffer.get_mut(..bytes) {
            self.read(from, buffer);
            self.write(to, buffer);
        }
    }

    pub(super) fn zero(&mut self, frame: Mfn) {
        self.frames.remove(&frame.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_were_written_are_read_back_and_neighbours_stay() {
        let mut model = Model::default();
        model.store(MachineAddress(0x1000), u64::MAX);
        model.write(MachineAddress(0x1003), &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mut bytes = [0; 13];
        model.read(MachineAddress(0x1001), &mut bytes);
        assert_eq!(bytes, [0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0]);
        model.copy(MachineAddress(0x2005), MachineAddress(0x1003), 9);
        assert_eq!(model.load(MachineAddress(0x2008)), u64::from_le_bytes([4, 5, 6, 7, 8, 9, 0, 0]));
        model.zero(Mfn(1));
        assert_eq!(model.load(MachineAddress(0x1000)), 0);
    }
}
