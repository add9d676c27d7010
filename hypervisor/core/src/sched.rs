//! Giving the processor away and asking for it back: yield, block, poll, shut down, and the guest's timers.
//! A sleep and the timer that ends it stand together here, because whichever comes first has to undo the other.

use hypercall_abi::event_channel::Virq;
use hypercall_abi::extension::IdleResult;
use hypercall_abi::sched::{POLL_PORTS_MAX, Poll, SchedOp, Shutdown, ShutdownReason};
use hypercall_abi::vcpu::{RunstateInfo, SetSingleshotTimer, VcpuOp};
use hypercall_abi::{DomId, Errno, Port};

use crate::call::Call;
use crate::dispatch::Arguments;
use crate::effects::Todo;
use crate::events::{self, Channel, is_pending};
use crate::life;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::time::Time;
use crate::timers::{Kind, Timer};
use crate::trace::records::TimerKind;
use crate::trace::{self, Category, Record};
use crate::vcpu::{PollFor, Sleep};
use crate::world::World;

/// Byte of the upcall mask in the first word of a vCPU's record.
const MASKED: u64 = 0xff00;
/// Byte of the pending upcall in it.
const PENDING: u64 = 0xff;

/// `sched_op(op, argument)`.
///
/// # Errors
/// [`Errno::NoSys`] for an unknown operation, [`Errno::Fault`] for a bad pointer, [`Errno::Inval`] for a bad
/// argument.
pub fn sched_op<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [op, at, ..] = args;
    match u32::try_from(op).ok().and_then(SchedOp::from_raw).ok_or(Errno::NoSys)? {
        SchedOp::Yield => {
            if call.world.scheduler.give_way() {
                call.world.reschedule();
            }
        }
        SchedOp::Block => {
            if !unmask_upcalls(call)? {
                sleep(call, Sleep::Block, Time::NEVER)?;
            }
        }
        SchedOp::Shutdown => {
            let Shutdown { reason } = call.read(at)?;
            let reason = ShutdownReason::from_raw(reason).ok_or(Errno::Inval)?;
            life::end(call.world, call.memory, call.caller, life::End::Asked(reason));
        }
        SchedOp::Poll => poll(call, at)?,
    }
    Ok(0)
}

/// `idle_until(deadline_ns)`: unmasks upcalls and sleeps until one is pending or the deadline.
///
/// # Errors
/// None in practice.
pub fn idle_until<M: Machine>(call: &mut Call<'_, M>, deadline: u64) -> Result<u64, Errno> {
    if unmask_upcalls(call)? {
        return Ok(u64::from(IdleResult::Event.raw()));
    }
    if deadline != u64::MAX && Time(deadline) <= call.memory.now() {
        return Ok(u64::from(IdleResult::Deadline.raw()));
    }
    sleep(call, Sleep::Idle, Time(deadline))?;
    Ok(u64::from(IdleResult::Event.raw()))
}

/// `set_timer_op(deadline_ns)`: 0 stops the timer, a time that has passed fires it at once.
///
/// # Errors
/// None in practice.
pub fn set_timer_op<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [deadline, ..] = args;
    set_single(call, (deadline != 0).then_some(Time(deadline)));
    Ok(0)
}

/// `vcpu_op(op, vcpu, argument)`.
///
/// # Errors
/// [`Errno::NoEnt`] for a vCPU other than 0, [`Errno::Time`] for a timer in the past that may not be late.
pub fn vcpu_op<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [op, vcpu, at, ..] = args;
    let op = u32::try_from(op).ok().and_then(VcpuOp::from_raw).ok_or(Errno::NoSys)?;
    if vcpu != 0 {
        return Err(Errno::NoEnt);
    }
    match op {
        VcpuOp::IsUp => return Ok(1),
        VcpuOp::GetRunstateInfo => {
            let now = call.memory.now();
            let times = &call.domain()?.vcpu.times;
            let info = RunstateInfo {
                state: times.state.raw(),
                pad: 0,
                state_entry_time: times.since.0,
                time: times.spent_at(now),
            };
            call.write(at, &info)?;
        }
        VcpuOp::StopPeriodicTimer => {}
        VcpuOp::SetSingleshotTimer => {
            let SetSingleshotTimer { timeout_abs_ns, flags, .. } = call.read(at)?;
            let deadline = Time(timeout_abs_ns);
            if flags & 1 != 0 && deadline <= call.memory.now() {
                return Err(Errno::Time);
            }
            set_single(call, Some(deadline));
        }
        VcpuOp::StopSingleshotTimer => set_single(call, None),
    }
    Ok(0)
}

/// Arms or stops the caller's single-shot timer.
#[inline(always)]
fn set_single<M: Machine>(call: &mut Call<'_, M>, deadline: Option<Time>) {
    let timer = Timer { domain: call.caller, kind: Kind::Single };
    if call.world.trace.wants(Category::Timer) {
        return set_anyhow(call.world, call.memory, timer, deadline);
    }
    let Some(at) = deadline else {
        call.world.timers.stop(timer);
        return;
    };
    // The way of who puts a timer off again and again; it calls nobody, so that there is nothing to keep.
    if at > call.memory.now()
        && let Some(is_first) = call.world.timers.put_off(timer, at)
    {
        if is_first {
            call.world.effects.todo |= Todo::TIMER;
        }
        return;
    }
    set_anyhow(call.world, call.memory, timer, deadline);
}

/// Arms or stops a single-shot timer, whatever it was before.
#[inline(never)]
fn set_anyhow<M: Machine>(world: &mut World, m: &mut M, timer: Timer, deadline: Option<Time>) {
    let earliest = world.timers.next();
    match deadline {
        None => {
            world.timers.stop(timer);
        }
        Some(at) if at <= m.now() => {
            world.timers.stop(timer);
            events::raise_virq(world, m, timer.domain, Virq::Timer);
        }
        Some(at) => {
            // What can be put off does not come here, unless records are written.
            world.timers.set_anew(timer, at);
            // A timer that fires early finds nothing due; one that fires late would be wrong.
            if at < earliest {
                world.effects.todo |= Todo::TIMER;
            }
        }
    }
    if world.trace.wants(Category::Timer) {
        let deadline = deadline.map_or(0, |at| at.0);
        trace::timer_set(&mut world.trace, m, timer.domain, TimerKind::Single, deadline);
    }
}

/// Clears the caller's upcall mask; returns whether an upcall is pending.
fn unmask_upcalls<M: Machine>(call: &mut Call<'_, M>) -> Result<bool, Errno> {
    let at = MachineAddress::in_frame(call.domain()?.shared_info, 0);
    Ok(call.memory.fetch_and(at, !MASKED) & PENDING != 0)
}

/// Puts the caller to sleep from the next return on.
fn sleep<M: Machine>(call: &mut Call<'_, M>, sleep: Sleep, until: Time) -> Result<(), Errno> {
    call.domain_mut()?.vcpu.sleep = sleep;
    call.world.scheduler.sleep(call.caller);
    call.world.reschedule();
    if until != Time::NEVER {
        call.world.timers.set(Timer { domain: call.caller, kind: Kind::Sleep }, until);
        call.world.effects.todo |= Todo::TIMER;
        if call.world.trace.wants(Category::Timer) {
            trace::timer_set(&mut call.world.trace, call.memory, call.caller, TimerKind::Sleep, until.0);
        }
    }
    Ok(())
}

fn poll<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let Poll { ports, count, timeout_ns, .. } = call.read(at)?;
    if count > POLL_PORTS_MAX {
        return Err(Errno::Inval);
    }
    let shared = call.domain()?.shared_info;
    let mut awaited = PollFor::Any;
    for index in 0..u64::from(count) {
        let port = Port(call.read(ports.wrapping_add(index.wrapping_mul(4)))?);
        match call.domain()?.events.get(port) {
            None | Some(Channel::Free) => return Err(Errno::Inval),
            Some(_) if is_pending(call.memory, shared, port) => return Ok(()),
            Some(_) => awaited = if count == 1 { PollFor::One(port) } else { PollFor::Any },
        }
    }
    if timeout_ns != 0 && Time(timeout_ns) <= call.memory.now() {
        return Ok(());
    }
    let until = if timeout_ns == 0 { Time::NEVER } else { Time(timeout_ns) };
    sleep(call, Sleep::Poll(awaited), until)
}

/// What a trace calls a timer.
const fn traced(kind: Kind) -> TimerKind {
    match kind {
        Kind::Single => TimerKind::Single,
        Kind::Sleep => TimerKind::Sleep,
        Kind::Window => TimerKind::Window,
    }
}

/// Due timers that one interrupt sees to; the next comes at once if there are more.
const EXPIRED_AT_ONCE: usize = 64;

/// Lets due timers take effect. Whose timer it is pays for the time that it takes from who runs. Returns the time.
pub(crate) fn expire<M: Machine>(world: &mut World, m: &mut M) -> Time {
    let now = m.now();
    let mut begun = now;
    for _ in 0..EXPIRED_AT_ONCE {
        let Some((Timer { domain, kind }, due)) = world.timers.take_due(now) else { break };
        let record = Record::TimerDue { timer: traced(kind).raw(), late: now.since(due) };
        world.trace.put(m, domain, &record);
        match kind {
            Kind::Single => events::raise_virq(world, m, domain, Virq::Timer),
            Kind::Sleep => end_of_sleep(world, m, domain),
            Kind::Window => crate::delivery::wake(world, m, domain),
        }
        let done = m.now();
        if world.current != Some(domain) {
            world.scheduler.charge(domain, done.since(begun));
        }
        begun = done;
    }
    world.effects.todo |= Todo::TIMER;
    begun
}

/// A sleep has reached its deadline: `idle_until` answers so.
fn end_of_sleep<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    if let Some(domain) = world.domains.get_mut(id)
        && domain.vcpu.sleep == Sleep::Idle
    {
        domain.vcpu.registers.rax = u64::from(IdleResult::Deadline.raw());
    }
    crate::delivery::wake(world, m, id);
}
