//! A machine frame as a page that two domains share.
//! There is one processor, so plain words are atomic.

use hypercall_abi::Mfn;
use hypercall_abi::ring::SharedPage;

use super::System;

/// A frame of a system's memory.
#[derive(Clone, Debug)]
pub struct CorePage {
    /// Whose memory it is in.
    pub system: System,
    /// The frame.
    pub mfn: Mfn,
}

impl SharedPage for CorePage {
    fn load(&self, offset: usize) -> u32 {
        let mut word = [0; 4];
        self.system.read(self.mfn, offset, &mut word);
        u32::from_le_bytes(word)
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        self.load(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        self.system.write(self.mfn, offset, &value.to_le_bytes());
    }
    fn store_release(&self, offset: usize, value: u32) {
        self.store(offset, value);
    }
    fn store_wide(&self, offset: usize, value: u64) {
        self.system.write(self.mfn, offset, &value.to_le_bytes());
    }
    fn fence(&self) {}
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        self.system.read(self.mfn, offset, into);
    }
    fn copy_in(&self, offset: usize, from: &[u8]) {
        self.system.write(self.mfn, offset, from);
    }
}
