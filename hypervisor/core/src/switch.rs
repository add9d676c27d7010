//! The last step before each return: who runs, with whose registers, and whether an upcall is due.
//! It is cheap when nothing happened: one flag and one word of the shared page.

use hypercall_abi::vcpu::RunState;
use hypercall_abi::{DomId, Mfn};

use crate::attention::Attention;
use crate::delivery;
use crate::domain::State;
use crate::effects::Todo;
use crate::life;
use crate::machine::Machine;
use crate::memory::{MachineAddress, MachineMemory};
use crate::registers::Registers;
use crate::ring::Ring;
use crate::time::Time;
use crate::trace::records::{Condition, Reason, Why};
use crate::trace::{self, Category, Left, Record};
use crate::traps;
use crate::vcpu::{Mode, Sleep};
use crate::world::{Next, World};

/// Decides what to return to.
#[inline]
pub(crate) fn before_return<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers) -> Next {
    if !world.attention.intersects(Attention::RETURN) {
        let Some(current) = world.current else { return Next::Idle { from: None } };
        if !upcall_due(world, m) || traps::upcall(world, m, current, regs) {
            return Next::Resume;
        }
    }
    if world.trace.is_on() { slowly_recorded(world, m, regs) } else { slowly(world, m, regs) }
}

/// Whether an upcall of who has the processor is pending and not masked.
#[inline]
pub(crate) fn upcall_due<M: MachineMemory>(world: &World, m: &M) -> bool {
    traps::is_due(m.load(world.shared_page))
}

/// Enters the upcall handler of who has the processor if that is all that is left to be done. Returns whether nothing
/// is left.
#[inline]
pub(crate) fn finish<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, id: DomId) -> bool {
    if world.attention.intersects(Attention::RETURN) || !world.effects.todo.is_empty() {
        return false;
    }
    !upcall_due(world, m) || (traps::upcall(world, m, id, regs) && world.effects.todo.is_empty())
}

#[inline(never)]
fn slowly<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers) -> Next {
    decide::<M, false>(world, m, regs)
}

/// The same while records are written: apart, so that nothing is kept for them while there are none.
#[inline(never)]
fn slowly_recorded<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers) -> Next {
    decide::<M, true>(world, m, regs)
}

#[inline(always)]
fn decide<M: Machine, const RECORDED: bool>(world: &mut World, m: &mut M, regs: &mut Registers) -> Next {
    let loaded = world.current;
    if world.attention.contains(Attention::LIFE) {
        life::work(world, m, loaded);
    }
    // Whether somebody else got the processor and lost it at once.
    let mut others = false;
    loop {
        world.attention.remove(Attention::PICK);
        let now = m.now();
        let before = world.current;
        let next = world.scheduler.pick(now);
        if next != before {
            let left = put_away::<M, RECORDED>(world, m, before, regs, now);
            take_up::<M, RECORDED>(world, m, (before, left), next, regs, now);
            world.current = next;
            world.effects.todo |= Todo::TIMER;
        }
        let Some(current) = next else { break };
        if !upcall_due(world, m) || traps::upcall(world, m, current, regs) {
            break;
        }
        // It had no stack for the upcall and is gone: somebody else has the processor.
        others = true;
    }
    let from = loaded.filter(|id| world.domains.get(*id).is_some());
    match world.current {
        current if current == loaded => match current {
            Some(_) => Next::Resume,
            None => Next::Idle { from: None },
        },
        Some(to) => Next::Switched { from, to },
        None => {
            world.kept = from.filter(|_| !others).and_then(|id| to_keep(world, id));
            Next::Idle { from }
        }
    }
}

/// The root that the processor keeps while nobody has it after `id` had: most often `id` is the next as well, and finds
/// all that the processor remembers. What this rests on:
///
/// - The root shows the hypervisor itself as any other does, but where the kernel is in ring 1: there it stands on its own.
/// - It is the domain's for as long as that runs, for nobody but its own calls changes its tables. What else gives back
///   frames is [`life::work`], which has the root left first.
/// - Nothing that the processor may remember is out of date. A flush that is due is not put off but has it left at once,
///   and none becomes due while nobody makes calls.
fn to_keep(world: &World, id: DomId) -> Option<(DomId, Mfn)> {
    let domain = world.domains.get(id).filter(|domain| domain.state == State::Running)?;
    let stale = world.effects.todo.intersects(Todo::FLUSH_TLB | Todo::LOAD_ROOT);
    (!stale && domain.vcpu.ring == Ring::Three).then(|| (id, domain.vcpu.root()))
}

/// Leaves a root that was kept: it may go.
pub(crate) fn leave_kept<M: Machine>(world: &mut World, m: &mut M) {
    if world.kept.take().is_some() {
        m.leave_root();
    }
}

/// Stores the registers of a domain that loses the processor. Returns what a trace says of it.
#[inline(always)]
fn put_away<M: Machine, const RECORDED: bool>(
    world: &mut World,
    m: &mut M,
    id: Option<DomId>,
    regs: &Registers,
    now: Time,
) -> Option<Left> {
    let domain = id.and_then(|id| world.domains.get_mut(id))?;
    domain.vcpu.registers = *regs;
    if RECORDED {
        world.trace.take_in(m, domain);
    }
    if domain.vcpu.times.state != RunState::Running {
        return None;
    }
    let state = if domain.vcpu.sleep == Sleep::No { RunState::Runnable } else { RunState::Blocked };
    domain.vcpu.times.enter(state, now);
    let (id, sleep) = (domain.id, domain.vcpu.sleep);
    RECORDED.then(|| {
        let reason = match sleep {
            Sleep::Block => Reason::Block,
            Sleep::Idle => Reason::Idle,
            Sleep::Poll(_) => Reason::Poll,
            Sleep::No if world.scheduler.is_preempted(id) => Reason::Preempted,
            Sleep::No => Reason::Turn,
        };
        Left::new(id, state, reason)
    })
}

/// Loads the registers of a domain that gets the processor, or begins to idle.
#[inline(always)]
fn take_up<M: Machine, const RECORDED: bool>(
    world: &mut World,
    m: &mut M,
    (before, left): (Option<DomId>, Option<Left>),
    next: Option<DomId>,
    regs: &mut Registers,
    now: Time,
) {
    if before.is_none() {
        world.idle_ns = world.idle_ns_at(now);
    }
    let from = before.unwrap_or(DomId::IDLE).0;
    let Some(domain) = next.and_then(|id| world.domains.get_mut(id)) else {
        world.idle_since = Some(now);
        if RECORDED && world.trace.wants(Category::RunState) {
            trace::switched(&mut world.trace, m, left, DomId::IDLE, &Record::Idle { from });
        }
        return;
    };
    let root = domain.vcpu.root();
    if world.kept.take() != Some((domain.id, root)) {
        m.load_root_ahead(domain.vcpu.ring, root);
    }
    world.idle_since = None;
    *regs = domain.vcpu.registers;
    world.shared_page = MachineAddress::in_frame(domain.shared_info, 0);
    world.attention.set(Attention::USER, domain.vcpu.mode == Mode::User);
    let waited = now.since(domain.vcpu.times.since);
    domain.vcpu.times.enter(RunState::Running, now);
    let id = domain.id;
    if world.last != Some(id) {
        domain.counters.switches = domain.counters.switches.wrapping_add(1);
        world.switches = world.switches.wrapping_add(1);
        world.last = Some(id);
    }
    delivery::arrive(world, m, id);
    if RECORDED && world.trace.wants(Category::RunState) {
        let ended = if before.is_none() { Why::WasIdle } else { Why::Ended };
        let why = left.map_or(ended, |left| left.why());
        trace::switched(&mut world.trace, m, left, id, &Record::Switch { why: why.raw(), from });
    }
    if RECORDED && world.trace.choice.watches_delays() {
        trace::triggered(world, m, id, Condition::Delay, waited);
    }
}
