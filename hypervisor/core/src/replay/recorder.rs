//! The machine as the core sees it while a run is recorded: it does what another does, and notes each word of it.
//! It exists as a machine so that no part of the core knows whether it is recorded.

use core::cell::{Cell, RefCell};
use core::ops::{Deref, DerefMut};

use hypercall_abi::{DomId, Mfn};

use super::entries::{Answer, Entry};
use super::form::{Before, Tag, sum};
use super::start::Start;
use super::state::digest;
use crate::effects::Todo;
use crate::machine::{Machine, PciAddress, Storage, Strikes};
use crate::memory::{MachineAddress, MachineMemory};
use crate::registers::Registers;
use crate::ring::Ring;
use crate::time::{Time, TimeScale};
use crate::trace::Word;
use crate::world::World;

/// Where a log's bytes go. They are given by a shared reference, because the core reads memory by one.
pub trait Sink {
    /// Takes a byte, and waits for room if there is none: nothing may be lost.
    fn put(&self, byte: u8);
    /// What was put so far is to be seen by whoever reads.
    fn publish(&self);
}

/// Entries into the core between two digests of its state: a power of two.
const DIGEST_EVERY: u64 = 1 << 15;

/// A machine whose dealings with the core are noted.
#[derive(Debug)]
pub struct Recorder<M, S> {
    inner: M,
    /// `None` if nobody wants the log.
    log: Option<S>,
    before: RefCell<Before>,
    /// Entries into the core so far.
    entries: Cell<u64>,
}

impl<M, S> Deref for Recorder<M, S> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.inner
    }
}

impl<M, S> DerefMut for Recorder<M, S> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.inner
    }
}

fn word(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl<M, S: Sink> Recorder<M, S> {
    /// Records what a machine does for a world that begins so. Without a log it records nothing.
    pub fn new(inner: M, log: Option<S>, start: &Start) -> Self {
        if let Some(log) = &log {
            start.words().iter().flat_map(|word| word.to_le_bytes()).for_each(|byte| log.put(byte));
            log.publish();
        }
        Self { inner, log, before: RefCell::new(Before::new()), entries: Cell::new(0) }
    }

    /// The log.
    pub const fn log(&self) -> Option<&S> {
        self.log.as_ref()
    }

    fn note(&self, tag: Tag, words: &[u64]) {
        self.note_with(tag, words, &[]);
    }

    fn note_with(&self, tag: Tag, words: &[u64], bytes: &[u8]) {
        if let Some(log) = &self.log {
            self.before.borrow_mut().write(tag, words, &mut |byte| log.put(byte));
            bytes.iter().for_each(|byte| log.put(*byte));
            log.publish();
        }
    }

    fn note_registers(&self, regs: &Registers) {
        if let Some(log) = &self.log {
            self.before.borrow_mut().write_registers(regs, &mut |byte| log.put(byte));
            log.publish();
        }
    }

    /// The core is entered.
    pub(super) fn enter(
        &self,
        world: &World,
        (entry, arguments): (Entry, [u64; 3]),
        regs: Option<&Registers>,
    ) {
        let [first, second, third] = arguments;
        let todo = u64::from(world.effects.todo.bits());
        self.note(Tag::Enter, &[u64::from(entry.raw()), first, second, third, todo]);
        if let Some(regs) = regs {
            self.note_registers(regs);
        }
    }

    /// It has returned. The state's digest is noted now and then, and at the end.
    pub(super) fn leave(&self, world: &World, [answer, second]: Answer, regs: Option<&Registers>) {
        if self.log.is_none() {
            return;
        }
        let todo = world.effects.todo;
        self.note(Tag::Leave, &[answer, second, u64::from(todo.bits()), world.next_deadline().0]);
        if let Some(regs) = regs {
            self.note_registers(regs);
        }
        self.entries.set(self.entries.get().wrapping_add(1));
        if self.entries.get() & (DIGEST_EVERY - 1) == 0 || todo.contains(Todo::POWEROFF) {
            self.note(Tag::Digest, &[digest(world)]);
        }
    }
}

impl<M: MachineMemory, S: Sink> MachineMemory for Recorder<M, S> {
    fn load(&self, at: MachineAddress) -> u64 {
        let word = self.inner.load(at);
        self.note(Tag::Load, &[at.0, word]);
        word
    }

    fn store(&mut self, at: MachineAddress, value: u64) {
        self.note(Tag::Store, &[at.0, value]);
        self.inner.store(at, value);
    }

    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64 {
        let was = self.inner.fetch_or(at, bits);
        self.note(Tag::FetchOr, &[at.0, bits, was]);
        was
    }

    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64 {
        let was = self.inner.fetch_and(at, bits);
        self.note(Tag::FetchAnd, &[at.0, bits, was]);
        was
    }

    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64> {
        let done = self.inner.compare_exchange(at, old, new);
        let (yes, was) = match done {
            Ok(()) => (1, old),
            Err(was) => (0, was),
        };
        self.note(Tag::Exchange, &[at.0, old, new, yes, was]);
        done
    }

    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        self.inner.read(at, into);
        self.note_with(Tag::Read, &[at.0, word(into.len())], into);
    }

    fn write(&mut self, at: MachineAddress, from: &[u8]) {
        self.note(Tag::Write, &[at.0, word(from.len()), sum(from)]);
        self.inner.write(at, from);
    }

    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        self.note(Tag::Copy, &[to.0, from.0, word(bytes)]);
        self.inner.copy(to, from, bytes);
    }

    fn zero_frame(&mut self, frame: Mfn) {
        self.note(Tag::Zero, &[frame.0]);
        self.inner.zero_frame(frame);
    }
}

impl<M: Storage, S: Sink> Storage for Recorder<M, S> {
    fn ticks(&self) -> u64 {
        let ticks = self.inner.ticks();
        self.note(Tag::Ticks, &[ticks]);
        ticks
    }

    // What the trace says is no part of the state, so what is written there is not noted.
    fn trace_words(&self) -> &'static [Word] {
        self.inner.trace_words()
    }

    fn trace_store(&mut self, index: usize, word: u64) {
        self.inner.trace_store(index, word);
    }

    fn trace_load(&self, index: usize) -> u64 {
        let found = self.inner.trace_load(index);
        self.note(Tag::TraceLoad, &[word(index), found]);
        found
    }
}

impl<M: Machine, S: Sink> Machine for Recorder<M, S> {
    fn now(&self) -> Time {
        let now = self.inner.now();
        self.note(Tag::Now, &[now.0]);
        now
    }

    fn heap_used(&self) -> u64 {
        let used = self.inner.heap_used();
        self.note(Tag::Heap, &[used]);
        used
    }

    fn flush_address(&mut self, address: u64) {
        self.note(Tag::Flush, &[address]);
        self.inner.flush_address(address);
    }

    fn load_root(&mut self, ring: Ring, root: Mfn) {
        self.note(Tag::Root, &[u64::from(ring.number()), root.0]);
        self.inner.load_root(ring, root);
    }

    fn load_root_ahead(&mut self, ring: Ring, root: Mfn) {
        self.inner.load_root_ahead(ring, root);
    }

    fn leave_root(&mut self) {
        self.inner.leave_root();
    }

    fn pci_read(&mut self, device: PciAddress, offset: u16, width: u8) -> u32 {
        let value = self.inner.pci_read(device, offset, width);
        let says = [u64::from(device.raw()), u64::from(offset), u64::from(width)];
        let [place, offset, width] = says;
        self.note(Tag::PciRead, &[place, offset, width, u64::from(value)]);
        value
    }

    fn pci_write(&mut self, device: PciAddress, offset: u16, width: u8, value: u32) {
        let (place, offset64, width64) = (u64::from(device.raw()), u64::from(offset), u64::from(width));
        self.note(Tag::PciWrite, &[place, offset64, width64, u64::from(value)]);
        self.inner.pci_write(device, offset, width, value);
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let answer = self.inner.cpuid(leaf, subleaf);
        let [eax, ebx, ecx, edx] = answer.map(u64::from);
        self.note(Tag::Cpuid, &[u64::from(leaf), u64::from(subleaf), eax, ebx, ecx, edx]);
        answer
    }

    fn segment_bases(&self) -> Option<(u64, u64)> {
        let bases = self.inner.segment_bases();
        let (fs, gs) = bases.unwrap_or_default();
        self.note(Tag::Bases, &[u64::from(bases.is_some()), fs, gs]);
        bases
    }

    fn hypervisor_ticks(&self, id: DomId) -> Option<u64> {
        let ticks = self.inner.hypervisor_ticks(id);
        self.note(Tag::Took, &[u64::from(id.0), u64::from(ticks.is_some()), ticks.unwrap_or(0)]);
        ticks
    }

    fn strikes(&self) -> Strikes {
        let strikes = self.inner.strikes();
        self.note(Tag::Strikes, &[strikes.nmis, strikes.machine_checks]);
        strikes
    }

    fn trace_scale(&self) -> TimeScale {
        let scale = self.inner.trace_scale();
        let shift = u64::from(scale.shift.unsigned_abs());
        self.note(Tag::Scale, &[scale.origin, u64::from(scale.multiplier), shift]);
        scale
    }
}
