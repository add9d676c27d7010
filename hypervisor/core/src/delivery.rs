//! When a domain's events reach it: at once, or gathered.
//! The policy is the receiving domain's own and may change at any time; what it decides is only when the
//! target gets the processor, never whether an event is seen.

use hypercall_abi::extension::{Delivery, WINDOW_NS_MAX};
use hypercall_abi::vcpu::RunState;
use hypercall_abi::{DomId, Errno};

use crate::effects::Todo;
use crate::machine::Machine;
use crate::time::Time;
use crate::timers::{Kind, Timer};
use crate::trace::records::TimerKind;
use crate::trace::{self, Category, Record};
use crate::vcpu::Sleep;
use crate::world::World;
use crate::{config, devices};

/// A delivery policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// An event preempts whoever runs.
    Synchronous,
    /// Events gather until the target next gets the processor.
    Batched(Window),
    /// As synchronous while the processor has time to spare; else the target goes ahead of the others, but whoever runs may
    /// first finish what it does: see [`crate::scheduler::Scheduler::precede`].
    Adaptive,
}

/// How long a sleeping target may be left asleep: until so many events, or so long after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Events; up to 1 means none are gathered.
    pub events: u32,
    /// ns; 0 means none are gathered.
    pub ns: u64,
}

impl Window {
    /// A sleeping target wakes for the first event.
    pub const NONE: Self = Self { events: 0, ns: 0 };

    const fn gathers(self) -> bool {
        self.events > 1 && self.ns > 0
    }
}

impl Policy {
    /// The policy of raw numbers.
    ///
    /// # Errors
    /// [`Errno::Inval`] for an unknown policy or a window longer than [`WINDOW_NS_MAX`].
    pub fn from_raw(delivery: u32, events: u32, ns: u64) -> Result<Self, Errno> {
        match Delivery::from_raw(delivery).ok_or(Errno::Inval)? {
            _ if ns > WINDOW_NS_MAX => Err(Errno::Inval),
            Delivery::Synchronous => Ok(Self::Synchronous),
            Delivery::Batched => Ok(Self::Batched(Window { events, ns })),
            Delivery::Adaptive => Ok(Self::Adaptive),
        }
    }
}

impl From<config::Delivery> for Policy {
    fn from(delivery: config::Delivery) -> Self {
        match delivery.policy {
            config::Policy::Synchronous => Self::Synchronous,
            config::Policy::Adaptive => Self::Adaptive,
            config::Policy::Batched => Self::Batched(Window {
                events: delivery.window_events,
                ns: u64::from(delivery.window_us).saturating_mul(1000).min(WINDOW_NS_MAX),
            }),
        }
    }
}

/// A domain's policy and what has gathered.
#[derive(Clone, Copy, Debug)]
pub struct Gathering {
    policy: Policy,
    /// Events since the window opened; 0 while it is closed.
    events: u32,
}

impl Gathering {
    /// Nothing has gathered.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy, events: 0 }
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether an event changes nothing for a domain that is awake.
    #[inline]
    pub(crate) const fn lets_be(&self) -> bool {
        matches!(self.policy, Policy::Batched(_))
    }

    /// Whether a window is open: the target sleeps and events gather.
    #[must_use]
    pub const fn is_gathering(&self) -> bool {
        self.events > 0
    }
}

/// The policies as a trace has them.
const SYNCHRONOUS: u8 = 0;
const BATCHED: u8 = 1;
const ADAPTIVE: u8 = 2;
const _: () = assert!(Delivery::Synchronous.raw() == 0 && Delivery::Batched.raw() == 1);
const _: () = assert!(Delivery::Adaptive.raw() == 2);

/// Chooses a domain's policy. Events that gathered under the old one wake it.
///
/// # Errors
/// [`Errno::Srch`] if there is no such domain.
pub fn set_policy<M: Machine>(world: &mut World, m: &mut M, id: DomId, policy: Policy) -> Result<(), Errno> {
    let domain = world.domain_mut(id)?;
    let gathering = domain.delivery.is_gathering();
    domain.delivery.policy = policy;
    let record = match policy {
        Policy::Synchronous => Record::Policy { delivery: SYNCHRONOUS, events: 0, ns: 0 },
        Policy::Batched(Window { events, ns }) => Record::Policy { delivery: BATCHED, events, ns },
        Policy::Adaptive => Record::Policy { delivery: ADAPTIVE, events: 0, ns: 0 },
    };
    world.trace.put(m, id, &record);
    if gathering {
        wake(world, m, id);
    }
    Ok(())
}

/// An event that the upcall handler can see has arrived; `masked` says whether upcalls are masked.
#[inline]
pub(crate) fn arrived<M: Machine>(world: &mut World, m: &mut M, id: DomId, masked: bool) {
    if world.current == Some(id) {
        // It is delivered on the way out; if it was about to sleep, it does not.
        if world.domains.get(id).is_some_and(|domain| domain.vcpu.sleep != Sleep::No) {
            wake(world, m, id);
        }
        return;
    }
    let Some(domain) = world.domains.get(id) else { return };
    match (domain.vcpu.sleep, domain.delivery.policy) {
        (Sleep::No, Policy::Synchronous) if !masked => {
            let now = m.now();
            if world.scheduler.is_awake(id) && world.scheduler.boost(id, now) {
                world.reschedule();
            }
        }
        (Sleep::No, Policy::Adaptive) if !masked => {
            let now = m.now();
            if world.scheduler.is_awake(id) && precede(world, m, id, now) {
                world.reschedule();
            }
        }
        (Sleep::No, _) => {}
        (Sleep::Block | Sleep::Idle, Policy::Batched(window)) if window.gathers() => gather(world, m, id),
        (Sleep::Block | Sleep::Idle | Sleep::Poll(_), _) => wake(world, m, id),
    }
}

/// [`crate::scheduler::Scheduler::precede`]; what the teller has left out to tell the target
/// about its devices is noted when it begins to wait.
fn precede<M: Machine>(world: &mut World, m: &M, id: DomId, now: Time) -> bool {
    let waited = world.scheduler.waits_for(id).is_some();
    let ahead = world.scheduler.precede(id, now);
    if let Some(teller) = world.scheduler.waits_for(id).filter(|_| !waited) {
        let left_out = devices::suppressed_by(world, m, teller, id);
        if let Some(domain) = world.domains.get_mut(id) {
            domain.left_out = left_out;
        }
    }
    ahead
}

/// A target that may have waited has the processor: what it was not told meanwhile speaks for the wait.
#[inline(always)]
pub(crate) fn arrive<M: Machine>(world: &mut World, m: &M, id: DomId) {
    let Some(teller) = world.scheduler.end_wait(id) else { return };
    let before = world.domains.get(id).map_or(0, |domain| domain.left_out);
    let left_out = devices::suppressed_by(world, m, teller, id).saturating_sub(before);
    world.scheduler.credit(teller, left_out);
}

/// One more event for a sleeping target with a window.
pub(crate) fn gather<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let Some(domain) = world.domains.get_mut(id) else { return };
    let Policy::Batched(window) = domain.delivery.policy else { return };
    domain.delivery.events = domain.delivery.events.saturating_add(1);
    if domain.delivery.events >= window.events {
        wake(world, m, id);
    } else if domain.delivery.events == 1 {
        let end = m.now().after(window.ns);
        world.timers.set(Timer { domain: id, kind: Kind::Window }, end);
        world.effects.todo |= Todo::TIMER;
        if world.trace.wants(Category::Timer) {
            trace::timer_set(&mut world.trace, m, id, TimerKind::Window, end.0);
        }
    }
}

/// A polled port became pending.
pub(crate) fn end_poll<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    wake(world, m, id);
}

/// Ends a domain's sleep: by its policy at the head of the queue or at the tail.
pub(crate) fn wake<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let now = m.now();
    let Some(domain) = world.domains.get_mut(id) else { return };
    if domain.vcpu.sleep == Sleep::No {
        return;
    }
    let timed = matches!(domain.vcpu.sleep, Sleep::Idle | Sleep::Poll(_));
    domain.vcpu.sleep = Sleep::No;
    if domain.delivery.is_gathering() {
        domain.delivery.events = 0;
        world.timers.stop(Timer { domain: id, kind: Kind::Window });
    }
    if timed {
        world.timers.stop(Timer { domain: id, kind: Kind::Sleep });
    }
    let ahead = match domain.delivery.policy {
        Policy::Synchronous => world.scheduler.boost(id, now),
        Policy::Batched(_) => {
            world.scheduler.wake(id, now);
            false
        }
        Policy::Adaptive => precede(world, m, id, now),
    };
    let waits = world.current != Some(id);
    if waits && let Some(domain) = world.domains.get_mut(id) {
        domain.vcpu.times.enter(RunState::Runnable, now);
    }
    world.reschedule();
    if world.trace.is_on() {
        trace::wake(world, m, id, ahead, waits);
    }
}
