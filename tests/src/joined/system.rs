//! The core's world over fake memory, with a driver domain and guests in it.
//! Everything is built as at boot: from a configuration and an image.

use std::cell::RefCell;
use std::rc::Rc;

use hypercall_abi::{DomId, Errno, Mfn};
use hypervisor_core::fake::FakeMemory;
use hypervisor_core::frames::FrameTable;
use hypervisor_core::machine::{Machine, PciAddress, Storage};
use hypervisor_core::memory::{MachineAddress, MachineMemory};
use hypervisor_core::registers::Registers;
use hypervisor_core::ring::Ring;
use hypervisor_core::time::{Time, TimeScale};
use hypervisor_core::world::{Setup, World};
use hypervisor_core::{config, control};

use super::image;

/// Address of a domain's first frame.
pub const VIRT_BASE: u64 = 0x40_0000;
/// Machine frames in all.
const FRAMES: u64 = 8192;
/// Frames of the machine-to-physical table, from frame 1 on.
const TABLE: u64 = FRAMES * 8 / 4096;
/// Bytes of memory of each domain.
const DOMAIN_BYTES: u64 = 4 << 20;

/// Memory, and nothing else of a machine.
#[derive(Debug)]
pub(super) struct FakeMachine(FakeMemory);

/// The hypervisor with its machine.
#[derive(Debug)]
pub(super) struct Inner {
    /// The core's world.
    pub world: World,
    /// Its machine.
    pub machine: FakeMachine,
}

/// The hypervisor with its machine; clones are the same one.
#[derive(Clone, Debug)]
pub struct System(pub(super) Rc<RefCell<Inner>>);

impl System {
    /// A driver domain, and so many guests with a network front end each.
    ///
    /// # Panics
    /// When there is no memory for them.
    #[must_use]
    pub fn new(guests: u16, suppress: bool) -> Self {
        let mut frames = FrameTable::new(FRAMES).expect("a small table");
        frames.add_ram(Mfn(1 + TABLE), FRAMES - 1 - TABLE);
        let mut world = World::new(Setup {
            frames,
            machine_to_phys: MachineAddress::in_frame(Mfn(1), 0),
            hypervisor_slots: [0; 16],
            ring1_slots: None,
            scale: TimeScale { origin: 0, multiplier: 1 << 31, shift: 1 },
            tsc_khz: 1_000_000,
            wall_clock: 0,
            trace_words: 0,
            heap_bytes: 0,
        });
        let mut machine = FakeMachine(FakeMemory::new(FRAMES as usize));
        let domain = |name: String, devices| config::Domain {
            image: "guest".into(),
            memory_bytes: DOMAIN_BYTES,
            weight: config::WEIGHT_DEFAULT,
            slice_us: None,
            ring: 3,
            command_line: String::new(),
            delivery: config::Delivery { policy: config::Policy::Batched, window_events: 0, window_us: 0 },
            on_crash: if name == "driver" { config::OnCrash::Restart } else { config::OnCrash::Destroy },
            name,
            control: false,
            devices,
        };
        let front = |at| config::Device::NetFront {
            backend: "driver".into(),
            mac: crate::Net::mac(at),
            ipv4: crate::Net::ipv4(at),
            prefix: 16,
            gateway: crate::HOST_IP,
            suppress,
        };
        let mut domains = vec![domain("driver".into(), Vec::new())];
        domains.extend((0..guests).map(|at| domain(format!("guest-{at}"), vec![front(at)])));
        let system = config::System {
            name: "joined".into(),
            slice_us: 5000,
            seed: 1,
            trace: false,
            trace_settings: Vec::new(),
            domains,
        };
        let image: &'static [u8] = image::minimal().leak();
        world.create_domains(&mut machine, system, |_| Some(image));
        Self(Rc::new(RefCell::new(Inner { world, machine })))
    }

    /// The living domain with this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn domain(&self, name: &str) -> DomId {
        let mut inner = self.0.borrow_mut();
        if let Some(id) = inner.world.living(name) {
            return id;
        }
        let mut log = String::new();
        inner.world.take_output(&mut |text| log.push_str(&String::from_utf8_lossy(text)));
        panic!("there is no {name}: {log}")
    }

    /// A hypercall of a domain.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn hypercall(&self, by: DomId, number: u32, arguments: &[u64]) -> Result<u64, Errno> {
        let argument = |at: usize| arguments.get(at).copied().unwrap_or(0);
        let mut registers = Registers {
            rax: number.into(),
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            r10: argument(3),
            r8: argument(4),
            ..Registers::default()
        };
        let Inner { world, machine } = &mut *self.0.borrow_mut();
        world.current = Some(by);
        world.hypercall(machine, &mut registers);
        let _ = world.take_effects();
        Errno::from_rax(registers.rax)
    }

    /// Has a domain crash, as a command on the serial line does: it is built again at once, however short its life was.
    pub fn crash(&self, name: &str) {
        let Inner { world, machine } = &mut *self.0.borrow_mut();
        control::command(world, machine, &format!("crash {name}"));
    }

    /// Lets the hypervisor finish what a death has left, as it does before it returns to a guest.
    ///
    /// # Panics
    /// When there is no end to it.
    pub fn bury(&self) {
        let Inner { world, machine } = &mut *self.0.borrow_mut();
        for _ in 0..100_000 {
            if world.next_deadline() != Time(0) {
                return;
            }
            let _ = world.before_return(machine, &mut Registers::default());
            let _ = world.take_effects();
        }
        panic!("the dead are never buried");
    }

    /// Checks every invariant of the hypervisor.
    ///
    /// # Panics
    /// With the first that is broken.
    pub fn check(&self) {
        let inner = self.0.borrow();
        inner.world.check(&inner.machine).expect("every invariant holds");
    }

    /// Frames that a domain, living or dead, still has.
    #[must_use]
    pub fn frames_of(&self, domain: DomId) -> u32 {
        self.0.borrow().world.frames.owned_by(domain)
    }

    /// Writes into a frame.
    pub fn write(&self, mfn: Mfn, offset: usize, bytes: &[u8]) {
        self.0.borrow_mut().machine.0.write(MachineAddress::in_frame(mfn, offset as u64), bytes);
    }

    /// Reads from a frame.
    pub fn read(&self, mfn: Mfn, offset: usize, into: &mut [u8]) {
        self.0.borrow().machine.0.read(MachineAddress::in_frame(mfn, offset as u64), into);
    }
}

impl MachineMemory for FakeMachine {
    fn load(&self, at: MachineAddress) -> u64 {
        self.0.load(at)
    }
    fn store(&mut self, at: MachineAddress, value: u64) {
        self.0.store(at, value);
    }
    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64 {
        self.0.fetch_or(at, bits)
    }
    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64 {
        self.0.fetch_and(at, bits)
    }
    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(at, old, new)
    }
    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        self.0.read(at, into);
    }
    fn write(&mut self, at: MachineAddress, from: &[u8]) {
        self.0.write(at, from);
    }
    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        self.0.copy(to, from, bytes);
    }
    fn zero_frame(&mut self, frame: Mfn) {
        self.0.zero_frame(frame);
    }
}

impl Machine for FakeMachine {
    fn now(&self) -> Time {
        Time(0)
    }
    fn heap_used(&self) -> u64 {
        0
    }
    fn flush_address(&mut self, _: u64) {}
    fn load_root(&mut self, _: Ring, _: Mfn) {}
    fn pci_read(&mut self, _: PciAddress, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn pci_write(&mut self, _: PciAddress, _: u16, _: u8, _: u32) {}
}

impl Storage for FakeMachine {}
