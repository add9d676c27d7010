//! Deadlines of all domains, with one place for each vCPU and kind.
//! Arming, moving, stopping and taking a due timer cost the same however many are armed, and memory is taken when a domain
//! is admitted, never when a guest arms a timer.
//!
//! Timers lie in the [`slots::Slots`] of their deadline as seen from a base, which is no later than any of them. When
//! the first slot holds several, the base moves up to the earliest and the slot is spread over finer ones: a timer moves at most once a
//! level, so what is done for it is bounded when it is armed. Deadlines are exact: the finest slots are a nanosecond wide.
//! What [`Timers::next`] says may be too early after timers were stopped, once for each that was, and never too late.

mod slots;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use hypercall_abi::{DomId, Errno};

use crate::time::Time;
use slots::{Place, Slots};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The guest's single-shot timer.
    Single,
    /// The end of a sleep with a deadline.
    Sleep,
    /// The end of a window in which events gather.
    Window,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Single, Self::Sleep, Self::Window];

    const fn index(self) -> u32 {
        match self {
            Self::Single => 0,
            Self::Sleep => 1,
            Self::Window => 2,
        }
    }
}

/// Kinds that there are.
const KINDS: u32 = 3;
/// Number of no timer.
const NOBODY: u32 = u32::MAX;
/// In [`Armed::before`]: the first of its slot.
const FIRST: u32 = u32::MAX;
/// In [`Armed::before`]: not armed.
const UNARMED: u32 = u32::MAX - 1;

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// Whose.
    pub domain: DomId,
    /// What for.
    pub kind: Kind,
}

impl Timer {
    fn number(self) -> u32 {
        // At most 0xffff * 3 + 2.
        u32::from(self.domain.0).wrapping_mul(KINDS).wrapping_add(self.kind.index())
    }

    fn of(number: u32) -> Self {
        let domain = DomId(u16::try_from(number / KINDS).unwrap_or(u16::MAX));
        let kind = Kind::ALL.into_iter().find(|kind| kind.index() == number % KINDS);
        Self { domain, kind: kind.unwrap_or(Kind::Single) }
    }
}

/// A timer's place in its slot's list.
#[derive(Clone, Copy, Debug)]
struct Armed {
    at: Time,
    before: u32,
    after: u32,
}

impl Armed {
    /// Whether it is the only one of its slot.
    const fn is_alone(self) -> bool {
        self.before == FIRST && self.after == NOBODY
    }
}

/// Bytes that one domain's timers take.
pub const BYTES_PER_DOMAIN: usize = Kind::ALL.len() * size_of::<Armed>();

/// All timers.
#[derive(Debug)]
pub struct Timers {
    /// No armed timer is earlier.
    base: Time,
    /// When somebody has to look: no armed timer is earlier.
    next: Time,
    slots: Slots,
    /// By number.
    timers: Vec<Armed>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { base: Time(0), next: Time::NEVER, slots: Slots::default(), timers: Vec::new() }
    }
}

impl Timers {
    /// Makes what all domains' timers share, which the first domain's admission does otherwise.
    ///
    /// # Errors
    /// [`Errno::NoMem`].
    pub fn prepare(&mut self) -> Result<(), Errno> {
        self.slots.prepare()
    }

    /// Makes room for a domain's timers.
    ///
    /// # Errors
    /// [`Errno::NoMem`] if there is none; nothing has changed.
    pub fn admit(&mut self, domain: DomId) -> Result<(), Errno> {
        self.slots.prepare()?;
        let places = usize::from(domain.0).saturating_add(1).saturating_mul(Kind::ALL.len());
        if let Some(missing) = places.checked_sub(self.timers.len()) {
            self.timers.try_reserve(missing).map_err(|_| Errno::NoMem)?;
            self.timers.resize(places, Armed { at: Time::NEVER, before: UNARMED, after: NOBODY });
        }
        Ok(())
    }

    /// Stops all of a domain's timers.
    pub fn dismiss(&mut self, domain: DomId) {
        for kind in Kind::ALL {
            self.stop(Timer { domain, kind });
        }
    }

    /// Arms a timer, or moves it if it is armed. A domain that was not admitted has no timers. A deadline before one
    /// that was due already is moved up to that.
    #[inline]
    pub fn set(&mut self, timer: Timer, at: Time) {
        if self.put_off(timer, at).is_none() {
            self.set_anew(timer, at);
        }
    }

    /// Moves an armed timer that is alone in its slot to a deadline in the same slot; returns whether somebody has to
    /// look earlier than before, or `None` if it cannot be moved so.
    #[inline]
    pub fn put_off(&mut self, timer: Timer, at: Time) -> Option<bool> {
        let number = timer.number();
        let old = self.armed(number).filter(|old| old.is_alone())?;
        let place = Place::of(old.at, self.base);
        // No deadline of a slot that is in use is before the base.
        if !place.spans(old.at, at) {
            return None;
        }
        self.slots.set_earliest(place, at);
        if let Some(armed) = self.armed_mut(number) {
            armed.at = at;
        }
        let is_first = at < self.next;
        if is_first || old.at == self.next {
            self.next = at;
        }
        Some(is_first)
    }

    /// As [`Self::set`], and does not look whether the timer stays in its slot. Apart, so that the usual way has nothing to keep.
    #[inline(never)]
    pub fn set_anew(&mut self, timer: Timer, at: Time) {
        let (number, at) = (timer.number(), at.max(self.base));
        let Some(old) = self.armed(number) else { return };
        if old.before != UNARMED {
            self.take_out(Place::of(old.at, self.base), old);
            if old.at == self.next {
                self.next = self.slots.earliest();
            }
        }
        self.put_in(number, at);
        self.next = self.next.min(at);
    }

    /// Stops a timer; returns whether it was armed.
    pub fn stop(&mut self, timer: Timer) -> bool {
        let number = timer.number();
        let Some(old) = self.armed(number).filter(|old| old.before != UNARMED) else { return false };
        self.take_out(Place::of(old.at, self.base), old);
        self.forget(number);
        if old.at == self.next {
            self.next = self.slots.earliest();
        }
        true
    }

    /// When a timer is due, if it is armed.
    #[must_use]
    pub fn deadline(&self, timer: Timer) -> Option<Time> {
        self.armed(timer.number()).filter(|armed| armed.before != UNARMED).map(|armed| armed.at)
    }

    /// When somebody has to look for a due timer: when the first is due, or earlier if timers were stopped that would have
    /// been due before; [`Time::NEVER`] without one.
    #[inline]
    #[must_use]
    pub const fn next(&self) -> Time {
        self.next
    }

    /// Takes the first timer off, with its deadline, if it is due.
    #[inline]
    pub fn take_due(&mut self, now: Time) -> Option<(Timer, Time)> {
        if self.next <= now { self.take_first(now) } else { None }
    }

    fn take_first(&mut self, now: Time) -> Option<(Timer, Time)> {
        while self.next <= now {
            let Some((place, slot)) = self.slots.first().filter(|(_, slot)| slot.earliest <= now) else {
                // Who would have been due before was stopped.
                self.next = self.slots.earliest();
                return None;
            };
            let number = slot.first;
            let armed = self.armed(number)?;
            if armed.is_alone() || place.is_finest() {
                // The earliest of all: alone in its slot, or with others of the same nanosecond.
                if armed.at > now {
                    self.slots.set_earliest(place, armed.at);
                    self.next = armed.at;
                    return None;
                }
                self.take_out(place, armed);
                self.forget(number);
                self.base = armed.at;
                self.next = self.slots.earliest();
                return Some((Timer::of(number), armed.at));
            }
            self.base = slot.earliest;
            self.slots.clear(place);
            self.spread(number);
            self.next = self.slots.earliest();
        }
        None
    }

    /// Puts a list of timers into slots as seen from the base.
    fn spread(&mut self, mut number: u32) {
        while let Some(armed) = self.armed(number) {
            self.put_in(number, armed.at);
            number = armed.after;
        }
    }

    fn armed(&self, number: u32) -> Option<Armed> {
        self.timers.get(usize::try_from(number).ok()?).copied()
    }

    fn armed_mut(&mut self, number: u32) -> Option<&mut Armed> {
        self.timers.get_mut(usize::try_from(number).ok()?)
    }

    fn forget(&mut self, number: u32) {
        if let Some(armed) = self.armed_mut(number) {
            armed.before = UNARMED;
        }
    }

    /// Makes a timer the first of its slot.
    #[inline]
    fn put_in(&mut self, number: u32, at: Time) {
        let after = self.slots.push(Place::of(at, self.base), number, at);
        if let Some(armed) = self.armed_mut(number) {
            *armed = Armed { at, before: FIRST, after };
        }
        if let Some(neighbour) = self.armed_mut(after) {
            neighbour.before = number;
        }
    }

    /// Closes the gap that a timer leaves in its slot.
    #[inline]
    fn take_out(&mut self, place: Place, gone: Armed) {
        if gone.before == FIRST {
            self.slots.set_first(place, gone.after);
        } else if let Some(neighbour) = self.armed_mut(gone.before) {
            neighbour.after = gone.after;
        }
        if let Some(neighbour) = self.armed_mut(gone.after) {
            neighbour.before = gone.before;
        }
    }

    /// Whether each armed timer is in its slot and in no other, and nobody looks too late.
    #[must_use]
    pub fn holds(&self) -> bool {
        let armed = || self.timers.iter().filter(|armed| armed.before != UNARMED);
        let in_time = armed().all(|armed| armed.at >= self.next && armed.at >= self.base);
        let mut listed = 0_usize;
        let in_order = self.slots.iter().all(|(place, slot)| {
            let (mut before, mut number) = (FIRST, slot.first);
            while let Some(armed) = self.armed(number).filter(|_| listed <= self.timers.len()) {
                let fits = armed.before == before && armed.at >= slot.earliest;
                if !fits || Place::of(armed.at, self.base) != place {
                    return false;
                }
                (before, number, listed) = (number, armed.after, listed.saturating_add(1));
            }
            number == NOBODY && before != FIRST
        });
        in_time && in_order && listed == armed().count() && self.next <= self.slots.earliest()
    }
}
