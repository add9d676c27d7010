//! A machine without devices.

use hypercall_abi::Mfn;
use hypervisor_core::fake::FakeMemory;
use hypervisor_core::machine::{Machine, PciAddress, Storage};
use hypervisor_core::memory::{MachineAddress, MachineMemory};
use hypervisor_core::ring::Ring;
use hypervisor_core::time::Time;

/// Memory and a clock.
pub(crate) struct FakeMachine {
    /// The memory.
    pub(crate) memory: FakeMemory,
    /// The time.
    pub(crate) now: Time,
    /// The root that the processor uses: the hypervisor stands on it.
    pub(crate) root: Option<Mfn>,
}

impl FakeMachine {
    fn assert_stands(&self, at: MachineAddress, keeps: bool) {
        let slot = (0x800..0x880).contains(&(at.0 & 0xfff));
        assert!(
            Some(at.frame()) != self.root || keeps || !slot,
            "the root in use loses the hypervisor at {at:?}"
        );
    }
}

impl MachineMemory for FakeMachine {
    fn load(&self, at: MachineAddress) -> u64 {
        self.memory.load(at)
    }
    fn store(&mut self, at: MachineAddress, value: u64) {
        self.assert_stands(at, value == self.memory.load(at));
        self.memory.store(at, value);
    }
    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64 {
        self.memory.fetch_or(at, bits)
    }
    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64 {
        self.memory.fetch_and(at, bits)
    }
    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64> {
        self.memory.compare_exchange(at, old, new)
    }
    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        self.memory.read(at, into);
    }
    fn write(&mut self, at: MachineAddress, from: &[u8]) {
        self.memory.write(at, from);
    }
    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        if bytes > 0 {
            self.assert_stands(MachineAddress::in_frame(to.frame(), 0x800), false);
        }
        self.memory.copy(to, from, bytes);
    }
    fn zero_frame(&mut self, frame: Mfn) {
        self.assert_stands(MachineAddress::in_frame(frame, 0x800), false);
        self.memory.zero_frame(frame);
    }
}

impl Machine for FakeMachine {
    fn now(&self) -> Time {
        self.now
    }
    fn flush_address(&mut self, _: u64) {}
    fn load_root(&mut self, _: Ring, root: Mfn) {
        self.root = Some(root);
    }
    fn pci_read(&mut self, _: PciAddress, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn pci_write(&mut self, _: PciAddress, _: u16, _: u8, _: u32) {}
}

impl Storage for FakeMachine {}
