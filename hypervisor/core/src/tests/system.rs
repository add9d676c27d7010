//! A system on the host: domains built from images, entered and left as by the machine.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hypercall_abi::extension::ExtensionOp;
use hypercall_abi::sched::SchedOp;
use hypercall_abi::trap::Vector;
use hypercall_abi::{DomId, Errno, Hypercall};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::config;
use crate::dispatch::Begun;
use crate::effects::Todo;
use crate::fake::FakeMemory;
use crate::guest_access;
use crate::life::WAIT_MAX_NS;
use crate::memory::{MachineAddress, MachineMemory};
use crate::registers::Registers;
use crate::ring::Ring;
use crate::testing::{BASE, FakeMachine, Fixture, PAGES, TestImage};
use crate::time::Time;
use crate::world::{Exception, Next, Short, World};

/// Address of memory of a guest that tests write arguments to.
pub(super) const SCRATCH: u64 = BASE + 0x100;
/// Where guests want to be entered for events.
pub(super) const UPCALL: u64 = BASE + 0x2040;

/// A running system.
#[derive(Debug)]
pub(super) struct System {
    pub(super) world: World,
    pub(super) machine: FakeMachine<FakeMemory>,
    /// The registers of the domain that has the processor.
    pub(super) regs: Registers,
    pub(super) output: String,
    /// Effects since they were last looked at.
    pub(super) todo: Todo,
    /// Whether requests go the long way, where there is a short one too.
    pub(super) long_ways: bool,
}

/// A domain of a scenario.
pub(super) fn domain(name: &str) -> config::Domain {
    config::Domain {
        name: name.to_string(),
        image: "guests/test".to_string(),
        memory_bytes: PAGES << 12,
        weight: config::WEIGHT_DEFAULT,
        slice_us: None,
        ring: 3,
        command_line: String::new(),
        delivery: config::Delivery { policy: config::Policy::Batched, window_events: 0, window_us: 0 },
        on_crash: config::OnCrash::Destroy,
        control: false,
        devices: Vec::new(),
    }
}

/// The same, with synchronous delivery.
pub(super) fn synchronous(name: &str) -> config::Domain {
    let delivery = config::Delivery { policy: config::Policy::Synchronous, window_events: 0, window_us: 0 };
    config::Domain { delivery, ..domain(name) }
}

/// Frames of a machine, and as many for each domain if those are more.
const FRAMES: u64 = 4096;
const FRAMES_A_DOMAIN: u64 = 320;

impl System {
    /// A system of these domains, up to its first return to a guest.
    pub(super) fn new(domains: Vec<config::Domain>) -> Self {
        Self::of_image(&TestImage::good(BASE), domains)
    }

    /// The same of another image.
    pub(super) fn of_image(image: &TestImage, domains: Vec<config::Domain>) -> Self {
        let Fixture { world, machine } = Fixture::new(FRAMES.max(FRAMES_A_DOMAIN * domains.len() as u64));
        let mut system = Self {
            world,
            machine,
            regs: Registers::default(),
            output: String::new(),
            todo: Todo::empty(),
            long_ways: false,
        };
        let scenario = config::System {
            name: "test".into(),
            slice_us: 1000,
            seed: 1,
            trace: false,
            trace_settings: alloc::vec![],
            domains,
        };
        let image: &'static [u8] = image.file().leak();
        let archive = |path: &str| (path == "guests/test").then_some(image);
        system.world.create_domains(&mut system.machine, scenario, archive);
        system.settle();
        system
    }

    /// Returns to a guest or to idling, as the machine does.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let next = self.world.before_return(&mut self.machine, &mut self.regs);
            let effects = self.world.take_effects();
            self.todo |= effects.todo;
            match next {
                Next::Idle { .. } => self.machine.root = self.world.kept_root(),
                Next::Resume if !effects.todo.contains(Todo::LOAD_ROOT) => {}
                _ => self.machine.root = self.world.current_mut().map(|domain| domain.vcpu.root()),
            }
            let output = &mut self.output;
            self.world.take_output(&mut |text| output.push_str(&String::from_utf8_lossy(text)));
            match next {
                Next::Resume if effects.todo.is_empty() => return,
                Next::Idle { .. } if effects.todo.is_empty() && !self.world.life.is_busy() => return,
                _ => {}
            }
        }
        panic!("the core finds no rest");
    }

    /// Checks what must hold.
    #[track_caller]
    pub(super) fn check(&self) {
        if let Err(broken) = self.world.check(&self.machine) {
            panic!("{broken}");
        }
    }

    /// The domain that has the processor.
    pub(super) fn current(&self) -> Option<DomId> {
        self.world.current
    }

    /// The domain of a name.
    pub(super) fn id(&self, name: &str) -> DomId {
        self.world.living(name).unwrap_or_else(|| panic!("{name} is not there"))
    }

    /// The current domain makes a hypercall. Its result, if it is answered by now.
    pub(super) fn hypercall(&mut self, call: Hypercall, args: [u64; 5]) -> Result<u64, Errno> {
        self.raw_hypercall(u64::from(call.raw()), args)
    }

    /// The same with any number.
    pub(super) fn raw_hypercall(&mut self, number: u64, args: [u64; 5]) -> Result<u64, Errno> {
        let caller = self.current().expect("somebody runs");
        [self.regs.rdi, self.regs.rsi, self.regs.rdx, self.regs.r10, self.regs.r8] = args;
        self.regs.rax = number;
        if self.long_ways {
            self.world.finish_hypercall(&mut self.machine, &mut self.regs, Begun::Odd);
        } else {
            let done = self.world.hypercall(&mut self.machine, &mut self.regs);
            assert!(!done || self.is_quiet(), "what is done leaves nothing to do");
        }
        let rax = self.regs.rax;
        self.settle();
        match self.world.domains.get(caller) {
            _ if self.current() == Some(caller) => {}
            Some(domain) => return Errno::from_rax(domain.vcpu.registers.rax),
            None => {}
        }
        Errno::from_rax(rax)
    }

    /// The current domain makes a hypercall whose argument lies in memory; the argument as it is afterwards.
    pub(super) fn with<T: FromBytes + IntoBytes + Immutable>(
        &mut self,
        call: Hypercall,
        op: u32,
        argument: &T,
    ) -> Result<T, Errno> {
        let caller = self.current().expect("somebody runs");
        self.poke(caller, SCRATCH, argument);
        self.hypercall(call, [u64::from(op), SCRATCH, 0, 0, 0])?;
        self.world.domain(caller)?;
        Ok(self.peek(caller, SCRATCH))
    }

    /// The current domain sleeps until an event.
    pub(super) fn block(&mut self) {
        let _ = self.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Block.raw()), 0, 0, 0, 0]);
    }

    /// The current domain sleeps until a time.
    pub(super) fn idle_until(&mut self, deadline: u64) -> Result<u64, Errno> {
        let op = u64::from(ExtensionOp::IdleUntil.raw());
        self.hypercall(Hypercall::Extension, [op, deadline, 0, 0, 0])
    }

    /// Lets time pass, with timer interrupts when the core wants them.
    pub(super) fn pass(&mut self, ns: u64) {
        let end = self.machine.now.after(ns);
        loop {
            let deadline = self.world.next_deadline();
            if deadline > end {
                break;
            }
            self.machine.now = deadline.max(self.machine.now);
            self.world.timer_interrupt(&mut self.machine);
            self.settle();
            if self.world.next_deadline() <= self.machine.now {
                self.machine.now = Time(self.machine.now.0 + 1);
            }
        }
        self.machine.now = end.max(self.machine.now);
    }

    /// Lets so much time pass that whoever waits to be built again is there.
    pub(super) fn outwait(&mut self) {
        self.settle();
        self.pass(WAIT_MAX_NS.into());
    }

    /// The current domain causes an exception.
    pub(super) fn exception(&mut self, vector: u8, error: u32, address: u64) {
        let exception = Exception { vector, error, address };
        let short = if vector == Vector::PageFault.raw() && !self.long_ways {
            let System { world, machine, regs, .. } = self;
            let ring = world.current_mut().map(|domain| domain.vcpu.ring);
            match ring {
                Some(Ring::One) => world.page_fault_in_ring1(machine, regs, error, address),
                _ if world.is_in_process() => world.page_fault_of_process(machine, regs, error, address),
                _ => match world.page_fault(machine, regs, error, address) {
                    Short::No => world.recorded_page_fault(machine, regs, error, address),
                    short => short,
                },
            }
        } else {
            Short::No
        };
        assert!(short != Short::Done || self.is_quiet(), "what is done leaves nothing to do");
        if short == Short::No {
            self.world.exception(&mut self.machine, &mut self.regs, exception);
        }
        self.settle();
    }

    /// Whether nothing is to be done before the return to a guest.
    fn is_quiet(&mut self) -> bool {
        let deaf = self.world.current_mut().is_some_and(|domain| domain.vcpu.callbacks.event == 0);
        deaf || self.world.is_quiet(&self.machine)
    }

    /// Writes guest memory, as the guest would.
    pub(super) fn poke<T: IntoBytes + Immutable>(&mut self, id: DomId, va: u64, value: &T) {
        let root = self.world.domains.get(id).unwrap().vcpu.root();
        guest_access::write(&mut self.machine, &self.world.frames, root, va, value).unwrap();
    }

    /// Reads guest memory, as the guest would.
    pub(super) fn peek<T: FromBytes + IntoBytes>(&self, id: DomId, va: u64) -> T {
        let root = self.world.domains.get(id).unwrap().vcpu.root();
        guest_access::read(&self.machine, &self.world.frames, root, va).unwrap()
    }

    /// A word of a domain's shared page.
    pub(super) fn shared(&self, id: DomId, offset: u64) -> u64 {
        self.machine.load(self.shared_at(id, offset))
    }

    /// Changes a word of a domain's shared page, as the guest would.
    pub(super) fn set_shared(&mut self, id: DomId, offset: u64, value: u64) {
        let at = self.shared_at(id, offset);
        self.machine.store(at, value);
    }

    fn shared_at(&self, id: DomId, offset: u64) -> MachineAddress {
        MachineAddress::in_frame(self.world.domains.get(id).unwrap().shared_info, offset)
    }

    /// Sets the upcall mask of a domain, as the guest would.
    pub(super) fn mask(&mut self, id: DomId, masked: bool) {
        let word = self.shared(id, 0) & !0xff00;
        self.set_shared(id, 0, word | if masked { 0x100 } else { 0 });
    }

    /// The current domain says where it wants to be entered for events, and unmasks them.
    pub(super) fn take_upcalls(&mut self) {
        let caller = self.current().unwrap();
        self.hypercall(Hypercall::SetCallbacks, [UPCALL, UPCALL, 0, 0, 0]).unwrap();
        self.mask(caller, false);
    }

    /// Does what an upcall handler does with the bitmaps: returns and clears the pending unmasked ports.
    pub(super) fn handle_events(&mut self, id: DomId) -> Vec<u32> {
        let word = self.shared(id, 0) & !0xff;
        self.set_shared(id, 0, word);
        let selector = self.shared(id, 8);
        self.set_shared(id, 8, 0);
        let mut ports = Vec::new();
        for index in (0..64).filter(|index| selector & (1 << index) != 0) {
            let at = 2048 + 8 * index;
            let seen = self.shared(id, at) & !self.shared(id, at + 512);
            self.set_shared(id, at, self.shared(id, at) & !seen);
            ports.extend((0..64).filter(|bit| seen & (1 << bit) != 0).map(|bit| index as u32 * 64 + bit));
        }
        ports
    }

    /// Lets each domain in turn, from the first, do something with the processor. Others sleep meanwhile.
    pub(super) fn each(&mut self, mut act: impl FnMut(&mut Self, DomId)) {
        for _ in 0..self.world.domains.len() {
            let id = self.current().expect("nobody sleeps yet");
            act(self, id);
            self.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Yield.raw()), 0, 0, 0, 0]).unwrap();
        }
    }
}
