//! Going ahead of the others without taking the processor from whoever has it: the adaptive policy's part of the scheduler.
//!
//! Two switches for each event are what synchronous delivery costs, and most of them are for nothing: whoever raised the
//! event would have slept a moment later. So a target that goes [`Scheduler::precede`] is placed before all others, behind
//! those that came this way before it, and who runs may go on for a **grace**. If it sleeps within that time, as drivers and
//! servers do, the switch there and back was saved and what it raised meanwhile has gathered. If it does not, it is
//! preempted, and not trusted again until it has slept of its own accord: a domain that computes is preempted at once
//! from then on, as under synchronous delivery. Whoever is preempted keeps its turn, and whoever goes ahead pays for it
//! from the rest of its own.

use hypercall_abi::DomId;

use super::Scheduler;
use crate::time::Time;

/// How long who runs may go on although somebody waits ahead.
pub(super) const GRACE_NS: u64 = 500_000;
/// Trust in a domain of which nothing is known yet.
pub(super) const COURTESY_AT_FIRST: u8 = 1;
/// The most trust. It is small, so that a domain that begins to compute is soon known for it.
const COURTESY_MAX: u8 = 2;

impl Scheduler {
    /// A domain wants the processor soon: it goes before all that did not come this way, if something is left of its turn;
    /// otherwise it waits like anybody. Returns whether it did go ahead.
    pub fn precede(&mut self, id: DomId, now: Time) -> bool {
        if self.current == Some(id) {
            self.wake(id, now);
            return true;
        }
        let Some(entity) = self.entity_mut(id) else { return false };
        if entity.turn == 0 {
            return false;
        }
        if entity.queued && entity.ahead {
            return true;
        }
        if entity.left <= 0 {
            self.wake(id, now);
            return false;
        }
        entity.awake = true;
        entity.fresh = false;
        self.settle_if_alone(now);
        self.unqueue(id);
        let first = self.ahead.is_empty();
        self.mark_ahead(id, true);
        self.ahead.push_back(&mut self.entities, id);
        if first {
            self.begin_grace(now);
        }
        true
    }

    /// Whether who runs must make room for those ahead.
    pub(super) fn is_grace_over(&self, now: Time) -> bool {
        !self.ahead.is_empty() && now >= self.grace
    }

    /// The current domain's grace begins, if somebody waits ahead: none for one that is not trusted.
    pub(super) fn begin_grace(&mut self, now: Time) {
        let courtesy =
            self.current.and_then(|current| self.entity(current)).map_or(0, |entity| entity.courtesy);
        self.grace = if courtesy > 0 { now.after(GRACE_NS) } else { now };
    }

    /// A domain that has used up its grace waits before all but those ahead, and keeps its turn.
    pub(super) fn yield_to_those_ahead(&mut self, current: DomId) {
        self.mark_ahead(current, false);
        if let Some(entity) = self.entity_mut(current) {
            entity.courtesy = entity.courtesy.saturating_sub(1);
        }
        self.queue.push_front(&mut self.entities, current);
    }

    /// A domain sleeps of its own accord.
    pub(super) fn note_sleep(&mut self, id: DomId) {
        if let Some(entity) = self.entity_mut(id) {
            entity.courtesy = entity.courtesy.saturating_add(1).min(COURTESY_MAX);
        }
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
