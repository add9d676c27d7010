//! Machine memory for tests: an honest one, and one that changes under the reader's hands.
//! The second exists because a guest on another processor may rewrite a word between two reads of it.

#![cfg_attr(
    not(test),
    expect(
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects,
        reason = "a fake serves tests, in which a panic is the right answer to a mistake"
    )
)]

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use hypercall_abi::{Mfn, PAGE_SIZE};

use crate::memory::{MachineAddress, MachineMemory};

/// Words in a frame.
const WORDS: usize = PAGE_SIZE / 8;

/// Memory of a few frames, numbered from 0, that does what it is told and panics outside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeMemory {
    words: Vec<u64>,
}

impl FakeMemory {
    /// `frames` frames. They are filled with a pattern, so that code that forgets to zero a frame is found.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self { words: vec![0xdead_beef_dead_beef; frames * WORDS] }
    }

    fn word(at: MachineAddress) -> usize {
        assert_eq!(at.0 % 8, 0, "word access at {at:?} is not aligned");
        (at.0 / 8) as usize
    }

    fn byte(&self, at: u64) -> u8 {
        self.words[(at / 8) as usize].to_ne_bytes()[(at % 8) as usize]
    }

    fn set_byte(&mut self, at: u64, value: u8) {
        let word = &mut self.words[(at / 8) as usize];
        let mut bytes = word.to_ne_bytes();
        bytes[(at % 8) as usize] = value;
        *word = u64::from_ne_bytes(bytes);
    }

    fn within_frame(at: MachineAddress, bytes: usize) {
        assert!(
            (at.0 as usize % PAGE_SIZE) + bytes <= PAGE_SIZE,
            "{bytes} bytes at {at:?} cross a frame's end"
        );
    }
}

impl MachineMemory for FakeMemory {
    fn load(&self, at: MachineAddress) -> u64 {
        self.words[Self::word(at)]
    }

    fn store(&mut self, at: MachineAddress, value: u64) {
        self.words[Self::word(at)] = value;
    }

    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64 {
        let word = &mut self.words[Self::word(at)];
        core::mem::replace(word, *word | bits)
    }

    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64 {
        let word = &mut self.words[Self::word(at)];
        core::mem::replace(word, *word & bits)
    }

    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64> {
        let word = &mut self.words[Self::word(at)];
        if *word == old {
            *word = new;
            Ok(())
        } else {
            Err(*word)
        }
    }

    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        Self::within_frame(at, into.len());
        for (offset, byte) in into.iter_mut().enumerate() {
            *byte = self.byte(at.0 + offset as u64);
        }
    }

    fn write(&mut self, at: MachineAddress, from: &[u8]) {
        Self::within_frame(at, from.len());
        for (offset, byte) in from.iter().enumerate() {
            self.set_byte(at.0 + offset as u64, *byte);
        }
    }

    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        Self::within_frame(to, bytes);
        Self::within_frame(from, bytes);
        for offset in 0..bytes as u64 {
            let byte = self.byte(from.0 + offset);
            self.set_byte(to.0 + offset, byte);
        }
    }

    fn zero_frame(&mut self, frame: Mfn) {
        let first = frame.0 as usize * WORDS;
        self.words[first..first + WORDS].fill(0);
    }
}

/// Memory in which chosen frames belong to a hostile writer, who rewrites a word before each read of it.
///
/// Choose only frames that a guest could write; the others are the hypervisor's or page tables.
#[derive(Debug)]
pub struct FickleMemory {
    inner: RefCell<FakeMemory>,
    fickle: BTreeSet<u64>,
    state: Cell<u64>,
    /// Words rewritten so far.
    pub rewritten: Cell<u64>,
}

impl FickleMemory {
    /// Hostile writing into `inner`, repeatable by `seed`.
    #[must_use]
    pub fn new(inner: FakeMemory, seed: u64) -> Self {
        Self {
            inner: RefCell::new(inner),
            fickle: BTreeSet::new(),
            state: Cell::new(seed | 1),
            rewritten: Cell::new(0),
        }
    }

    /// Gives a frame to the writer.
    pub fn make_fickle(&mut self, frame: Mfn) {
        self.fickle.insert(frame.0);
    }

    /// Takes a frame from the writer.
    pub fn make_honest(&mut self, frame: Mfn) {
        self.fickle.remove(&frame.0);
    }

    /// The next number of a small seeded generator (xorshift).
    fn random(&self) -> u64 {
        let mut x = self.state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.set(x);
        x
    }

    /// Rewrites the word at `at` in one of the ways that attackers choose: a bit, all of it, or another word nearby.
    fn disturb(&self, at: MachineAddress) {
        if !self.fickle.contains(&at.frame().0) {
            return;
        }
        let at = MachineAddress(at.0 & !7);
        let mut inner = self.inner.borrow_mut();
        let old = inner.load(at);
        let choice = self.random();
        let new = match choice % 4 {
            0 => old ^ (1 << (self.random() % 64)),
            1 => self.random(),
            2 => inner.load(MachineAddress((at.0 & !0xfff) | (self.random() & 0xff8))),
            _ => return,
        };
        inner.store(at, new);
        self.rewritten.set(self.rewritten.get() + 1);
    }
}

impl MachineMemory for FickleMemory {
    fn load(&self, at: MachineAddress) -> u64 {
        self.disturb(at);
        self.inner.borrow().load(at)
    }

    fn store(&mut self, at: MachineAddress, value: u64) {
        self.inner.get_mut().store(at, value);
    }

    fn fetch_or(&mut self, at: MachineAddress, bits: u64) -> u64 {
        self.disturb(at);
        self.inner.get_mut().fetch_or(at, bits)
    }

    fn fetch_and(&mut self, at: MachineAddress, bits: u64) -> u64 {
        self.disturb(at);
        self.inner.get_mut().fetch_and(at, bits)
    }

    fn compare_exchange(&mut self, at: MachineAddress, old: u64, new: u64) -> Result<(), u64> {
        self.disturb(at);
        self.inner.get_mut().compare_exchange(at, old, new)
    }

    fn read(&self, at: MachineAddress, into: &mut [u8]) {
        for word in (at.0 & !7..at.0 + into.len() as u64).step_by(8) {
            self.disturb(MachineAddress(word));
        }
        self.inner.borrow().read(at, into);
    }

    fn write(&mut self, at: MachineAddress, from: &[u8]) {
        self.inner.get_mut().write(at, from);
    }

    fn copy(&mut self, to: MachineAddress, from: MachineAddress, bytes: usize) {
        self.disturb(from);
        self.inner.get_mut().copy(to, from, bytes);
    }

    fn zero_frame(&mut self, frame: Mfn) {
        self.inner.get_mut().zero_frame(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fickle_frame_changes_between_two_reads_and_others_do_not() {
        let mut memory = FickleMemory::new(FakeMemory::new(2), 7);
        memory.make_fickle(Mfn(1));
        let (honest, fickle) = (MachineAddress(8), MachineAddress(4096));
        assert!((0..100).all(|_| memory.load(honest) == memory.load(honest)));
        assert!((0..100).any(|_| memory.load(fickle) != memory.load(fickle)));
        assert!(memory.rewritten.get() > 0);
    }
}
