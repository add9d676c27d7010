//! Deaths of domains, and the births that follow from them.
//! A death gives everything back in small pieces between the turns of the others, and nothing of a domain outlives
//! it but frames that another still maps. Who lives shortly again and again waits before each next birth, so that the time and
//! the lines of the log that it takes from the others are bounded.

use alloc::format;
use alloc::string::ToString;
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
use crate::time::Time;
use crate::trace::records::{Condition, MemoryChange, Reason, Stage};
use crate::trace::{self, Record};
use crate::world::World;

/// ns that a domain has to live to be built again at once; its next short life counts as its first.
pub const LONG_LIFE_NS: u64 = 500_000_000;
/// ns that a domain waits from the end of its first short life to its next birth. Each further short life doubles that.
pub const FIRST_WAIT_NS: u32 = 10_000_000;
/// ns that a domain waits at most.
pub const WAIT_MAX_NS: u32 = 1_000_000_000;

/// Why a domain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It asked to.
    Asked(ShutdownReason),
    /// Somebody who rules the system asked.
    Destroyed,
    /// Somebody who rules the system wants to see what a crash does.
    Crashed,
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
            Self::Asked(ShutdownReason::Crash) | Self::Crashed => write!(f, "crash"),
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

/// A domain that is to be built again.
#[derive(Debug)]
struct Rebirth {
    config: Arc<config::Domain>,
    past: Past,
    /// When; [`NOW`] once that has come.
    due: Time,
}

/// What a domain's earlier lives leave to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// How often it was built before.
    pub incarnation: u32,
    /// ns that it waited for this life because the one before was short; 0 if that was long.
    pub waited_ns: u32,
}

impl Past {
    /// What is left to the next life after one of so many ns.
    const fn after(self, lived_ns: u64) -> Self {
        let waited_ns = match self.waited_ns.saturating_mul(2) {
            _ if lived_ns >= LONG_LIFE_NS => 0,
            ..FIRST_WAIT_NS => FIRST_WAIT_NS,
            WAIT_MAX_NS.. => WAIT_MAX_NS,
            doubled => doubled,
        };
        Self { incarnation: self.incarnation.saturating_add(1), waited_ns }
    }
}

/// The time of work that waits for none.
const NOW: Time = Time(0);

/// Deaths and births that are under way.
#[derive(Debug)]
pub struct Life {
    /// When there is something to do.
    next: Time,
    /// Domains whose resources are on their way back.
    dying: Vec<DomId>,
    /// Domains of which others still map frames.
    zombies: Vec<DomId>,
    /// Domains to be built again, which are none at the moment.
    rebirths: Vec<Rebirth>,
}

impl Default for Life {
    fn default() -> Self {
        Self { next: Time::NEVER, dying: Vec::new(), zombies: Vec::new(), rebirths: Vec::new() }
    }
}

impl Life {
    /// Whether there is work to be done between turns.
    #[must_use]
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.next == NOW
    }

    /// When there is work to be done; [`Time::NEVER`] if nobody waits to be built again.
    #[must_use]
    #[inline]
    pub(crate) const fn next(&self) -> Time {
        self.next
    }

    /// Whether nothing at all is under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.next == Time::NEVER && self.zombies.is_empty()
    }

    /// Looks when there is something to do.
    fn look(&mut self) {
        let waits = self.rebirths.iter().map(|rebirth| rebirth.due).min();
        self.next = if self.dying.is_empty() { waits.unwrap_or(Time::NEVER) } else { NOW };
    }

    /// Somebody who need not wait any longer.
    fn take_due(&mut self) -> Option<Rebirth> {
        let at = self.rebirths.iter().position(|rebirth| rebirth.due == NOW)?;
        Some(self.rebirths.swap_remove(at))
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
    world.life.next = NOW;
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
    } else {
        bury(world, m);
        if let Some(Rebirth { config, past, .. }) = world.life.take_due() {
            birth::create(world, m, &config, past);
        }
    }
    look(world);
}

/// Lets domains that have waited long enough be built again.
pub(crate) fn expire(world: &mut World, now: Time) {
    if world.life.is_busy() || world.life.next > now {
        return;
    }
    for rebirth in world.life.rebirths.iter_mut().filter(|rebirth| rebirth.due <= now) {
        rebirth.due = NOW;
    }
    look(world);
}

/// Gives up domains that wait to be built again. Returns whether there were any.
pub(crate) fn give_up(world: &mut World, is_meant: impl Fn(&str) -> bool) -> bool {
    let mut any = false;
    while let Some(at) = world.life.rebirths.iter().position(|rebirth| is_meant(&rebirth.config.name)) {
        let Rebirth { config, .. } = world.life.rebirths.swap_remove(at);
        report::waiting(world, &config.name, "dead", End::Destroyed.to_string());
        any = true;
    }
    look(world);
    any
}

/// Notes when there is work, for who looks before each return and who sets the timer.
fn look(world: &mut World) {
    world.life.look();
    world.attention.set(Attention::LIFE, world.life.is_busy());
    world.effects.todo |= Todo::TIMER;
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
    let [running, runnable, blocked, _] = domain.vcpu.times.spent;
    let lived_ns = running.saturating_add(runnable).saturating_add(blocked);
    let past = domain.past.after(lived_ns);
    let (ended, died) = (domain.ended, domain.vcpu.times.since);
    world.life.zombies.push(id);
    bury(world, m);
    let again = match ended {
        Some(End::Asked(ShutdownReason::Reboot)) => true,
        Some(end) => end.is_crash() && config.on_crash == OnCrash::Restart,
        None => false,
    };
    if !again {
        return;
    }
    // Who crashes it on command decides how often.
    let due = if past.waited_ns == 0 || ended == Some(End::Crashed) {
        NOW
    } else {
        let (lived_us, wait_ms) = (lived_ns / 1000, past.waited_ns / 1_000_000);
        let reason = format!("lived {lived_us} us, built again {wait_ms} ms after its end");
        report::waiting(world, &config.name, "waiting", reason);
        died.after(u64::from(past.waited_ns))
    };
    world.life.rebirths.push(Rebirth { config, past, due });
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
