//! A world on the host: fake machine, made-up images, domains built by the real builder.
//! Tests of several modules need it, and it is where the recount is called after each action.

mod image;
mod word;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::Ordering;

use hypercall_abi::mmu::pte;
use hypercall_abi::{DomId, Errno, Mfn};

use crate::builder::{self, Built, Order, Share};
use crate::call::Call;
use crate::config;
use crate::domain::{Domain, State};
use crate::fake::FakeMemory;
use crate::frames::FrameTable;
use crate::guest_access;
use crate::machine::{Machine, PciAddress, Storage};
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::Progress;
use crate::reclaim;
use crate::recount;
use crate::ring::Ring;
use crate::time::{Time, TimeScale};
use crate::world::{Setup, World};

pub(crate) use image::{SHARED_PAGES, TestImage};
pub use word::Word;
pub(crate) use word::{Store, watched};

/// Where test images are linked.
pub(crate) const BASE: u64 = 0x40_0000;
/// Frames of a test domain: 1 MiB, the smallest that there is.
pub(crate) const PAGES: u64 = 256;
/// What stands in the hypervisor's slots of each root.
pub(crate) const SLOTS: [u64; 16] = [0x1063; 16];
/// The same where the guest's kernel is in ring 1.
pub(crate) const RING1_SLOTS: [u64; 16] = [0x2061, 0x3061, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Frames below this are the hypervisor's; the machine-to-physical table begins at frame 4.
const RESERVED: u64 = 16;

/// Words of the trace's storage: eight blocks.
pub(crate) const TRACE_WORDS: usize = 512 + 4096 + 8 * 512;

/// A machine without devices over some memory.
#[derive(Debug)]
pub(crate) struct FakeMachine<T> {
    pub(crate) memory: T,
    pub(crate) now: Time,
    /// ns that pass with each look at the clock, and those that have passed so.
    pub(crate) passing: Cell<(u64, u64)>,
    /// Words loaded so far.
    pub(crate) loads: Cell<u64>,
    /// The trace's storage, which is never given back.
    pub(crate) trace: &'static [Word],
    /// Addresses whose flush was asked for.
    pub(crate) flushed: Vec<u64>,
    /// The root that the processor uses. The hypervisor stands on it, so its slots there must stay.
    pub(crate) root: Option<Mfn>,
    /// How often a root was loaded for who was about to get the processor.
    pub(crate) loaded_ahead: u64,
}

impl<T> FakeMachine<T> {
    /// The trace as it is now.
    pub(crate) fn traced(&self) -> Vec<u64> {
        self.trace.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn assert_stands(&self, at: MachineAddress, keeps: bool) {
        let slots = 0x800..0x880;
        let stands = Some(at.frame()) != self.root || keeps || !slots.contains(&(at.0 & 0xfff));
        assert!(stands, "the root in use loses the hypervisor at {at:?}");
    }
}

impl<T: MachineMemory> MachineMemory for FakeMachine<T> {
    fn load(&self, at: MachineAddress) -> u64 {
        self.loads.set(self.loads.get() + 1);
        self.memory.load(at)
    }
    fn store(&mut self, at: MachineAddress, value: u64) {
        self.assert_stands(at, SLOTS.contains(&value));
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
        self.assert_stands(MachineAddress::in_frame(to.frame(), 0x800), false);
        self.memory.copy(to, from, bytes);
    }
    fn zero_frame(&mut self, frame: Mfn) {
        self.assert_stands(MachineAddress::in_frame(frame, 0x800), false);
        self.memory.zero_frame(frame);
    }
}

impl<T: MachineMemory> Machine for FakeMachine<T> {
    fn now(&self) -> Time {
        let (step, passed) = self.passing.get();
        self.passing.set((step, passed + step));
        self.now.after(passed)
    }
    fn flush_address(&mut self, address: u64) {
        self.flushed.push(address);
    }
    fn load_root(&mut self, _: Ring, root: Mfn) {
        self.root = Some(root);
    }
    fn load_root_ahead(&mut self, _: Ring, root: Mfn) {
        self.root = Some(root);
        self.loaded_ahead += 1;
    }
    fn leave_root(&mut self) {
        self.root = None;
    }
    fn pci_read(&mut self, _: PciAddress, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn pci_write(&mut self, _: PciAddress, _: u16, _: u8, _: u32) {}
}

impl<T: MachineMemory> Storage for FakeMachine<T> {
    fn ticks(&self) -> u64 {
        self.now.after(self.passing.get().1).0
    }
    fn trace_words(&self) -> &'static [Word] {
        self.trace
    }
}

/// A world with its machine.
#[derive(Debug)]
pub(crate) struct Fixture<T> {
    pub(crate) world: World,
    pub(crate) machine: FakeMachine<T>,
}

/// A configuration that says little.
fn config() -> config::Domain {
    config::Domain {
        name: "test".into(),
        image: "guests/test".into(),
        memory_bytes: PAGES << 12,
        weight: config::WEIGHT_DEFAULT,
        slice_us: None,
        ring: 3,
        command_line: "".into(),
        delivery: config::Delivery { policy: config::Policy::Batched, window_events: 0, window_us: 0 },
        on_crash: config::OnCrash::Destroy,
        control: false,
        devices: alloc::vec![],
    }
}

/// A frame table over `frames` frames of which all but the reserved ones are free.
pub(crate) fn frame_table(frames: u64) -> FrameTable {
    let mut table = FrameTable::new(frames).unwrap();
    table.add_ram(Mfn(RESERVED), frames - RESERVED);
    table.set_maps(SLOTS, MachineAddress(4 << 12));
    table
}

/// The usual order of a test domain.
pub(crate) fn order(owner: DomId) -> Order<'static> {
    Order {
        owner,
        ring: Ring::Three,
        memory_bytes: PAGES << 12,
        command_line: "colour=red",
        contiguous: false,
        directory_entries: 1,
        device_pages: 1,
        privileged: false,
    }
}

impl Fixture<FakeMemory> {
    /// A machine of `frames` frames (at most 4096 with this table).
    pub(crate) fn new(frames: u64) -> Self {
        let world = World::new(Setup {
            frames: frame_table(frames),
            machine_to_phys: MachineAddress(4 << 12),
            hypervisor_slots: SLOTS,
            ring1_slots: Some(RING1_SLOTS),
            scale: TimeScale { origin: 0, multiplier: 1 << 31, shift: 1 },
            tsc_khz: 1_000_000,
            wall_clock: 0,
            trace_words: TRACE_WORDS,
            heap_bytes: 1 << 20,
        });
        let memory = FakeMemory::new(frames as usize);
        Self {
            world,
            machine: FakeMachine {
                memory,
                now: Time(0),
                passing: Cell::default(),
                loads: Cell::default(),
                trace: (0..TRACE_WORDS).map(|_| Word::new(0)).collect::<Vec<_>>().leak(),
                flushed: Vec::new(),
                root: None,
                loaded_ahead: 0,
            },
        }
    }
}

impl<T: MachineMemory> Fixture<T> {
    /// The same world over memory that was made of this one.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Fixture<U> {
        let FakeMachine { memory, now, passing, loads, trace, flushed, root, loaded_ahead } = self.machine;
        let machine =
            FakeMachine { memory: change(memory), now, passing, loads, trace, flushed, root, loaded_ahead };
        Fixture { world: self.world, machine }
    }

    /// Builds a domain of the usual image and order.
    pub(crate) fn domain(&mut self) -> DomId {
        self.domain_of(&TestImage::good(BASE), &mut None)
    }

    /// Builds a domain of another image, with what the domains of that have in common.
    pub(crate) fn domain_of(&mut self, image: &TestImage, common: &mut Option<Share>) -> DomId {
        let id = self.world.domains.free_id().unwrap();
        let (order, image) = (order(id), image.file());
        let built =
            builder::build(&mut self.machine, &mut self.world.frames, &image, common, &order).unwrap();
        let Built { address_space, grants, shared_info, root, registers, .. } = built;
        let mut domain = Domain::new(id, Arc::new(config()), Time(0));
        domain.state = State::Running;
        domain.address_space = address_space;
        domain.grants = grants;
        domain.shared_info = shared_info;
        domain.vcpu.kernel_root = root;
        domain.vcpu.registers = registers;
        self.world.domains.insert(Box::new(domain));
        id
    }

    /// Makes a hypercall of a domain by its handler.
    pub(crate) fn call<R>(
        &mut self,
        caller: DomId,
        handler: impl FnOnce(&mut Call<'_, FakeMachine<T>>) -> R,
    ) -> R {
        self.world.current = Some(caller);
        handler(&mut Call { world: &mut self.world, memory: &mut self.machine, caller })
    }

    /// The machine frame of a domain's pseudo-physical frame.
    pub(crate) fn mfn(&self, domain: DomId, pfn: u64) -> Mfn {
        self.world.domains.get(domain).unwrap().address_space.built_mfn(hypercall_abi::Pfn(pfn)).unwrap()
    }

    /// Where the level 1 entry of a guest address lies.
    pub(crate) fn l1_place(&self, domain: DomId, va: u64) -> MachineAddress {
        let root = self.world.domains.get(domain).unwrap().vcpu.root();
        let l1 = guest_access::find_l1(&self.machine, root, va).unwrap();
        MachineAddress::in_frame(l1, ((va >> 12) & 0x1ff) << 3)
    }

    /// The frame that a guest address maps at present.
    pub(crate) fn mapped(&self, domain: DomId, va: u64) -> Option<(Mfn, u64)> {
        let entry = self.machine.load(self.l1_place(domain, va));
        (entry & pte::PRESENT != 0).then_some((Mfn::containing(entry & pte::ADDRESS), entry))
    }

    /// Writes into a guest's memory, as the guest would.
    pub(crate) fn poke<V: zerocopy::IntoBytes + zerocopy::Immutable>(
        &mut self,
        domain: DomId,
        va: u64,
        value: &V,
    ) {
        let root = self.world.domains.get(domain).unwrap().vcpu.root();
        guest_access::write(&mut self.machine, &self.world.frames, root, va, value).unwrap();
    }

    /// Reads from a guest's memory, as the guest would.
    pub(crate) fn peek<V: zerocopy::FromBytes + zerocopy::IntoBytes>(
        &self,
        domain: DomId,
        va: u64,
    ) -> Result<V, Errno> {
        let root = self.world.domains.get(domain).unwrap().vcpu.root();
        guest_access::read(&self.machine, &self.world.frames, root, va)
    }

    /// Ends a domain and gives its memory back; returns in how many pieces.
    pub(crate) fn kill(&mut self, domain: DomId) -> usize {
        // No domain goes while the processor uses its tables; whoever runs next has others.
        self.machine.root = None;
        let mut pieces = 1;
        while reclaim::reclaim(&mut self.world.domains, &mut self.world.frames, &mut self.machine, domain)
            == Progress::More
        {
            self.check();
            pieces += 1;
        }
        pieces
    }

    /// The recount of all references.
    pub(crate) fn check(&self) {
        if let Err(violation) =
            recount::recount(&self.world.frames, &self.machine, &self.world.domains, recount::WINDOW)
        {
            panic!("{}", violation.0);
        }
    }
}
