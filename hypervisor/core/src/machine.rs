//! The hardware as the core sees it: memory, the clock, configuration space and the trace's storage.
//! It is one trait so that the core runs under a fake on the host; everything else the machine does by itself or is
//! told to in [`crate::effects::Effects`].

use core::fmt;

use hypercall_abi::{DomId, Mfn};

use crate::memory::MachineMemory;
use crate::ring::Ring;
use crate::time::{Time, TimeScale};
pub use crate::trace::Storage;

/// Where a PCI function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// PCI segment.
    pub segment: u16,
    /// Bus within the segment.
    pub bus: u8,
    /// Device in bits 3 to 7, function in bits 0 to 2.
    pub devfn: u8,
}

impl PciAddress {
    /// The number that guests see: segment, bus, device and function from the top.
    #[must_use]
    pub fn raw(self) -> u32 {
        (u32::from(self.segment) << 16) | (u32::from(self.bus) << 8) | u32::from(self.devfn)
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, devfn } = *self;
        write!(f, "{segment:04x}:{bus:02x}:{:02x}.{}", devfn >> 3, devfn & 7)
    }
}

/// What struck the processor wherever it was, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strikes {
    /// Non-maskable interrupts.
    pub nmis: u64,
    /// Machine checks after which all went on.
    pub machine_checks: u64,
}

/// What the machine does for the core while the core decides. Time is read through it rather than passed, because
/// most hypercalls need no clock and the trace needs two readings of it.
pub trait Machine: MachineMemory + Storage {
    /// System time; never goes backwards.
    fn now(&self) -> Time;
    /// Bytes of the hypervisor's heap that are in use; 0 where nobody counts them.
    fn heap_used(&self) -> u64 {
        0
    }
    /// Ticks of the processor's clock that the hypervisor itself took while a domain had the processor; `None` where
    /// nobody counts them.
    fn hypervisor_ticks(&self, _id: DomId) -> Option<u64> {
        None
    }
    /// Forgets at once what the processor remembers of an address under the loaded root. Everything that is flushed as
    /// a whole goes by [`crate::effects::Todo::FLUSH_TLB`]; one address is too common to take the long way back.
    fn flush_address(&mut self, address: u64);
    /// Loads a top-level table of who has the processor, whose kernel is in `ring`, at once. A root that is left may become anything in the same
    /// call, and the hypervisor itself stands on the one that is loaded.
    fn load_root(&mut self, ring: Ring, root: Mfn);
    /// A domain is about to get the processor, with this top-level table: that may be loaded at once, so that the processor looks
    /// up what is done for the domain once, and not before the change and after it.
    fn load_root_ahead(&mut self, _ring: Ring, _root: Mfn) {}
    /// Loads the hypervisor's own top-level table: that of a domain, which was kept while nobody had the processor, may go.
    fn leave_root(&mut self) {}
    /// Reads 1, 2 or 4 bytes of configuration space at a multiple of `width`.
    fn pci_read(&mut self, device: PciAddress, offset: u16, width: u8) -> u32;
    /// Writes 1, 2 or 4 bytes of configuration space at a multiple of `width`.
    fn pci_write(&mut self, device: PciAddress, offset: u16, width: u8, value: u32);
    /// What the processor says of itself in a leaf: EAX, EBX, ECX, EDX. Nothing, if nobody says otherwise.
    fn cpuid(&self, _leaf: u32, _subleaf: u32) -> [u32; 4] {
        [0; 4]
    }
    /// The bases of FS and GS as they are in the processor, where guests change them by themselves; `None` where
    /// there is no processor to ask.
    fn segment_bases(&self) -> Option<(u64, u64)> {
        None
    }
    /// NMIs and machine checks survived so far; none where nobody counts them.
    fn strikes(&self) -> Strikes {
        Strikes::default()
    }
    /// How the ticks of the trace's clock become system time; as nanoseconds if nothing else is said.
    fn trace_scale(&self) -> TimeScale {
        TimeScale { origin: 0, multiplier: 1 << 31, shift: 1 }
    }
}
