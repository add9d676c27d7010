//! Going ahead of the others without always taking the processor from whoever has it: the adaptive policy's part of the
//! scheduler.
//!
//! Synchronous delivery switches there and back for each event. Where many targets are told one after the other, as a driver
//! domain does, most of that is for nothing; where there are few, it is as good as can be. So a target that goes
//! [`Scheduler::precede`] is placed before all others. Who runs may get a **grace** before it must make room, in which targets
//! line up in the order in which they came; without one it makes room at once, as [`Scheduler::boost`] has it. What came of the
//! last grace decides about the next: if at least [`GATHERED_MIN`] targets had gathered when who runs went to sleep, it paid, and
//! the next few are given too. When none of those pays, a number of targets is let in at once, as under synchronous delivery,
//! before it is tried again, and that number doubles with each failure. So what a useless grace costs stays below one event in a
//! hundred. Whoever makes room keeps its turn, and whoever goes ahead pays from the rest of its own.
//!
//! Where [`CROWD`] wait already nobody goes ahead: a target takes its place at the tail, as under batched delivery. Its wait
//! gathers more events than going ahead would save time, and what runs ahead of a crowd only lengthens it for all.

use hypercall_abi::DomId;

use super::Scheduler;
use crate::time::Time;

/// How long who runs may go on although somebody waits ahead.
pub(super) const GRACE_NS: u64 = 500_000;
/// Targets that make a grace worth while.
pub(super) const GATHERED_MIN: usize = 4;
/// As many are worth it even if who runs did not sleep within it.
const GATHERED_MANY: usize = 2 * GATHERED_MIN;
/// So many that wait are a crowd. It is not less than what a grace may have to gather, or no grace would ever pay.
pub(super) const CROWD: usize = GATHERED_MANY;
/// Targets that are let in at once after the first failure, and after many.
pub(super) const REFUSALS_FIRST: u16 = 16;
const REFUSALS_MAX: u16 = 512;
/// Graces that need not pay after one that did: a driver has short turns too.
const CREDIT: u8 = 3;

/// What graces of a domain have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Graces {
    /// Targets that are let in at once before the next grace.
    refusals: u16,
    /// How many after the next failure.
    next: u16,
    /// Failures that are forgiven.
    credit: u8,
}

impl Graces {
    /// Whether the next grace is given.
    fn ask(&mut self) -> bool {
        let given = self.refusals == 0;
        self.refusals = self.refusals.saturating_sub(1);
        given
    }

    fn note(&mut self, paid: bool) {
        if paid {
            *self = Self { credit: CREDIT, ..Self::default() };
        } else if self.credit > 0 {
            self.credit = self.credit.saturating_sub(1);
        } else {
            self.refusals = self.next.max(REFUSALS_FIRST);
            self.next = self.refusals.saturating_mul(2).min(REFUSALS_MAX);
        }
    }
}

impl Scheduler {
    /// A domain wants the processor soon: it goes before all that did not come this way, if something is left of its turn
    /// and there is no crowd; otherwise it waits like anybody. Returns whether it did go ahead.
    pub fn precede(&mut self, id: DomId, now: Time) -> bool {
        if self.current == Some(id) {
            self.wake(id, now);
            return true;
        }
        let is_crowded = self.waiting() >= CROWD;
        let Some(entity) = self.entity_mut(id) else { return false };
        if entity.turn == 0 {
            return false;
        }
        if entity.queued && entity.ahead {
            return true;
        }
        if entity.left <= 0 || is_crowded {
            self.wake(id, now);
            return false;
        }
        let first = self.ahead.is_empty();
        if first && !self.is_grace_given() {
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
            self.grace = now.after(GRACE_NS);
        }
        true
    }

    /// Whether the current domain may go on for a while. One that has made room for another already may not.
    fn is_grace_given(&mut self) -> bool {
        let current = self.current.and_then(|current| self.entity_mut(current));
        current.is_some_and(|entity| entity.awake && !entity.queued && entity.graces.ask())
    }

    /// Whether who runs must make room for those ahead.
    pub(super) fn is_grace_over(&self, now: Time) -> bool {
        !self.ahead.is_empty() && now >= self.grace
    }

    /// Somebody waits ahead of the current domain: it gets a grace or none.
    pub(super) fn begin_grace(&mut self, now: Time) {
        self.graced = self.is_grace_given();
        self.grace = if self.graced { now.after(GRACE_NS) } else { now };
    }

    /// The current domain's grace is over; `slept` says whether it needed no more of it.
    pub(super) fn end_grace(&mut self, slept: bool) {
        if !core::mem::take(&mut self.graced) {
            return;
        }
        let gathered = self.ahead.len();
        let paid = gathered >= if slept { GATHERED_MIN } else { GATHERED_MANY };
        if let Some(entity) = self.current.and_then(|current| self.entity_mut(current)) {
            entity.graces.note(paid);
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
    pub(super) fn pop(&mut self) -> Option<DomId> {
        let next = self.ahead.pop_front(&mut self.entities);
        if let Some(id) = next {
            self.mark_ahead(id, false);
        }
        next.or_else(|| self.queue.pop_front(&mut self.entities))
    }
}
