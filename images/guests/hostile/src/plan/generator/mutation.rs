//! Spoils a call: a pointer, an argument, a piece of its memory, or its number.
//! Half of what a hypervisor must survive is a good call with one thing wrong.

use alloc::vec::Vec;

use hypercall_abi::layout::{HYPERVISOR_END, HYPERVISOR_START};
use hypercall_abi::{Hypercall, Mfn, PAGE_SIZE};

use super::Generator;
use crate::{Call, Expect};

/// Calls of which a spoilt word could put the guest to sleep or to death, so that only their pointers are spoilt.
const DELICATE: [Hypercall; 4] =
    [Hypercall::SchedOp, Hypercall::StackSwitch, Hypercall::Extension, Hypercall::Iret];

impl Generator {
    /// Spoils a call in one way or two.
    pub(super) fn mutate(&mut self, call: &mut Call) {
        let delicate = DELICATE.iter().any(|delicate| u64::from(delicate.raw()) == call.number);
        for _ in 0..=self.random.below(2) {
            match self.random.below(if delicate { 3 } else { 8 }) {
                0..3 => {
                    let pointers: Vec<usize> =
                        (0..5).filter(|&i| call.writes.iter().any(|(at, _)| *at == call.args[i])).collect();
                    if !pointers.is_empty() {
                        let which = self.random.pick(&pointers);
                        call.args[which] = self.bad_pointer();
                    } else if !delicate {
                        let which = self.random.below(5) as usize;
                        call.args[which] = self.rubbish();
                    }
                }
                3 => {
                    let which = self.random.below(5) as usize;
                    call.args[which] = self.rubbish();
                }
                4..7 => self.spoil_memory(call),
                _ => {
                    let known = Hypercall::ALL.iter().filter(|known| !DELICATE.contains(known));
                    let known: Vec<_> = known.collect();
                    let which = self.random.pick(&known);
                    // A clear mistake of the caller: its memory is not what this call expects.
                    if *which != Hypercall::SetTrapTable && *which != Hypercall::Multicall {
                        call.number = which.raw().into();
                    }
                }
            }
        }
        call.expect = Expect::Any;
    }

    fn spoil_memory(&mut self, call: &mut Call) {
        let value = self.rubbish().to_le_bytes();
        if call.writes.is_empty() {
            return;
        }
        let which = self.random.below(call.writes.len() as u64) as usize;
        let width = self.random.pick(&[2, 4, 8]);
        let Some((_, bytes)) = call.writes.get_mut(which) else { return };
        if bytes.len() >= width {
            let at = self.random.below((bytes.len() / width) as u64) as usize * width;
            if let Some(piece) = bytes.get_mut(at..at + width) {
                piece.copy_from_slice(&value[..width]);
            }
            // What the piece is now part of may name something that the piece alone does not.
            if let Some(word) = bytes.get_mut(at & !7..(at & !7) + 8).and_then(|word| word.first_chunk_mut())
            {
                *word = self.spare_image(u64::from_le_bytes(*word)).to_le_bytes();
            }
        }
    }

    /// A pointer that leads nowhere good.
    pub(super) fn bad_pointer(&mut self) -> u64 {
        let edge = self.estate.argument_end();
        let near = self.random.below(64);
        match self.random.below(14) {
            0 => near,
            1 => 0x0000_8000_0000_0000 - near,
            2 => 0x0000_8000_0000_0000 + (self.random.bits() >> 18),
            3 => HYPERVISOR_START + self.random.any_size() % (HYPERVISOR_END - HYPERVISOR_START),
            4 => HYPERVISOR_START - near,
            5 => HYPERVISOR_END - near,
            6 => HYPERVISOR_END + self.random.any_size() % (1 << 40),
            7 => self.estate.read_only + near * 8,
            8 => self.estate.unmapped + near * 8,
            9 => edge - near,
            10 => (self.estate.argument + near) | 1,
            11 => u64::MAX - near,
            12 => self.estate.argument + PAGE_SIZE as u64 - near,
            _ => self.random.bits(),
        }
    }

    /// A word that is likely to be wrong somewhere.
    pub(super) fn rubbish(&mut self) -> u64 {
        let word = match self.random.below(12) {
            0 => self.random.below(8),
            1 => u64::MAX - self.random.below(4),
            2 => 1 << self.random.below(64),
            3 => (1_u64 << self.random.below(64)).wrapping_sub(1),
            4 => 0x7ff0 + self.random.below(16),
            5 => self.foreign_frame().0,
            6 => self.foreign_frame().address() | self.random.below(4096),
            7 => self.bad_pointer(),
            8 => self.random.below(64),
            9 => self.random.below(8192),
            _ => self.random.any_size(),
        };
        self.spare_image(word)
    }

    /// An attack that by chance overwrites our own code or records proves nothing.
    fn spare_image(&self, word: u64) -> u64 {
        if self.estate.may_hit_image(word) { word | 1 << 45 } else { word }
    }

    /// A frame that is not the domain's own, and may be the hypervisor's or nobody's.
    pub(super) fn foreign_frame(&mut self) -> Mfn {
        for _ in 0..8 {
            let frame = Mfn(match self.random.below(8) {
                0 => 0,
                1 => 0x200 + self.random.below(0x400),
                2 => self.random.below(0x100),
                3 => 0xf_ffff - self.random.below(0x1_2000),
                4 => (1 << 40) - 1 - self.random.below(16),
                5 => self.random.any_size() & 0xff_ffff_ffff,
                _ => self.random.below(0x4_0000),
            });
            if !self.estate.owns(frame) {
                return frame;
            }
        }
        Mfn(0)
    }
}
