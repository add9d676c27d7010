//! The machine that a replay gives the core: what it told the core then, it tells it again, and what the core says is
//! held against what it said then. After the first difference, or past the log's end, its memory alone answers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use hypercall_abi::{DomId, Mfn};

use super::form::{Before, Bytes, REGISTER_NAMES, Tag, WORDS, sum, words_of};
use super::model::Model;
use crate::machine::{Machine, PciAddress, Storage, Strikes};
use crate::memory::{MachineAddress, MachineMemory};
use crate::registers::Registers;
use crate::ring::Ring;
use crate::time::{Time, TimeScale};
use crate::trace::Word;
use crate::world::Setup;

/// What was due and what came instead, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) got: String,
}

/// Where the reading of the log stands.
#[derive(Debug)]
struct Log<'a> {
    bytes: Bytes<'a>,
    before: Before,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Player<'a> {
    log: RefCell<Log<'a>>,
    memory: RefCell<Model>,
    mismatch: RefCell<Option<Mismatch>>,
    /// Whether the log has ended.
    ended: Cell<bool>,
    /// What the core said or was told so far, each held against the log.
    pub(super) compared: Cell<u64>,
    /// What it went on to ask for after the log's end.
    beyond: Cell<u64>,
    /// The last time that was told.
    now: Cell<u64>,
    scale: TimeScale,
    /// Storage of a trace, as much as there was, because where a block ends the core reads the clock once more. It is
    /// never given back: the core wants it for as long as it runs.
    trace: &'static [Word],
}

/// If the core asks for so much after the log's end, it does not come back.
const BEYOND_MAX: u64 = 50_000_000;

fn word(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl<'a> Player<'a> {
    pub(super) fn new(log: &'a [u8], setup: &Setup) -> Self {
        Self {
            trace: (0..setup.trace_words).map(|_| Word::new(0)).collect::<Vec<_>>().leak(),
            log: RefCell::new(Log { bytes: Bytes(log), before: Before::new() }),
            memory: RefCell::default(),
            mismatch: RefCell::default(),
            ended: Cell::new(false),
            compared: Cell::new(0),
            beyond: Cell::new(0),
            now: Cell::new(0),
            scale: setup.scale,
        }
    }

    /// Bytes of the log that were not read yet.
    pub(super) fn left(&self) -> usize {
        self.log.borrow().bytes.0.len()
    }

    /// The first difference.
    pub(super) fn mismatch(&self) -> Option<Mismatch> {
        self.mismatch.borrow().clone()
    }

    /// Notes a difference.
    pub(super) fn differs(&self, expected: String, got: String) {
        self.mismatch.borrow_mut().get_or_insert(Mismatch { expected, got });
    }

    /// Whether the log has no more to say.
    pub(super) fn is_over(&self) -> bool {
        self.ended.get() || self.mismatch.borrow().is_some()
    }

    /// Whether the log has ended, within an entry or between two.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Between entries: what comes next, with its words.
    pub(super) fn next(&self) -> Option<(Tag, [u64; WORDS])> {
        let mut log = self.log.borrow_mut();
        let Log { bytes, before } = &mut *log;
        let raw = bytes.byte();
        let found = raw.and_then(|raw| {
            let Some(tag) = Tag::from_raw(raw) else {
                self.differs(format!("an entry of the log, not {raw:#x}"), String::from("a damaged log"));
                return None;
            };
            Some((tag, before.read(tag, bytes)?))
        });
        if found.is_none() {
            self.ended.set(true);
        }
        found
    }

    /// The registers that come next.
    pub(super) fn registers(&self) -> Option<Registers> {
        let mut log = self.log.borrow_mut();
        let Log { bytes, before } = &mut *log;
        let registers = before.read_registers(bytes);
        if registers.is_none() {
            self.ended.set(true);
        }
        registers
    }

    /// The core says this: it must have said it then. What it was told then; `None` if the log has no more to say.
    fn say(&self, tag: Tag, says: &[u64]) -> Option<[u64; WORDS]> {
        if self.is_over() {
            return self.go_on();
        }
        let Some((found, words)) = self.next() else { return self.go_on() };
        self.compared.set(self.compared.get().wrapping_add(1));
        let said = words.get(..found.says()).unwrap_or_default();
        if found == tag && said == says {
            let mut told = [0; WORDS];
            for (to, from) in told.iter_mut().zip(words.iter().skip(found.says())) {
                *to = *from;
            }
            return Some(told);
        }
        self.differs(found.describe(said), tag.describe(says));
        None
    }

    fn go_on(&self) -> Option<[u64; WORDS]> {
        self.beyond.set(self.beyond.get().wrapping_add(1));
        assert!(self.beyond.get() < BEYOND_MAX, "the core does not come back");
        None
    }

    fn tell(&self, tag: Tag, says: &[u64]) -> Option<u64> {
        self.say(tag, says).map(|[told, ..]| told)
    }

    /// The core has returned: it must have returned so then.
    pub(super) fn leave(&self, says: &[u64], regs: Option<&Registers>) {
        if self.say(Tag::Leave, says).is_none() {
            return;
        }
        let Some(regs) = regs else { return };
        let Some(then) = self.registers() else { return };
        let pairs = words_of(&then).into_iter().zip(words_of(regs)).zip(REGISTER_NAMES);
        let (mut expected, mut got) = (String::new(), String::new());
        for ((then, now), name) in pairs.filter(|((then, now), _)| then != now) {
            expected.push_str(&format!("{name}={then:#x} "));
            got.push_str(&format!("{name}={now:#x} "));
        }
        if !got.is_empty() {
            self.differs(
                format!("returns with {}", expected.trim_end()),
                format!("returns with {}", got.trim_end()),
            );
        }
    }
}

impl MachineMemory for Player<'_> {
    fn load(&self, at: MachineAddress) -> u64 {
        if let Some(word) = self.tell(Tag::Load, &[at.0]) {
            self.memory.borrow_mut().store(at, word);
        }
        self.memory.borrow().load(at)
    }

    fn store(&mut self, at: MachineAddress, value: u64) {
        self.say(Tag::Store, &[at.0, value]);
        self.memory.get_mut().store(at, value);
    }

    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64 {
        let told = self.tell(Tag::FetchOr, &[at.0, bits]);
        let memory = self.memory.get_mut();
        let was = told.unwrap_or_else(|| memory.load(at));
        memory.store(at, was | bits);
        was
    }

    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64 {
        let told = self.tell(Tag::FetchAnd, &[at.0, bits]);
        let memory = self.memory.get_mut();
        let was = told.unwrap_or_else(|| memory.load(at));
        memory.store(at, was & bits);
        was
    }

    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64> {
        let told = self.say(Tag::Exchange, &[at.0, old, new]);
        let memory = self.memory.get_mut();
        let was = told.map_or_else(|| memory.load(at), |[_, was, ..]| was);
        if was == old {
            memory.store(at, new);
            return Ok(());
        }
        memory.store(at, was);
        Err(was)
    }

    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        if self.say(Tag::Read, &[at.0, word(into.len())]).is_some() {
            match self.log.borrow_mut().bytes.take(into.len()) {
                Some(bytes) => self.memory.borrow_mut().write(at, bytes),
                None => self.ended.set(true),
            }
        }
        self.memory.borrow().read(at, into);
    }

    fn write(&mut self, at: MachineAddress, from: &[u8]) {
        self.say(Tag::Write, &[at.0, word(from.len()), sum(from)]);
        self.memory.get_mut().write(at, from);
    }

    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        self.say(Tag::Copy, &[to.0, from.0, word(bytes)]);
        self.memory.get_mut().copy(to, from, bytes);
    }

    fn zero_frame(&mut self, frame: Mfn) {
        self.say(Tag::Zero, &[frame.0]);
        self.memory.get_mut().zero(frame);
    }
}

impl Storage for Player<'_> {
    fn ticks(&self) -> u64 {
        self.tell(Tag::Ticks, &[]).unwrap_or(0)
    }

    fn trace_words(&self) -> &'static [Word] {
        self.trace
    }

    fn trace_load(&self, index: usize) -> u64 {
        self.tell(Tag::TraceLoad, &[word(index)]).unwrap_or(0)
    }
}

impl Machine for Player<'_> {
    fn now(&self) -> Time {
        if let Some(now) = self.tell(Tag::Now, &[]) {
            self.now.set(now);
        }
        Time(self.now.get())
    }

    fn heap_used(&self) -> u64 {
        self.tell(Tag::Heap, &[]).unwrap_or(0)
    }

    fn flush_address(&mut self, address: u64) {
        self.say(Tag::Flush, &[address]);
    }

    fn load_root(&mut self, ring: Ring, root: Mfn) {
        self.say(Tag::Root, &[u64::from(ring.number()), root.0]);
    }

    fn pci_read(&mut self, device: PciAddress, offset: u16, width: u8) -> u32 {
        let says = [u64::from(device.raw()), u64::from(offset), u64::from(width)];
        self.tell(Tag::PciRead, &says).map_or(u32::MAX, low)
    }

    fn pci_write(&mut self, device: PciAddress, offset: u16, width: u8, value: u32) {
        let says = [u64::from(device.raw()), u64::from(offset), u64::from(width), u64::from(value)];
        self.say(Tag::PciWrite, &says);
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let told = self.say(Tag::Cpuid, &[u64::from(leaf), u64::from(subleaf)]);
        told.map_or([0; 4], |[eax, ebx, ecx, edx, ..]| [eax, ebx, ecx, edx].map(low))
    }

    fn segment_bases(&self) -> Option<(u64, u64)> {
        let [known, fs, gs, ..] = self.say(Tag::Bases, &[])?;
        (known != 0).then_some((fs, gs))
    }

    fn hypervisor_ticks(&self, id: DomId) -> Option<u64> {
        let [known, ticks, ..] = self.say(Tag::Took, &[u64::from(id.0)])?;
        (known != 0).then_some(ticks)
    }

    fn strikes(&self) -> Strikes {
        let [nmis, machine_checks, ..] = self.say(Tag::Strikes, &[]).unwrap_or_default();
        Strikes { nmis, machine_checks }
    }

    fn trace_scale(&self) -> TimeScale {
        self.say(Tag::Scale, &[]);
        self.scale
    }
}

/// Memory as a replay has it, to look at without the core: what a check of the whole state reads.
pub(super) struct Memory<'p, 'a>(pub(super) &'p Player<'a>);

impl MachineMemory for Memory<'_, '_> {
    fn load(&self, at: MachineAddress) -> u64 {
        self.0.memory.borrow().load(at)
    }

    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        self.0.memory.borrow().read(at, into);
    }

    // A check writes nothing.
    fn store(&mut self, _: MachineAddress, _: u64) {}

    fn fetch_or(&mut self, at: MachineAddress, _: u64) -> u64 {
        self.load(at)
    }

    fn fetch_and(&mut self, at: MachineAddress, _: u64) -> u64 {
        self.load(at)
    }

    fn compare_exchange(&mut self, at: MachineAddress, _: u64, _: u64) -> Result<(), u64> {
        Err(self.load(at))
    }

    fn write(&mut self, _: MachineAddress, _: &[u8]) {}

    fn copy(&mut self, _: MachineAddress, _: MachineAddress, _: usize) {}

    fn zero_frame(&mut self, _: Mfn) {}
}
