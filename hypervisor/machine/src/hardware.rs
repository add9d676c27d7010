//! The hardware as the core sees it ([`Machine`]), and what the machine itself keeps of it.
//! All of it is behind the one lock, beside the world.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering, Ordering::Relaxed};

use hypercall_abi::{DomId, Mfn};
use hypervisor_core::machine::{Machine, PciAddress, Storage, Strikes};
use hypervisor_core::memory::{MachineAddress, MachineMemory};
use hypervisor_core::ring::Ring;
use hypervisor_core::time::{Time, TimeScale};

use crate::account::Account;
use crate::apic::local::LocalApic;
use crate::clock::Clock;
use crate::cpu;
use crate::cpu::control::{self, Features};
use crate::cpu::string;
use crate::heap;
use crate::paging::direct;
use crate::pci::{Config, MessageTable};
use crate::per_cpu::PER_CPU;

/// The hardware.
#[derive(Debug)]
pub(crate) struct Hardware {
    /// What the hypervisor takes of everybody's time.
    pub(crate) account: Account,
    /// System time.
    pub(crate) clock: Clock,
    /// The processor's interrupt controller.
    pub(crate) apic: LocalApic,
    /// Configuration space.
    pub(crate) config: Config,
    /// Message interrupts of the devices that have them.
    pub(crate) message_tables: Vec<MessageTable>,
    /// Where the trace is kept.
    pub(crate) trace: &'static [AtomicU64],
    /// Features of the processor.
    pub(crate) features: Features,
    /// The hypervisor's own root, without a guest.
    pub(crate) root: u64,
    /// When the timer will fire; [`Time::NEVER`] if it has or was stopped.
    pub(crate) timer: Time,
    /// For whose kernel's ring the processor's tables are loaded.
    pub(crate) ring: Ring,
    /// Whose kernel could write to the entry area's stacks last; number, incarnation and shared page make it one domain.
    pub(crate) area_user: Option<(DomId, u32, Mfn)>,
    /// Whether the base of GS that was loaded is one of processes alone.
    pub(crate) user_gs: bool,
    /// The root that was loaded for who is about to get the processor.
    pub(crate) root_ahead: Option<u64>,
}

/// A word of RAM.
#[inline]
fn word(at: MachineAddress) -> &'static AtomicU64 {
    // SAFETY: the core passes addresses in frames of its table, which are RAM outside the hypervisor, all of it in the
    // direct map; they are reached by atomics and string instructions alone.
    unsafe { direct::word(at.0) }
}

impl MachineMemory for Hardware {
    #[inline]
    fn load(&self, at: MachineAddress) -> u64 {
        word(at).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&mut self, at: MachineAddress, value: u64) {
        word(at).store(value, Ordering::Release);
    }

    #[inline]
    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64 {
        word(at).fetch_or(bits, Ordering::SeqCst)
    }

    #[inline]
    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64 {
        word(at).fetch_and(bits, Ordering::SeqCst)
    }

    #[inline]
    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64> {
        word(at).compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).map(drop)
    }

    #[inline]
    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        // SAFETY: RAM in the direct map, as for `word`; `into` is the caller's own.
        unsafe { string::copy(into.as_mut_ptr(), direct::pointer(at.0), into.len()) };
    }

    #[inline]
    fn write(&mut self, at: MachineAddress, from: &[u8]) {
        // SAFETY: RAM in the direct map, as for `word`, to which no reference exists.
        unsafe { string::copy(direct::pointer(at.0), from.as_ptr(), from.len()) };
    }

    #[inline]
    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        // SAFETY: RAM in the direct map, as for `word`; the core passes ranges that do not overlap.
        unsafe { string::copy(direct::pointer(to.0), direct::pointer(from.0), bytes) };
    }

    fn zero_frame(&mut self, frame: Mfn) {
        // SAFETY: a whole frame of RAM in the direct map, as for `word`.
        unsafe { string::clear(direct::pointer(frame.address()).cast(), 512) };
    }
}

impl Machine for Hardware {
    #[inline]
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn heap_used(&self) -> u64 {
        heap::used() as u64
    }

    fn hypervisor_ticks(&self, id: DomId) -> Option<u64> {
        self.account.of(id)
    }

    #[inline]
    fn flush_address(&mut self, address: u64) {
        cpu::flush_address(address);
    }

    #[inline(always)]
    fn load_root(&mut self, ring: Ring, root: Mfn) {
        crate::switch::load_guest_root(ring, root.address());
    }

    #[inline(always)]
    fn load_root_ahead(&mut self, ring: Ring, root: Mfn) {
        // To, from and within ring 1 there is more to load than a root.
        let stays = ring == Ring::Three && self.ring == Ring::Three;
        self.root_ahead = stays.then_some(root.address());
        if let Some(root) = self.root_ahead {
            control::load_root(root);
        }
    }

    fn leave_root(&mut self) {
        self.root_ahead = None;
        control::load_root(self.root);
    }

    fn pci_read(&mut self, device: PciAddress, offset: u16, width: u8) -> u32 {
        self.config.read(device, offset, width)
    }

    fn pci_write(&mut self, device: PciAddress, offset: u16, width: u8, value: u32) {
        self.config.write(device, offset, width, value);
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        [answer.eax, answer.ebx, answer.ecx, answer.edx]
    }

    fn segment_bases(&self) -> Option<(u64, u64)> {
        Some(cpu::segments::save(self.features))
    }

    fn strikes(&self) -> Strikes {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        Strikes { nmis: count(&PER_CPU.nmis), machine_checks: count(&PER_CPU.machine_checks) }
    }

    fn trace_scale(&self) -> TimeScale {
        self.clock.scale()
    }
}

impl Storage for Hardware {
    #[inline]
    fn ticks(&self) -> u64 {
        cpu::tsc()
    }

    #[inline]
    fn trace_words(&self) -> &'static [AtomicU64] {
        self.trace
    }
}
