//! What the core is told before its first entry: a machine's memory, clock and maps.
//! It is the first part of a log, as words that are written as they are.

use alloc::vec::Vec;

use hypercall_abi::Mfn;

use super::form::VERSION;
use crate::frames::FrameTable;
use crate::memory::MachineAddress;
use crate::time::TimeScale;
use crate::world::Setup;

/// Words before the ranges of memory.
const FIXED: usize = 44;
/// More words than this are no start.
const WORDS_MAX: u64 = 4096;
/// Nor is what has more words of trace: 1 GiB.
const TRACE_WORDS_MAX: u64 = 1 << 27;

/// What a world is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    frames: u64,
    /// First frame and frames of each range that domains can have.
    ranges: Vec<(u64, u64)>,
    machine_to_phys: u64,
    slots: [u64; 16],
    ring1_slots: Option<[u64; 16]>,
    scale: TimeScale,
    tsc_khz: u64,
    wall_clock: u64,
    trace_words: u64,
    heap_bytes: u64,
}

impl Start {
    /// Of a setup whose frame table was given these ranges: first frame, and frames.
    pub fn new(setup: &Setup, ranges: impl Iterator<Item = (u64, u64)>) -> Self {
        Self {
            frames: setup.frames.limit().0,
            ranges: ranges.collect(),
            machine_to_phys: setup.machine_to_phys.0,
            slots: setup.hypervisor_slots,
            ring1_slots: setup.ring1_slots,
            scale: setup.scale,
            tsc_khz: setup.tsc_khz,
            wall_clock: setup.wall_clock,
            trace_words: u64::try_from(setup.trace_words).unwrap_or(0),
            heap_bytes: setup.heap_bytes,
        }
    }

    /// As words: how many follow, and they.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        let Self { frames, machine_to_phys, scale, tsc_khz, wall_clock, trace_words, heap_bytes, .. } = *self;
        let TimeScale { origin, multiplier, shift } = scale;
        let count = FIXED.saturating_add(self.ranges.len().saturating_mul(2));
        let mut words = alloc::vec![u64::try_from(count).unwrap_or(0), VERSION, frames, machine_to_phys];
        words.extend([origin, u64::from(multiplier), u64::from(shift.unsigned_abs()), u64::from(shift < 0)]);
        words.extend([tsc_khz, wall_clock, trace_words, heap_bytes, u64::from(self.ring1_slots.is_some())]);
        words.extend(self.slots);
        words.extend(self.ring1_slots.unwrap_or_default());
        for (first, frames) in &self.ranges {
            words.extend([*first, *frames]);
        }
        words
    }

    /// What the bytes of a log begin with, and how many bytes that is; `None` if it is no start.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (chunks, _) = bytes.as_chunks::<8>();
        let mut words = chunks.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let count = words.next().filter(|count| *count < WORDS_MAX)?;
        let count = usize::try_from(count).ok()?;
        let words: Vec<u64> = words.take(count).collect();
        let start = (words.len() == count).then(|| Self::from_words(&words))??;
        Some((start, count.checked_add(1)?.checked_mul(8)?))
    }

    fn from_words(words: &[u64]) -> Option<Self> {
        let (fixed, rest) = words.split_first_chunk::<12>()?;
        let [version, frames, machine_to_phys, origin, multiplier, shift, negative, rest_of @ ..] = *fixed;
        let [tsc_khz, wall_clock, trace_words, heap_bytes, has_ring1] = rest_of;
        let (slots, rest) = rest.split_first_chunk::<16>()?;
        let (ring1_slots, rest) = rest.split_first_chunk::<16>()?;
        let (pairs, odd) = rest.as_chunks::<2>();
        if version != VERSION || trace_words > TRACE_WORDS_MAX || !odd.is_empty() {
            return None;
        }
        let shift = i8::try_from(shift).ok()?;
        let scale = TimeScale {
            origin,
            multiplier: u32::try_from(multiplier).ok()?,
            shift: if negative == 0 { shift } else { shift.checked_neg()? },
        };
        Some(Self {
            frames,
            ranges: pairs.iter().map(|[first, frames]| (*first, *frames)).collect(),
            machine_to_phys,
            slots: *slots,
            ring1_slots: (has_ring1 != 0).then_some(*ring1_slots),
            scale,
            tsc_khz,
            wall_clock,
            trace_words,
            heap_bytes,
        })
    }

    /// The setup again; `None` if there is no memory for its frame table.
    #[must_use]
    pub fn setup(&self) -> Option<Setup> {
        let mut frames = FrameTable::new(self.frames).ok()?;
        for (first, count) in &self.ranges {
            frames.add_ram(Mfn(*first), *count);
        }
        Some(Setup {
            frames,
            machine_to_phys: MachineAddress(self.machine_to_phys),
            hypervisor_slots: self.slots,
            ring1_slots: self.ring1_slots,
            scale: self.scale,
            tsc_khz: self.tsc_khz,
            wall_clock: self.wall_clock,
            trace_words: usize::try_from(self.trace_words).ok()?,
            heap_bytes: self.heap_bytes,
        })
    }
}
