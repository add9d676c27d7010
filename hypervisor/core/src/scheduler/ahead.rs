//! Going ahead of the others without always taking the processor from whoever has it: the adaptive policy's part of the
//! scheduler.
//!
//! Synchronous delivery switches there and back for each event. To let targets wait instead spends latency to buy processor
//! time, so it can pay only where there is none to spare. While the processor idled within the last [`SATURATED_NS`],
//! or somebody who wants it used up a whole turn without sleeping and would take what is saved, a target that
//! [`Scheduler::precede`]s is let in at once, as under synchronous delivery, step by step.
//!
//! Otherwise it is placed before all others, behind those that came this way before it, and who runs may get a **grace**
//! before it must make room. Only who tells many targets, as a driver domain with many front ends does, gets one: who tells
//! few gathers little, and what those few wait is much of their latency. What graces have come to decides about the next: they pay if enough events find targets that wait already,
//! which handle them in the same upcall; where many wait together, events that the drivers left out meanwhile, as the ring's
//! indices let them, count as such. When a sample of them did not, a number of targets is let in at once before it is tried again,
//! and that number doubles with each failure. So useless graces concern few events in a hundred. Whoever makes room
//! keeps its turn, and whoever goes ahead pays from the rest of its own.

use hypercall_abi::DomId;

use super::Scheduler;
use crate::time::Time;

/// How long the processor must not have idled to be taken for one that has no time to spare.
pub(super) const SATURATED_NS: u64 = 10_000_000;
/// How long who runs may go on although somebody waits ahead.
pub(super) const GRACE_NS: u64 = 500_000;
/// So many different targets among [`TELLS`] of a domain make it one that tells many. (Batching gains nothing with eight guests and a client,
/// and 7 to 10 % with sixteen.)
pub(super) const FAN: u32 = 12;
/// Tells that are looked at together for that.
pub(super) const TELLS: u8 = 64;
/// So many targets that waited are judged together: a driver has short turns too, which gather nothing.
pub(super) const SAMPLE: u16 = 64;
/// They paid if one event for so many of them found a target that waited already.
const JOINED_PART: u16 = 12;
/// Events that were left out count from so many targets of one grace on: few have as many left out without it.
pub(super) const CROWD: u16 = 7;
/// Targets that are let in at once after the first failure, and after many.
pub(super) const REFUSALS_FIRST: u16 = 32;
const REFUSALS_MAX: u16 = 1024;

/// What graces of a domain have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Graces {
    /// Whom it told while nobody waited ahead, a bit for each number modulo 64, in so many tells.
    told: u64,
    tells: u8,
    /// Whether it tells many.
    many: bool,
    /// Targets that waited, and events that found them waiting, since it was last judged.
    waited: u16,
    joined: u16,
    /// Targets that are let in at once before the next grace.
    refusals: u16,
    /// How many after the next failure.
    next: u16,
    /// Targets that waited for its last grace to end.
    crowd: u16,
}

impl Graces {
    /// Whether the next grace is given.
    fn ask(&mut self, target: DomId) -> bool {
        self.told |= 1_u64.wrapping_shl(target.0.into());
        self.tells = self.tells.saturating_add(1);
        let is_fan = self.told.count_ones() >= FAN;
        if self.tells >= TELLS {
            (self.told, self.tells, self.many) = (0, 0, is_fan);
        }
        self.many |= is_fan;
        if !self.many {
            return false;
        }
        let given = self.refusals == 0;
        self.refusals = self.refusals.saturating_sub(1);
        given
    }

    /// A grace is over: so many targets wait, and so many events found one that did.
    fn note(&mut self, waited: u16, joined: u16) {
        self.crowd = waited;
        self.waited = self.waited.saturating_add(waited);
        self.joined = self.joined.saturating_add(joined);
        if self.waited < SAMPLE {
            return;
        }
        if self.joined.saturating_mul(JOINED_PART) >= self.waited {
            self.next = 0;
        } else {
            self.refusals = self.next.max(REFUSALS_FIRST);
            self.next = self.refusals.saturating_mul(2).min(REFUSALS_MAX);
        }
        (self.waited, self.joined) = (0, 0);
    }
}

impl Scheduler {
    /// A domain wants the processor soon: it goes before all that did not come this way, if something is left of its
    /// turn; otherwise it waits like anybody. Returns whether it did go ahead.
    pub fn precede(&mut self, id: DomId, now: Time) -> bool {
        if !self.is_saturated(now) {
            return self.boost(id, now);
        }
        if self.current == Some(id) {
            self.wake(id, now);
            return true;
        }
        let Some(entity) = self.entity_mut(id) else { return false };
        if entity.turn == 0 {
            return false;
        }
        if entity.queued && entity.ahead {
            self.join(id);
            return true;
        }
        if entity.left <= 0 {
            self.wake(id, now);
            return false;
        }
        let first = self.ahead.is_empty();
        if first && !self.is_grace_given(id) {
            return self.boost(id, now);
        }
        let Some(entity) = self.entity_mut(id) else { return false };
        entity.awake = true;
        entity.fresh = false;
        self.settle_if_alone(now);
        self.unqueue(id);
        self.mark_ahead(id, true);
        self.ahead.push_back(&mut self.entities, id);
        if first {
            self.graced = true;
            self.joined = 0;
            self.grace = now.after(GRACE_NS);
        }
        let teller = self.current.filter(|_| self.graced);
        if let Some(entity) = self.entity_mut(id) {
            entity.teller = teller;
        }
        true
    }

    /// Who told a domain and was let go on, so that it waits.
    #[must_use]
    pub(crate) fn waits_for(&self, id: DomId) -> Option<DomId> {
        self.entity(id)?.teller
    }

    /// A domain that waited so has the processor; who told it.
    #[inline]
    pub(crate) fn end_wait(&mut self, id: DomId) -> Option<DomId> {
        self.entity_mut(id)?.teller.take()
    }

    /// So many events more found a target of this domain's that waited: those that the ring's indices kept back.
    pub(crate) fn credit(&mut self, teller: DomId, events: u64) {
        let events = u16::try_from(events).unwrap_or(u16::MAX);
        if let Some(entity) = self.entity_mut(teller)
            && entity.graces.crowd >= CROWD
        {
            entity.graces.joined = entity.graces.joined.saturating_add(events);
        }
    }

    /// Whether there is no time to spare, and nobody who would take whatever is saved.
    fn is_saturated(&self, now: Time) -> bool {
        self.computing == 0 && self.busy.is_some_and(|since| now.since(since) >= SATURATED_NS)
    }

    /// A domain's turn is over and it wants to go on.
    pub(super) fn note_computing(&mut self, id: DomId) {
        if let Some(entity) = self.entity_mut(id)
            && !entity.slept
            && !core::mem::replace(&mut entity.computes, true)
        {
            self.computing = self.computing.saturating_add(1);
        }
    }

    /// Whether the current domain may go on for a while. One that has made room for another already may not.
    fn is_grace_given(&mut self, target: DomId) -> bool {
        let current = self.current.and_then(|current| self.entity_mut(current));
        current.is_some_and(|entity| entity.awake && !entity.queued && entity.graces.ask(target))
    }

    /// Whether who runs must make room for those ahead.
    pub(super) fn is_grace_over(&self, now: Time) -> bool {
        !self.ahead.is_empty() && now >= self.grace
    }

    /// An event found a target that waits already.
    #[inline]
    pub(crate) fn join(&mut self, id: DomId) {
        if self.entity(id).is_some_and(|entity| entity.ahead) {
            self.joined = self.joined.saturating_add(1);
        }
    }

    /// Others wait ahead as well as the domain that has got the processor: it may run for as long as a grace.
    pub(super) fn begin_grace(&mut self, now: Time) {
        self.grace = now.after(GRACE_NS);
    }

    /// The current domain's grace is over.
    pub(super) fn end_grace(&mut self) {
        if !core::mem::take(&mut self.graced) {
            return;
        }
        let (waited, joined) = (self.ahead.len(), self.joined);
        if let Some(entity) = self.current.and_then(|current| self.entity_mut(current)) {
            entity.graces.note(u16::try_from(waited).unwrap_or(u16::MAX), joined);
        }
    }

    /// A domain that makes room for those ahead waits before all others, and keeps its turn.
    pub(super) fn make_room(&mut self, current: DomId) {
        self.mark_ahead(current, false);
        self.queue.push_front(&mut self.entities, current);
    }

    /// Says in which queue a domain that is in none will be.
    pub(super) fn mark_ahead(&mut self, id: DomId, ahead: bool) {
        if let Some(entity) = self.entity_mut(id).filter(|entity| !entity.queued) {
            entity.ahead = ahead;
        }
    }

    /// Takes a domain out of the queue that it is in.
    pub(super) fn unqueue(&mut self, id: DomId) {
        let ahead = self.entity(id).is_some_and(|entity| entity.ahead);
        let queue = if ahead { &mut self.ahead } else { &mut self.queue };
        queue.remove(&mut self.entities, id);
        self.mark_ahead(id, false);
    }

    /// Takes the next out of the queues.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<DomId> {
        let next = self.ahead.pop_front(&mut self.entities);
        if let Some(id) = next {
            self.mark_ahead(id, false);
        }
        next.or_else(|| self.queue.pop_front(&mut self.entities))
    }
}
