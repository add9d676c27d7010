//! Deaths of domains, and the births that follow from them.
//! A death gives everything back in small pieces between the turns of the others, and nothing of a domain outlives
//! it but frames that another still maps.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use hypercall_abi::DomId;
use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::vcpu::RunState;

use crate::attention::Attention;
use crate::birth;
use crate::builder::Share;
use crate::config::{self, OnCrash};
use crate::devices;
use crate::domain::State;
use crate::effects::Todo;
use crate::events;
use crate::machine::Machine;
use crate::paging::Progress;
use crate::reclaim::{is_gone, reclaim};
use crate::report;
use crate::switch;
use crate::trace::records::{Condition, MemoryChange, Reason, Stage};
use crate::trace::{self, Record};
use crate::world::World;

/// Why a domain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It asked to.
    Asked(ShutdownReason),
    /// Somebody who rules the system asked.
    Destroyed,
    /// It caused an exception that it does not handle.
    Unhandled {
        /// Vector.
        vector: u8,
        /// Error code.
        error: u32,
        /// Address of the instruction.
        rip: u64,
        /// Address of a page fault.
        address: u64,
    },
    /// Its kernel's stack could not take a frame.
    BadStack {
        /// Where the stack was.
        rsp: u64,
    },
    /// It returned through a frame that leads nowhere.
    BadReturn {
        /// Address of the hypercall.
        rip: u64,
        /// Where the frame was.
        rsp: u64,
    },
}

impl End {
    /// Whether it counts as a crash.
    #[must_use]
    pub const fn is_crash(self) -> bool {
        !matches!(
            self,
            Self::Destroyed
                | Self::Asked(ShutdownReason::Poweroff | ShutdownReason::Reboot | ShutdownReason::Suspend)
        )
    }

    /// The reason in numbers of the interface.
    #[must_use]
    pub const fn reason(self) -> ShutdownReason {
        match self {
            Self::Asked(reason) => reason,
            Self::Destroyed => ShutdownReason::Poweroff,
            _ => ShutdownReason::Crash,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(ShutdownReason::Poweroff) => write!(f, "poweroff"),
            Self::Asked(ShutdownReason::Reboot) => write!(f, "reboot"),
            Self::Asked(ShutdownReason::Suspend) => write!(f, "suspend"),
            Self::Asked(ShutdownReason::Crash) => write!(f, "crash"),
            Self::Asked(ShutdownReason::Watchdog) => write!(f, "watchdog"),
            Self::Destroyed => write!(f, "destroyed"),
            Self::Unhandled { vector: 14, error, rip, address } => {
                write!(f, "unhandled page fault at {address:#x} (error {error:#x}, rip {rip:#x})")
            }
            Self::Unhandled { vector, error, rip, .. } => {
                write!(f, "unhandled exception {vector} (error {error:#x}, rip {rip:#x})")
            }
            Self::BadStack { rsp } => write!(f, "no stack for a handler at {rsp:#x}"),
            Self::BadReturn { rip, rsp } => write!(f, "bad return frame at {rsp:#x} (rip {rip:#x})"),
        }
    }
}

/// Deaths and births that are under way.
#[derive(Debug, Default)]
pub struct Life {
    /// Domains whose resources are on their way back.
    dying: Vec<DomId>,
    /// Domains of which others still map frames.
    zombies: Vec<DomId>,
    /// Domains to be built again, and how often they were built before.
    restarts: Vec<(Arc<config::Domain>, u32)>,
}

impl Life {
    /// Whether there is work to be done between turns.
    #[must_use]
    #[inline]
    pub const fn is_busy(&self) -> bool {
        !self.dying.is_empty() || !self.restarts.is_empty()
    }

    /// Whether nothing at all is under way.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        !self.is_busy() && self.zombies.is_empty()
    }
}

/// Ends the system. A trace ends with it, so that its last counters are there to compare.
pub(crate) fn power_off<M: Machine>(world: &mut World, m: &mut M) {
    trace::set_on(world, m, false);
    world.effects.todo |= Todo::POWEROFF;
}

/// Ends a domain: it never runs again, its devices stop, its peers are told. The rest follows in pieces.
pub fn end<M: Machine>(world: &mut World, m: &mut M, id: DomId, end: End) {
    let now = m.now();
    let Some(domain) = world.domains.get_mut(id).filter(|domain| domain.state == State::Running) else {
        return;
    };
    domain.state = State::Dying;
    domain.ended = Some(end);
    domain.vcpu.times.enter(RunState::Offline, now);
    domain.console.flush(&domain.name, &mut world.output);
    world.output.log(&format!("{}: {end}", domain.name));
    let crash = end.is_crash();
    if crash && domain.config.on_crash == OnCrash::Poweroff {
        power_off(world, m);
    }
    world.scheduler.dismiss(id);
    world.timers.dismiss(id);
    devices::disconnect_all(world, m, id);
    events::close_all(world, m, id);
    devices::release(world, m, id);
    report::domain(world, id, "dying");
    trace::last_counters(world, m, id);
    trace::run_state(world, m, id, RunState::Offline, Reason::Ended);
    world.trace.put(m, id, &Record::Life { stage: Stage::Dying.raw(), reason: reason(end) });
    trace::triggered(world, m, id, Condition::Death, 0);
    world.life.dying.push(id);
    world.attention |= Attention::LIFE;
    world.reschedule();
    world.effects.todo |= Todo::CONSOLE;
}

fn reason(end: End) -> u8 {
    u8::try_from(end.reason().raw()).unwrap_or(u8::MAX)
}

/// Does a piece of the work that deaths and births have left. `loaded` is the domain whose page tables the processor
/// uses, which cannot go yet.
pub(crate) fn work<M: Machine>(world: &mut World, m: &mut M, loaded: Option<DomId>) {
    switch::leave_kept(world, m);
    let next = world.life.dying.iter().position(|id| Some(*id) != loaded);
    if let Some(id) = next.and_then(|at| world.life.dying.get(at)).copied() {
        if reclaim(&mut world.domains, &mut world.frames, m, id) == Progress::Done {
            world.life.dying.retain(|other| *other != id);
            reaped(world, m, id);
        }
        return;
    }
    bury(world, m);
    if let Some((config, incarnation)) = world.life.restarts.pop() {
        birth::create(world, m, &config, incarnation);
    }
    world.attention.set(Attention::LIFE, world.life.is_busy());
}

/// All of a domain that nobody else holds is back.
fn reaped<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let Some(domain) = world.domains.get_mut(id) else { return };
    domain.state = State::Zombie;
    let config = domain.config.clone();
    let ring = domain.vcpu.ring;
    if domain.address_space.end_sharing()
        && let Some(image) = world.images.get(&config.image)
    {
        Share::leave(image.common(ring), &mut world.frames);
    }
    let incarnation = domain.incarnation.saturating_add(1);
    let again = match domain.ended {
        Some(End::Asked(ShutdownReason::Reboot)) => true,
        Some(end) => end.is_crash() && config.on_crash == OnCrash::Restart,
        None => false,
    };
    world.life.zombies.push(id);
    bury(world, m);
    if again {
        world.life.restarts.push((config, incarnation));
    }
}

/// Removes each dead domain that owns nothing any more.
pub(crate) fn bury<M: Machine>(world: &mut World, m: &mut M) {
    let mut index = 0;
    while let Some(id) = world.life.zombies.get(index).copied() {
        if world.domains.get(id).is_some_and(|domain| !is_gone(&world.frames, domain)) {
            index = index.saturating_add(1);
            continue;
        }
        world.life.zombies.swap_remove(index);
        let frames = world.domains.get(id).map_or(0, |domain| u64::from(domain.frames_given));
        world.trace.put(m, id, &Record::Memory { change: MemoryChange::Returned.raw(), frames });
        world.trace.put(m, id, &Record::Life { stage: Stage::Dead.raw(), reason: 0 });
        report::domain(world, id, "dead");
        let _ = world.domains.remove(id);
        report::audit_death(world, id);
        world.effects.todo |= Todo::CONSOLE;
    }
}
