//! Lists of timers by how far their deadline is from a base, with a bit for each list that is not empty.
//!
//! A time is eleven digits of six bits. A deadline's level is the highest digit in which it differs from the base, and
//! its slot is what that digit says. So all of a level is earlier than all of the next, and in a level slots are in order:
//! the first list of the first level holds the earliest timer, and two bit scans find it.

use alloc::vec::Vec;

use hypercall_abi::Errno;

use super::NOBODY;
use crate::time::Time;

/// Digits of a time.
const LEVELS: usize = 11;
/// Bits of a digit.
const DIGIT: u32 = 6;
/// Values of a digit.
const WIDTH: usize = 1 << DIGIT;

/// A level and a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    level: u32,
    digit: u32,
}

impl Place {
    /// Where a deadline belongs as seen from a base that is no later.
    #[inline]
    pub(super) const fn of(at: Time, base: Time) -> Self {
        let level = ((at.0 ^ base.0) | 1).ilog2() / DIGIT;
        // The lowest six bits of what is left; a shift is at most 60.
        let digit = at.0.wrapping_shr(level.wrapping_mul(DIGIT)).to_le_bytes()[0] & 0x3f;
        Self { level, digit: u32::from_le_bytes([digit, 0, 0, 0]) }
    }

    /// Whether a slot in which one deadline is would have another one too.
    #[inline]
    pub(super) const fn spans(self, one: Time, other: Time) -> bool {
        (one.0 ^ other.0).wrapping_shr(self.level.wrapping_mul(DIGIT)) == 0
    }

    /// Whether all timers of the slot have one deadline.
    #[inline]
    pub(super) const fn is_finest(self) -> bool {
        self.level == 0
    }

    const fn bit(self) -> u64 {
        1_u64.wrapping_shl(self.digit)
    }

    fn index(self) -> usize {
        usize::try_from(self.level.wrapping_mul(1 << DIGIT) | self.digit).unwrap_or(usize::MAX)
    }
}

/// One list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// None of its timers is earlier.
    pub(super) earliest: Time,
    /// Number of its first timer.
    pub(super) first: u32,
}

/// All lists.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// A bit for each level that has timers.
    levels: u32,
    /// For each level a bit for each slot that has.
    filled: [u64; LEVELS],
    slots: Vec<Slot>,
}

impl Slots {
    /// Makes the slots, if there are none yet.
    pub(super) fn prepare(&mut self) -> Result<(), Errno> {
        if self.slots.is_empty() {
            let count = LEVELS.saturating_mul(WIDTH);
            self.slots.try_reserve_exact(count).map_err(|_| Errno::NoMem)?;
            self.slots.resize(count, Slot { earliest: Time::NEVER, first: NOBODY });
        }
        Ok(())
    }

    /// Puts a timer before the first of a list, and returns that.
    #[inline]
    pub(super) fn push(&mut self, place: Place, number: u32, at: Time) -> u32 {
        let Some(slot) = self.slots.get_mut(place.index()) else { return NOBODY };
        let after = slot.first;
        let earliest = if after == NOBODY { at } else { slot.earliest.min(at) };
        *slot = Slot { earliest, first: number };
        self.levels |= 1_u32.wrapping_shl(place.level);
        if let Some(filled) = self.filled_mut(place) {
            *filled |= place.bit();
        }
        after
    }

    /// Sets which is the first timer of a list.
    #[inline]
    pub(super) fn set_first(&mut self, place: Place, number: u32) {
        if let Some(slot) = self.slots.get_mut(place.index()) {
            slot.first = number;
        }
        if number == NOBODY
            && let Some(filled) = self.filled_mut(place)
        {
            *filled &= !place.bit();
            if *filled == 0 {
                self.levels &= !1_u32.wrapping_shl(place.level);
            }
        }
    }

    /// Empties a list.
    pub(super) fn clear(&mut self, place: Place) {
        self.set_first(place, NOBODY);
    }

    /// Sets from when on there are timers in a list.
    pub(super) fn set_earliest(&mut self, place: Place, at: Time) {
        if let Some(slot) = self.slots.get_mut(place.index()) {
            slot.earliest = at;
        }
    }

    /// The first list that has timers.
    #[inline]
    pub(super) fn first(&self) -> Option<(Place, Slot)> {
        let level = self.levels.trailing_zeros();
        let filled = self.filled.get(usize::try_from(level).ok()?)?;
        let place = Place { level, digit: filled.trailing_zeros() };
        Some((place, *self.slots.get(place.index())?))
    }

    /// No timer is earlier than this.
    #[inline]
    pub(super) fn earliest(&self) -> Time {
        self.first().map_or(Time::NEVER, |(_, slot)| slot.earliest)
    }

    /// All lists that have timers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, Slot)> {
        let places = (0_u32..).zip(&self.filled).flat_map(|(level, filled)| {
            (0..u64::BITS)
                .map(move |digit| Place { level, digit })
                .filter(move |place| filled & place.bit() != 0)
        });
        places.filter_map(|place| Some((place, *self.slots.get(place.index())?)))
    }

    fn filled_mut(&mut self, place: Place) -> Option<&mut u64> {
        self.filled.get_mut(usize::try_from(place.level).ok()?)
    }
}
