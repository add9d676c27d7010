//! Who gets the processor: a queue of runnable vCPUs that take turns, each as long as its weight says.
//! Every operation takes the same few steps however many domains there are.
//!
//! A domain at the head of the queue gets a turn of `slice * weight / 256`. When the turn is over and somebody waits, it
//! goes to the tail, and what it overran is taken off its next turn. A domain that is preempted goes to the head
//! and keeps the rest of its turn. A domain that wakes goes to the tail, or by [`Scheduler::boost`] to the head:
//! only with a rest of its last turn, which it pays from. So between two turns of anybody, each other domain runs
//! for two turns of its own at the most, however many events are raised. [`ahead`] has the way in between.

mod ahead;
mod queue;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use hypercall_abi::{DomId, Errno};

use crate::config;
use crate::time::Time;
use ahead::Graces;
use queue::Queue;

/// The shortest turn, which keeps debts from shrinking a turn to nothing.
const TURN_NS_MIN: i64 = 1_000;
/// What others did for a domain leaves it at least this part of a turn, so that it does not live on switches alone.
const CHARGED_PART: i64 = 64;

/// What the scheduler keeps of a domain.
#[derive(Clone, Copy, Debug, Default)]
struct Entity {
    /// Length of a turn in ns; 0 for no domain.
    turn: i64,
    /// What is left of the turn; negative if it was overrun.
    left: i64,
    /// What others ran for it and it has not paid yet; at most a turn.
    owed: i64,
    /// Whether it wants the processor.
    awake: bool,
    /// Whether it stands in the queue.
    queued: bool,
    /// Whether that is the queue of those that go ahead.
    ahead: bool,
    /// Whether it gets a new turn when it leaves the queue.
    fresh: bool,
    /// Whether it slept since its turn began.
    slept: bool,
    /// Whether it used up its last turn without sleeping, and has not slept since.
    computes: bool,
    /// What came of letting it go on while others waited ahead.
    graces: Graces,
    /// Who told it and was let go on, until it has the processor.
    teller: Option<DomId>,
    /// Neighbours in the queue.
    before: Option<DomId>,
    after: Option<DomId>,
}

impl Entity {
    /// A new turn, less what the last was overrun by, and less what others ran for it.
    fn begin_turn(&mut self) {
        self.fresh = false;
        self.slept = false;
        let turn = self.turn.saturating_add(self.left.min(0)).max(TURN_NS_MIN);
        let least = self.turn.checked_div(CHARGED_PART).unwrap_or(0).max(TURN_NS_MIN);
        let paid = self.owed.min(turn.saturating_sub(least).max(0));
        self.owed = self.owed.saturating_sub(paid);
        self.left = turn.saturating_sub(paid);
    }
}

/// Bytes that one domain takes here.
pub const ENTITY_BYTES: usize = size_of::<Entity>();

/// The scheduler.
#[derive(Debug, Default)]
pub struct Scheduler {
    entities: Vec<Entity>,
    /// Domains that an event put before the others, in the order of the events.
    ahead: Queue,
    queue: Queue,
    /// Up to when the current domain may go on although somebody waits ahead.
    grace: Time,
    /// Whether that was given to it, so that what comes of it is noted.
    graced: bool,
    /// Events meanwhile that found a target that waited ahead already.
    joined: u16,
    current: Option<DomId>,
    /// Up to when the current domain has paid.
    paid: Time,
    /// Since when the processor has not idled; nothing while it does.
    busy: Option<Time>,
    /// How many compute.
    computing: usize,
}

impl Scheduler {
    /// Takes a domain in; it sleeps.
    ///
    /// # Errors
    /// [`Errno::NoMem`] if there is no room; nothing has changed.
    pub fn admit(&mut self, id: DomId, slice_ns: u64, weight: u32) -> Result<(), Errno> {
        let places = usize::from(id.0).saturating_add(1);
        let missing = places.saturating_sub(self.entities.len());
        self.entities.try_reserve(missing).map_err(|_| Errno::NoMem)?;
        if missing > 0 {
            self.entities.resize(places, Entity::default());
        }
        if let Some(entity) = self.entity_mut(id) {
            *entity = Entity { turn: turn(slice_ns, weight), ..Entity::default() };
        }
        Ok(())
    }

    /// Lets a domain go.
    pub fn dismiss(&mut self, id: DomId) {
        self.sleep(id);
        if self.current == Some(id) {
            self.current = None;
        }
        if let Some(entity) = self.entity_mut(id) {
            *entity = Entity::default();
        }
    }

    /// Who has the processor.
    #[must_use]
    pub const fn current(&self) -> Option<DomId> {
        self.current
    }

    /// Whether anybody waits.
    #[must_use]
    pub const fn is_anybody_waiting(&self) -> bool {
        !self.queue.is_empty() || !self.ahead.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.queue.len().saturating_add(self.ahead.len())
    }

    /// A domain wants the processor and takes its place at the tail.
    pub fn wake(&mut self, id: DomId, now: Time) {
        let current = self.current;
        let Some(entity) = self.entity_mut(id) else { return };
        if entity.turn == 0 || entity.awake {
            return;
        }
        entity.awake = true;
        if current != Some(id) {
            self.settle_if_alone(now);
            self.enqueue_tail(id);
        }
    }

    /// A domain wants the processor at once: it goes before everybody, the current domain included, if something is
    /// left of its turn; otherwise it waits like anybody. Returns whether it did go ahead.
    pub fn boost(&mut self, id: DomId, now: Time) -> bool {
        if self.current == Some(id) {
            self.wake(id, now);
            return true;
        }
        let Some(entity) = self.entity_mut(id) else { return false };
        if entity.turn == 0 {
            return false;
        }
        if entity.left <= 0 {
            self.wake(id, now);
            return false;
        }
        entity.awake = true;
        entity.fresh = false;
        self.settle_if_alone(now);
        self.unqueue(id);
        if let Some(current) = self.current
            && self.entity(current).is_some_and(|entity| entity.awake && !entity.queued)
        {
            self.queue.push_front(&mut self.entities, current);
        }
        if self.ahead.is_empty() {
            self.queue.push_front(&mut self.entities, id);
        } else {
            self.mark_ahead(id, true);
            self.ahead.push_front(&mut self.entities, id);
        }
        true
    }

    /// A domain wants the processor no more.
    pub fn sleep(&mut self, id: DomId) {
        self.unqueue(id);
        if let Some(entity) = self.entity_mut(id) {
            entity.awake = false;
            entity.slept = true;
            entity.teller = None;
            if core::mem::take(&mut entity.computes) {
                self.computing = self.computing.saturating_sub(1);
            }
        }
    }

    /// Somebody ran `ns` for a domain: its next turn is shorter by that. What is more than a turn is forgiven.
    pub fn charge(&mut self, id: DomId, ns: u64) {
        if let Some(entity) = self.entity_mut(id) {
            let ns = i64::try_from(ns).unwrap_or(i64::MAX);
            entity.owed = entity.owed.saturating_add(ns).min(entity.turn);
        }
    }

    /// The current domain lets the others run first. Returns whether anybody waits.
    pub fn give_way(&mut self) -> bool {
        let Some(current) = self.current else { return false };
        if !self.is_anybody_waiting()
            || self.entity(current).is_none_or(|entity| !entity.awake || entity.queued)
        {
            return self.is_anybody_waiting();
        }
        self.enqueue_tail(current);
        true
    }

    /// Decides who has the processor from now on.
    #[inline(always)]
    pub fn pick(&mut self, now: Time) -> Option<DomId> {
        self.pay(now);
        if let Some(current) = self.current
            && let Some(entity) = self.entity(current)
            && entity.awake
            && !entity.queued
        {
            let left = entity.left > 0;
            let pressed = self.is_grace_over(now);
            if !self.is_anybody_waiting() || (left && !pressed) {
                return Some(current);
            }
            self.end_grace();
            if left {
                self.make_room(current);
            } else {
                self.note_computing(current);
                self.enqueue_tail(current);
            }
        } else {
            self.end_grace();
        }
        self.current = self.pop();
        if let Some(entity) = self.current.and_then(|next| self.entity_mut(next))
            && entity.fresh
        {
            entity.begin_turn();
        }
        self.paid = now;
        self.busy = self.current.map(|_| self.busy.unwrap_or(now));
        if !self.ahead.is_empty() {
            self.begin_grace(now);
        }
        self.current
    }

    /// When the current turn ends, or must for those ahead; [`Time::NEVER`] while nobody waits.
    #[must_use]
    pub fn deadline(&self) -> Time {
        match self.current.and_then(|current| self.entity(current)) {
            Some(entity) if self.is_anybody_waiting() => {
                let turn = self.paid.after(u64::try_from(entity.left).unwrap_or(0));
                if self.ahead.is_empty() { turn } else { turn.min(self.grace) }
            }
            _ => Time::NEVER,
        }
    }

    /// Whether a domain waits in the queue.
    #[must_use]
    pub fn is_waiting(&self, id: DomId) -> bool {
        self.entity(id).is_some_and(|entity| entity.queued)
    }

    /// Whether a domain waits with a rest of its turn, because an event took the processor from it.
    #[must_use]
    pub fn is_preempted(&self, id: DomId) -> bool {
        self.entity(id).is_some_and(|entity| entity.queued && !entity.fresh)
    }

    /// Whether a domain wants the processor or has it.
    #[must_use]
    pub fn is_awake(&self, id: DomId) -> bool {
        self.entity(id).is_some_and(|entity| entity.awake)
    }

    /// Whether the queue is sound: linked both ways, and exactly the awake domains but the current one stand in it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.queue.holds(&self.entities, |entity| entity.queued && !entity.ahead)
            && self.ahead.holds(&self.entities, |entity| entity.queued && entity.ahead)
            && self.computing == self.entities.iter().filter(|entity| entity.computes).count()
            && self.entities.iter().all(|entity| entity.awake || !entity.computes)
            && self.entities.iter().zip(0u16..).all(|(entity, number)| {
                let current = self.current == Some(DomId(number));
                (entity.queued == entity.awake || current) && (entity.awake || !entity.queued)
            })
    }

    fn entity(&self, id: DomId) -> Option<&Entity> {
        self.entities.get(usize::from(id.0))
    }

    fn entity_mut(&mut self, id: DomId) -> Option<&mut Entity> {
        self.entities.get_mut(usize::from(id.0))
    }

    fn enqueue_tail(&mut self, id: DomId) {
        self.mark_ahead(id, false);
        if let Some(entity) = self.entity_mut(id) {
            entity.fresh = true;
        }
        self.queue.push_back(&mut self.entities, id);
    }

    /// Takes the time since the last payment off the current domain's turn.
    fn pay(&mut self, now: Time) {
        let elapsed = i64::try_from(now.since(self.paid)).unwrap_or(i64::MAX);
        self.paid = now;
        if let Some(entity) = self.current.and_then(|current| self.entity_mut(current)) {
            entity.left = entity.left.saturating_sub(elapsed).max(entity.turn.saturating_neg());
        }
    }

    /// Somebody begins to wait. While nobody did, the current domain has overrun its turn at nobody's cost.
    fn settle_if_alone(&mut self, now: Time) {
        if !self.is_anybody_waiting() {
            self.pay(now);
            if let Some(entity) = self.current.and_then(|current| self.entity_mut(current)) {
                entity.left = entity.left.max(0);
            }
        }
    }
}

/// Length of a turn in ns.
fn turn(slice_ns: u64, weight: u32) -> i64 {
    let ns = slice_ns.saturating_mul(u64::from(weight)).checked_div(u64::from(config::WEIGHT_DEFAULT));
    i64::try_from(ns.unwrap_or(0)).unwrap_or(i64::MAX).max(TURN_NS_MIN)
}
