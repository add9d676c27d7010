//! Hostile domains on the core: whoever has the processor does what its generator draws.

use std::collections::HashMap;

use hostile_plan::model::{self, Answer};
use hostile_plan::{Action, Call, Coverage, Deed, Estate, Expect, GRANT_FRAMES, Generator, Playground};
use hypercall_abi::grant_table::{GrantTableOp, SetupTable};
use hypercall_abi::mmu::{flush, pte};
use hypercall_abi::{DomId, Hypercall, Mfn, PAGE_SIZE, layout};
use hypervisor_core::config;
use hypervisor_core::effects::Todo;
use hypervisor_core::fake::FakeMemory;
use hypervisor_core::frames::FrameTable;
use hypervisor_core::guest_access;
use hypervisor_core::life::WAIT_MAX_NS;
use hypervisor_core::memory::{MachineAddress, MachineMemory};
use hypervisor_core::registers::Registers;
use hypervisor_core::time::{Time, TimeScale};
use hypervisor_core::world::{Exception, Next, Setup, World};
use zerocopy::IntoBytes;

use crate::image::{self, BASE};
use crate::machine::FakeMachine;

/// Frames of the machine; the machine-to-physical table at frame 4 takes 8.
const FRAMES: u64 = 4096;
const RESERVED: u64 = 16;
/// Frames of each domain.
const PAGES: u64 = 256;
/// What stands in the hypervisor's slots of each root.
const SLOTS: [u64; 16] = [0x1063; 16];
const WRITE: u64 = pte::PRESENT | pte::WRITABLE | pte::USER | pte::ACCESSED | pte::DIRTY;

const fn page(index: u64) -> u64 {
    BASE + index * PAGE_SIZE as u64
}

const ARGUMENT: u64 = page(100);
const HOLE: u64 = page(103);
const GRANT_TABLE: u64 = page(104);
const SHARED_INFO: u64 = page(105);
const STACK: u64 = page(108);
const PLAYGROUND: u64 = page(112);
const PLAYGROUND_PAGES: u64 = 16;

/// The system.
pub(crate) struct System {
    world: World,
    machine: FakeMachine,
    regs: Registers,
    generators: HashMap<u16, Generator>,
    seed: u64,
    births: u64,
    output: String,
}

impl System {
    /// So many hostile domains.
    pub(crate) fn new(seed: u64, domains: usize) -> Self {
        let mut frames = FrameTable::new(FRAMES).unwrap();
        frames.add_ram(Mfn(RESERVED), FRAMES - RESERVED);
        let world = World::new(Setup {
            frames,
            machine_to_phys: MachineAddress(4 << 12),
            hypervisor_slots: SLOTS,
            ring1_slots: None,
            scale: TimeScale { origin: 0, multiplier: 1 << 31, shift: 1 },
            tsc_khz: 1_000_000,
            wall_clock: 0,
            trace_words: 0,
            heap_bytes: 1 << 20,
        });
        let machine = FakeMachine { memory: FakeMemory::new(FRAMES as usize), now: Time(0), root: None };
        let regs = Registers::default();
        let (generators, output) = (HashMap::new(), String::new());
        let mut system = Self { world, machine, regs, generators, seed, births: 0, output };
        let domains = (0..domains).map(|index| domain(&format!("hostile-{index}"), index)).collect();
        let scenario = config::System {
            name: "test".into(),
            slice_us: 1000,
            seed,
            trace: false,
            trace_settings: Vec::new(),
            domains,
        };
        let file: &'static [u8] = image::file().leak();
        system
            .world
            .create_domains(&mut system.machine, scenario, |path| (path == "guests/test").then_some(file));
        system.settle();
        system
    }

    /// One action of whoever has the processor.
    pub(crate) fn step(&mut self, coverage: &mut Coverage) {
        self.pass(1 + 2000);
        // Whoever died soon after its birth comes again by then.
        for _ in 0..=WAIT_MAX_NS / 1_000_000 {
            if self.world.current.is_some() {
                break;
            }
            self.pass(1_000_000);
        }
        let Some(me) = self.world.current else {
            "destroy hostile-0\n".bytes().for_each(|byte| self.world.serial_input(&mut self.machine, byte));
            self.settle();
            return;
        };
        let mut generator = match self.generators.remove(&me.0) {
            Some(generator) => generator,
            None => self.arrive(me),
        };
        generator.set_time(self.machine.now.0);
        let action = generator.draw();
        self.carry_out(me, &mut generator, &action, coverage);
        if let Err(broken) = self.world.check(&self.machine) {
            panic!("seed {}: after {action:x?} of {me}: {broken}", self.seed);
        }
        self.check_roots(&action);
        if self.world.domains.get(me).is_some_and(|domain| domain.ended.is_none()) {
            self.generators.insert(me.0, generator);
        }
    }

    /// Each root in use maps the hypervisor, whatever became of it.
    fn check_roots(&self, action: &Action) {
        let current = self.world.current.and_then(|id| self.world.domains.get(id));
        if let Some(domain) = current {
            let used = self.machine.root;
            assert_eq!(
                used,
                Some(domain.vcpu.root()),
                "seed {}: the root in use after {action:x?}",
                self.seed
            );
        }
        for domain in self.world.domains.iter().filter(|domain| domain.ended.is_none()) {
            for root in [Some(domain.vcpu.kernel_root), domain.vcpu.user_root].into_iter().flatten() {
                for (slot, expected) in (256..).zip(SLOTS) {
                    let at = MachineAddress::in_frame(root, slot * 8);
                    assert_eq!(
                        self.machine.load(at),
                        expected,
                        "seed {}: slot {slot} of a root of {} after {action:x?}",
                        self.seed,
                        domain.name
                    );
                }
            }
        }
    }

    /// The end: everything is given back.
    pub(crate) fn end(&mut self) {
        "destroy *\n".bytes().for_each(|byte| self.world.serial_input(&mut self.machine, byte));
        self.settle();
        self.world.check(&self.machine).unwrap();
        assert_eq!(self.world.frames.free_frames(), self.world.frames.total_frames(), "{}", self.output);
    }

    /// A domain begins: it sets up what its attacks need.
    fn arrive(&mut self, me: DomId) -> Generator {
        self.births += 1;
        let root = self.world.domains.get(me).unwrap().vcpu.kernel_root;
        let shared = self.world.domains.get(me).unwrap().shared_info;
        let l1 = |va: u64| {
            let table = self.tables(root, va)[2];
            table.address() + ((va >> 12) & 511) * 8
        };
        let frame = |va: u64| Mfn::containing(self.machine.load(MachineAddress(l1(va))) & pte::ADDRESS);
        let frames: Vec<Mfn> = (0..PAGES).map(|index| frame(page(index))).collect();
        let tables = self.tables(root, PLAYGROUND);
        let read_only = frames.iter().position(|&frame| frame == tables[2]).unwrap() as u64;
        let mut estate = Estate {
            argument: ARGUMENT,
            argument_pages: 3,
            read_only: page(read_only),
            unmapped: HOLE,
            shared_info: SHARED_INFO,
            shared_info_frame: shared,
            grant_frames: Vec::new(),
            grant_entries: (256, 272),
            playground: Playground {
                va: PLAYGROUND,
                frames: (0..PLAYGROUND_PAGES).map(|index| frame(PLAYGROUND + index * 4096)).collect(),
                entries: (0..PLAYGROUND_PAGES).map(|index| l1(PLAYGROUND + index * 4096)).collect(),
            },
            root,
            tables,
            start: BASE,
            shared: frames[..image::PAGES as usize].to_vec(),
            frames,
            handlers: [BASE + 0x2000, BASE + 0x2000, BASE + 0x2000],
            stack: STACK,
            state_ports: Vec::new(),
            own: me.0,
            backend: DomId::INVALID.0,
            now_ns: 0,
            instructions: 1,
            deaths: 3,
        };
        self.regs.rsp = STACK;
        self.map(HOLE, 0);
        self.map(SHARED_INFO, shared.address() | WRITE);
        let setup = SetupTable {
            dom: 0x7ff0,
            pad: 0,
            frames: GRANT_FRAMES as u32,
            status: 0,
            pad2: [0; 3],
            frame_list: ARGUMENT,
        };
        self.write(me, ARGUMENT + 64, setup.as_bytes());
        let op = GrantTableOp::SetupTable.raw().into();
        let _ = self.hypercall(Hypercall::GrantTableOp.raw().into(), [op, ARGUMENT + 64, 1, 0, 0]);
        let mut list = [0; 8 * GRANT_FRAMES];
        self.read(me, ARGUMENT, &mut list);
        estate.grant_frames.extend(list.as_chunks().0.iter().map(|frame| Mfn(u64::from_le_bytes(*frame))));
        let grant_frame = estate.grant_frames[0];
        self.map(GRANT_TABLE, grant_frame.address() | WRITE);
        Generator::new(self.seed * 1_000_003 + self.births, estate)
    }

    fn tables(&self, root: Mfn, va: u64) -> [Mfn; 3] {
        let mut table = root;
        [4, 3, 2].map(|level| {
            let index = (va >> (12 + 9 * (level - 1))) & 511;
            table =
                Mfn::containing(self.machine.load(MachineAddress::in_frame(table, index * 8)) & pte::ADDRESS);
            table
        })
    }

    fn map(&mut self, va: u64, entry: u64) {
        let result =
            self.hypercall(Hypercall::UpdateVaMapping.raw().into(), [va, entry, flush::INVLPG, 0, 0]);
        assert_eq!(result, Some(0), "mapping {entry:#x} at {va:#x}");
    }

    fn carry_out(&mut self, me: DomId, generator: &mut Generator, action: &Action, coverage: &mut Coverage) {
        match &action.deed {
            Deed::Call(call) => self.call(me, generator, call, action.why, coverage),
            Deed::Grant { reference, entry } => {
                self.write(me, GRANT_TABLE + u64::from(*reference) * 8, entry.as_bytes());
            }
            Deed::Poke { va, value } => {
                self.write(me, *va, value.as_bytes());
                self.settle();
            }
            Deed::Instruction(_) => {
                self.exception(6);
            }
            Deed::Ring(_) => {}
            Deed::Rearm => {
                self.regs.rsp = STACK;
                self.write(me, SHARED_INFO + 1, &[1]);
                let [event, failsafe, _] = generator.estate().handlers;
                self.hypercall(Hypercall::SetCallbacks.raw().into(), [event, failsafe, 0, 0, 0]);
            }
            Deed::Die(1) => {
                self.regs.rsp = 8;
                self.exception(13);
                self.hypercall(Hypercall::Iret.raw().into(), [0; 5]);
            }
            Deed::Die(_) => {
                self.write(me, ARGUMENT, &3_u32.to_le_bytes());
                self.hypercall(Hypercall::SchedOp.raw().into(), [2, ARGUMENT, 0, 0, 0]);
            }
        }
    }

    fn call(
        &mut self,
        me: DomId,
        generator: &mut Generator,
        call: &Call,
        why: &'static str,
        coverage: &mut Coverage,
    ) {
        for (at, bytes) in &call.writes {
            self.write(me, *at, bytes);
        }
        let Some(rax) = self.hypercall(call.number, call.args) else { return };
        let (at, bytes) = call.reads;
        let mut after = vec![0; bytes];
        self.read(me, at, &mut after);
        let answer = model::answer(call, rax, &after);
        coverage.count(call.operation(), answer);
        if let (Answer::Refused(errno), Some(asked)) = (answer, call.operation().call()) {
            let allowed = model::allows(asked, errno);
            assert!(allowed, "seed {}: {asked:?} was refused with {errno:?}: {call:x?}", self.seed);
        }
        assert!(!matches!(answer, Answer::Odd(_)), "seed {}: {call:x?} was answered {answer:?}", self.seed);
        assert!(
            call.expect == Expect::Any || answer != Answer::Accepted,
            "seed {}: accepted, though it must not be ({why}): {call:x?}",
            self.seed
        );
        generator.observe(call, &after, answer);
    }

    /// The current domain makes a hypercall; its answer, if the domain lives to see it.
    fn hypercall(&mut self, number: u64, args: [u64; 5]) -> Option<u64> {
        let caller = self.world.current?;
        [self.regs.rdi, self.regs.rsi, self.regs.rdx, self.regs.r10, self.regs.r8] = args;
        self.regs.rax = number;
        self.regs.rip = BASE + 0x2000;
        self.world.hypercall(&mut self.machine, &mut self.regs);
        self.settle();
        if self.world.current == Some(caller) {
            return Some(self.regs.rax);
        }
        let domain = self.world.domains.get(caller).filter(|domain| domain.ended.is_none());
        domain.map(|domain| domain.vcpu.registers.rax)
    }

    fn exception(&mut self, vector: u8) {
        let exception = Exception { vector, error: 0, address: 0 };
        self.world.exception(&mut self.machine, &mut self.regs, exception);
        self.settle();
    }

    /// Returns to a guest or to idling, as the machine does.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let next = self.world.before_return(&mut self.machine, &mut self.regs);
            let effects = self.world.take_effects();
            match next {
                Next::Idle { .. } => self.machine.root = None,
                Next::Resume if !effects.todo.contains(Todo::LOAD_ROOT) => {}
                _ => self.machine.root = self.world.current_mut().map(|domain| domain.vcpu.root()),
            }
            let output = &mut self.output;
            self.world.take_output(&mut |text| output.push_str(&String::from_utf8_lossy(text)));
            if self.output.len() > 1 << 16 {
                self.output.clear();
            }
            if effects.todo.is_empty() && (next == Next::Resume || self.world.next_deadline() > Time(0)) {
                // No guest is ever left on registers that a return could refuse.
                if self.world.current.is_some() {
                    assert!(layout::is_guest(self.regs.rip), "a return to {:#x}", self.regs.rip);
                }
                return;
            }
        }
        panic!("seed {}: the core finds no rest", self.seed);
    }

    fn pass(&mut self, ns: u64) {
        self.machine.now = Time(self.machine.now.0 + ns);
        if self.world.next_deadline() <= self.machine.now {
            self.world.timer_interrupt(&mut self.machine);
        }
        self.settle();
    }

    /// Writes as the guest would, if it may.
    fn write(&mut self, me: DomId, va: u64, bytes: &[u8]) {
        let Some(root) = self.world.domains.get(me).map(|domain| domain.vcpu.kernel_root) else { return };
        let _ = guest_access::write_bytes(&mut self.machine, &self.world.frames, root, va, bytes);
    }

    fn read(&self, me: DomId, va: u64, into: &mut [u8]) {
        let Some(root) = self.world.domains.get(me).map(|domain| domain.vcpu.kernel_root) else { return };
        let _ = guest_access::read_bytes(&self.machine, &self.world.frames, root, va, into);
    }
}

fn domain(name: &str, index: usize) -> config::Domain {
    let policy = if index.is_multiple_of(2) { config::Policy::Batched } else { config::Policy::Synchronous };
    config::Domain {
        name: name.into(),
        image: "guests/test".into(),
        memory_bytes: PAGES << 12,
        weight: config::WEIGHT_DEFAULT,
        slice_us: None,
        ring: 3,
        command_line: String::new(),
        delivery: config::Delivery { policy, window_events: 0, window_us: 0 },
        on_crash: config::OnCrash::Restart,
        control: false,
        devices: vec![],
    }
}
