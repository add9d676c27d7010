//! Runs of fake machines with anything going on in them, recorded and played again.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use hypercall_abi::{DomId, Hypercall};

use super::file::File;
use super::kept::{About, Expects, judge};
use super::{Play, Recorded, Recorder, Sink, Start, Step, Summary, cut};
use crate::config;
use crate::dispatch::Begun;
use crate::effects::Todo;
use crate::fake::FakeMemory;
use crate::guest_access;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::testing::{
    BASE, FakeMachine, Fixture, PAGES, RING1_SLOTS, SLOTS, TRACE_WORDS, TestImage, frame_table,
};
use crate::time::{Time, TimeScale};
use crate::world::{Exception, Next, Setup, Short, World};

/// Memory of a guest that arguments are written to.
const SCRATCH: u64 = BASE + 0x100;
const FRAMES: u64 = 4096;

/// Keeps a log.
#[derive(Debug, Default)]
struct Tape(RefCell<Vec<u8>>);

impl Sink for Tape {
    fn put(&self, byte: u8) {
        self.0.borrow_mut().push(byte);
    }

    fn publish(&self) {}
}

fn text(weight: u32) -> String {
    let devices = r#"[{"net_front":{"backend":"b","mac":[2,222,0,0,0,1],"ipv4":[10,16,1,1],"prefix":16,"gateway":[0,0,0,0],"suppress":true}}]"#;
    let domain = |name: &str, weight: u32, devices: &str, policy: &str| {
        let control = name == "c";
        alloc::format!(
            r#"{{"name":"{name}","image":"guests/test","memory_bytes":{},"weight":{weight},"slice_us":null,"ring":3,"command_line":"",
            "delivery":{{"policy":"{policy}","window_events":0,"window_us":0}},"on_crash":"restart",
            "control":{control},"devices":{devices}}}"#,
            PAGES << 12
        )
    };
    let domains = [
        domain("a", weight, devices, "batched"),
        domain("b", 256, "[]", "synchronous"),
        domain("c", 256, "[]", "adaptive"),
    ];
    alloc::format!(
        r#"{{"name":"t","slice_us":1000,"seed":1,"trace":false,"trace_settings":[],"domains":[{}]}}"#,
        domains.join(",")
    )
}

/// A machine that is recorded.
struct Run {
    world: Recorded,
    machine: Recorder<FakeMachine<FakeMemory>, Tape>,
    regs: Registers,
    state: Cell<u64>,
    over: bool,
}

impl Run {
    fn new(seed: u64, image: &'static [u8]) -> Self {
        let Fixture { machine, .. } = Fixture::new(FRAMES);
        let setup = Setup {
            frames: frame_table(FRAMES),
            machine_to_phys: MachineAddress(4 << 12),
            hypervisor_slots: SLOTS,
            ring1_slots: Some(RING1_SLOTS),
            scale: TimeScale { origin: 0, multiplier: 1 << 31, shift: 1 },
            tsc_khz: 1_000_000,
            wall_clock: 0,
            trace_words: TRACE_WORDS,
            heap_bytes: 1 << 20,
        };
        let start = Start::new(&setup, [(16, FRAMES - 16)].into_iter());
        let mut run = Self {
            world: Recorded::new(World::new(setup)),
            machine: Recorder::new(machine, Some(Tape::default()), &start),
            regs: Registers::default(),
            state: Cell::new(seed | 1),
            over: false,
        };
        let system = config::System::from_json(text(256).as_bytes()).unwrap();
        run.world.create_domains(&mut run.machine, system, |name| (name == "guests/test").then_some(image));
        run.settle();
        run
    }

    fn random(&self, below: u64) -> u64 {
        let mut x = self.state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.set(x);
        x % below
    }

    /// Carries out what is to be done until a guest can go on.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let next = self.world.before_return(&mut self.machine, &mut self.regs);
            if next == Next::Resume {
                if self.carry_out().is_empty() {
                    return;
                }
                continue;
            }
            let root = self.world.current_mut().map(|domain| domain.vcpu.root());
            self.machine.root = root;
            self.carry_out();
            if root.is_none() && !self.world.life.is_busy() {
                let deadline = self.world.next_deadline();
                if deadline == Time::NEVER || self.over {
                    return;
                }
                self.machine.now = deadline.max(self.machine.now.after(1));
                self.world.timer_interrupt(&mut self.machine);
            }
        }
        panic!("the core finds no rest");
    }

    fn carry_out(&mut self) -> Todo {
        let todo = self.world.take_effects().todo;
        if todo.contains(Todo::LOAD_ROOT) {
            self.machine.root = self.world.current_mut().map(|domain| domain.vcpu.root());
        }
        if todo.contains(Todo::DEVICES) {
            drop(self.world.take_device_requests());
        }
        if todo.contains(Todo::CONSOLE) {
            self.world.take_output(&mut |_| ());
        }
        self.over |= todo.contains(Todo::POWEROFF);
        todo
    }

    fn command(&mut self, text: &str) {
        text.bytes().chain(*b"\n").for_each(|byte| self.world.serial_input(&mut self.machine, byte));
        self.settle();
    }

    /// The guest writes to its memory, or to its shared page.
    fn poke(&mut self, id: DomId, word: u64) {
        let Some(domain) = self.world.domains.get(id) else { return };
        let (root, shared) = (domain.vcpu.root(), domain.shared_info);
        let (machine, frames) = (&mut *self.machine, &self.world.frames);
        if word.is_multiple_of(7) {
            let at = MachineAddress::in_frame(shared, 8 * (word % 320));
            crate::memory::MachineMemory::store(machine, at, word);
        } else {
            let words = [word % 5, word % 11, SCRATCH + 64, word, word >> 7];
            let _ = guest_access::write(machine, frames, root, SCRATCH, &words);
        }
    }

    /// One thing that happens on a machine.
    fn act(&mut self) {
        let Some(id) = self.world.current else { return self.command("destroy *") };
        match self.random(200) {
            0..10 => {
                self.machine.now = self.machine.now.after(self.random(3_000_000));
                self.world.timer_interrupt(&mut self.machine);
            }
            10 => {
                let vector = u8::try_from(self.random(20)).unwrap();
                let exception = Exception { vector, error: 0, address: SCRATCH };
                let _ = self.world.exception(&mut self.machine, &mut self.regs, exception);
            }
            11..13 => {
                let address = BASE + self.random(1 << 21);
                let (world, machine, regs) = (&mut self.world, &mut self.machine, &mut self.regs);
                if world.page_fault(machine, regs, 2, address) == Short::No {
                    let _ = world.recorded_page_fault(machine, regs, 2, address);
                }
            }
            13..20 => {
                let word = self.random(u64::MAX);
                self.poke(id, word);
            }
            20..22 => {
                let words =
                    ["snapshot x", "delivery * batched 3 500", "trace on", "trace off", "destroy b", "list"];
                let word = usize::try_from(self.random(6)).unwrap();
                self.command(words[word]);
            }
            22..25 => self.world.device_interrupt(&mut self.machine, 1),
            _ => self.hypercall(id),
        }
        self.settle();
    }

    fn hypercall(&mut self, id: DomId) {
        let word = self.random(u64::MAX);
        self.poke(id, word);
        let calls = Hypercall::ALL;
        let known = match calls[usize::try_from(self.random(calls.len() as u64)).unwrap()] {
            // These put an end to a guest, or to its turn.
            Hypercall::SchedOp | Hypercall::Iret | Hypercall::StackSwitch if self.random(8) != 0 => {
                Hypercall::EventChannelOp
            }
            other => other,
        };
        let pointer = if self.random(3) == 0 { self.random(9) } else { SCRATCH };
        self.regs.rax = if self.random(20) == 0 { self.random(70) } else { u64::from(known.raw()) };
        (self.regs.rdi, self.regs.rsi, self.regs.rdx) = (self.random(12), pointer, self.random(4));
        self.machine.now = self.machine.now.after(500);
        let (world, machine, regs) = (&mut self.world, &mut self.machine, &mut self.regs);
        let begun = world.begin_hypercall(machine, regs);
        if let Begun::Recorded(caller) = begun {
            let _ = world.recorded_hypercall(machine, regs, caller);
            return;
        }
        let short = match begun {
            Begun::Send(caller) => world.send(machine, regs, caller),
            Begun::Return(caller) => world.return_from_handler(machine, regs, caller),
            Begun::ReturnToProcess(caller) => world.return_to_process(machine, regs, caller),
            Begun::Process(caller) => world.call_of_process(machine, regs, caller),
            _ => Short::No,
        };
        if short == Short::No {
            let _ = world.finish_hypercall(machine, regs, begun);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.command("audit");
        self.command("poweroff");
        assert!(self.over);
        self.machine.log().unwrap().0.borrow().clone()
    }
}

fn image() -> &'static [u8] {
    TestImage::good(BASE).file().leak()
}

/// Plays a log to its end, checking everything every so many steps.
fn play(log: &[u8], weight: u32, image: &'static [u8], check_every: u64) -> (Step, Summary) {
    let config: &'static [u8] = text(weight).into_bytes().leak();
    let archive = |name: &str| match name {
        config::FILE => Some(config),
        "guests/test" => Some(image),
        _ => None,
    };
    let mut play = Play::new(log, &archive).expect("a log");
    loop {
        match play.step() {
            Step::More if play.summary().calls.is_multiple_of(check_every) => {
                assert_eq!(play.check(), Ok(()))
            }
            Step::More => {}
            step => return (step, play.summary()),
        }
    }
}

#[test]
fn a_run_is_played_to_the_same_answers_and_the_same_state() {
    let image = image();
    for seed in [8, 10] {
        let mut run = Run::new(seed, image);
        (0..3000).for_each(|_| run.act());
        let log = run.finish();
        let (step, summary) = play(&log, 256, image, 1000);
        assert_eq!(step, Step::End);
        assert!(summary.powered_off && !summary.broken_off, "{summary:?}");
        assert!(summary.digests > 0 && summary.hypercalls > 1000, "{summary:?}");
        assert!(summary.exceptions > 10 && summary.interrupts > 50, "{summary:?}");
    }
}

#[test]
fn what_is_not_as_it_was_is_found_and_named() {
    let image = image();
    let mut run = Run::new(5, image);
    (0..2000).for_each(|_| run.act());
    let log = run.finish();
    // Other weights mean other turns.
    let (step, _) = play(&log, 100, image, u64::MAX);
    let Step::Differs(difference) = step else { panic!("no difference: {step:?}") };
    assert!(difference.expected != difference.got);
    // Another image is seen as soon as it is copied.
    let mut other = TestImage::good(BASE);
    other.segments[0].1[0x20] ^= 1;
    let (step, _) = play(&log, 256, other.file().leak(), u64::MAX);
    let Step::Differs(difference) = step else { panic!("no difference: {step:?}") };
    assert_eq!((difference.call, difference.what.as_str()), (1, "CreateDomains"));
    assert!(difference.got.starts_with("writes bytes"), "{difference}");
    assert!(difference.to_string().starts_with("call 1: nobody, CreateDomains: expected that the core"));
}

#[test]
fn a_log_that_breaks_off_is_played_as_far_as_it_goes() {
    let image = image();
    let mut run = Run::new(9, image);
    (0..60).for_each(|_| run.act());
    let log = run.finish();
    let (_, whole) = play(&log, 256, image, u64::MAX);
    for length in (400..log.len()).step_by(log.len() / 40) {
        let (step, summary) = play(&log[..length], 256, image, u64::MAX);
        assert_eq!(step, Step::End, "cut to {length} of {}", log.len());
        assert!(summary.calls <= whole.calls);
    }
}

#[test]
fn a_damaged_log_is_played_without_harm() {
    let image = image();
    let mut run = Run::new(11, image);
    (0..60).for_each(|_| run.act());
    let log = run.finish();
    for at in (400..log.len()).step_by(log.len() / 40) {
        let mut damaged = log.clone();
        damaged[at] ^= 1 << (at % 8);
        let _ = play(&damaged, 256, image, u64::MAX);
    }
}

#[test]
fn a_kept_recording_says_whether_its_last_answer_is_still_the_same() {
    let image = image();
    let mut run = Run::new(13, image);
    (0..200).for_each(|_| run.act());
    let log = run.finish();
    let whole = cut(&log, u64::MAX).unwrap();
    assert_eq!(whole.calls, play(&log, 256, image, u64::MAX).1.calls);
    let kept = |expects, calls, weight| {
        let cut = cut(&log, calls).unwrap();
        let about = About { expects, calls: cut.calls, ..About::default() };
        let members = [
            (config::FILE.to_string(), text(weight).into_bytes()),
            ("guests/test".to_string(), image.to_vec()),
        ];
        File { about: serde_json::to_string(&about).unwrap(), members: members.to_vec(), log: cut.log }
    };
    let half = whole.calls / 2;
    let summary = judge(&kept(Expects::Same, half, 256)).unwrap();
    assert_eq!((summary.calls, summary.digests), (half, 0));
    assert!(judge(&kept(Expects::Survives, half, 256)).is_ok());
    assert!(judge(&kept(Expects::Otherwise, half, 256)).unwrap_err().contains("still the same"));
    // Of another core, here of one that weighs otherwise, the answer is another from some call on.
    let differs = judge(&kept(Expects::Same, half, 100)).unwrap_err();
    let at = differs.strip_prefix("call ").and_then(|text| text.split(':').next()?.parse().ok()).unwrap();
    assert!(judge(&kept(Expects::Otherwise, at, 100)).is_ok(), "{differs}");
    assert!(judge(&kept(Expects::Otherwise, at, 256)).is_err());
    assert!(judge(&kept(Expects::Otherwise, at + 1, 100)).is_err(), "it must not differ before");
}
