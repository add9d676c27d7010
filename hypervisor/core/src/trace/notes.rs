//! Records whose making takes more than a line, out of the way of the paths that they tell of.

use hypercall_abi::extension::GuestRecord;
use hypercall_abi::vcpu::RunState;
use hypercall_abi::{DomId, Errno, Hypercall, Port};

use super::guests::made;
use super::records::{Condition, Reason, TimerKind, UNKNOWN, Why};
use super::{Category, Record, Trace, call_entry, call_exit, laid_out, traced_number, triggered};
use crate::dispatch;
use crate::events::Told;
use crate::machine::Machine;
use crate::registers::Registers;
use crate::world::World;

/// Notes an event that `from` raised at a port, and what came of it.
#[inline(always)]
pub(crate) fn told<M: Machine>(
    trace: &mut Trace,
    m: &M,
    from: DomId,
    (receiver, port): (DomId, Port),
    told: Told,
) {
    let raised = Record::EventRaised { merged: told.merged(), port: port.0, from: from.0 };
    let [first, from_whom] = laid_out(receiver, &raised);
    let done = match told.record(port) {
        None => trace.put_row::<_, 2, 0b01>(m, [first, from_whom]),
        Some(then) => {
            let [second, there] = laid_out(receiver, &then);
            trace.put_row::<_, 4, 0b0101>(m, [first, from_whom, second, there])
        }
    };
    if !done {
        told_apart(trace, m, from, (receiver, port), told);
    }
}

/// The same one by one.
#[cold]
#[inline(never)]
pub(crate) fn told_apart<M: Machine>(
    trace: &mut Trace,
    m: &M,
    from: DomId,
    (receiver, port): (DomId, Port),
    told: Told,
) {
    trace.put(m, receiver, &Record::EventRaised { merged: told.merged(), port: port.0, from: from.0 });
    if let Some(then) = told.record(port) {
        trace.put(m, receiver, &then);
    }
}

/// Notes that a handler returns by hypercall to `rip` of its own kernel, where RAX is what the hypercall answers.
#[inline(always)]
pub(crate) fn returned<M: Machine>(trace: &mut Trace, m: &M, caller: DomId, rip: u64, rax: u64) {
    const BOTH: u32 = Category::Event.bit() | Category::Hypercall.bit();
    let number = u8::try_from(Hypercall::Iret.raw()).unwrap_or(UNKNOWN);
    let records = [Record::Return { user: 0, rip }, Record::HypercallExit { number, result: rax }];
    let [[first, rip], [second, rax]] = records.map(|record| laid_out(caller, &record));
    // A last word of 0 is left out.
    let all = rax != 0 && rip != 0 && trace.categories() & BOTH == BOTH;
    if !all || !trace.put_row::<_, 4, 0b0101>(m, [first, rip, second, rax]) {
        trace.put_each(m, caller, records);
    }
}

/// Notes that `id` ends its sleep, `ahead` of the queue or at its tail; if it `waits`, its run state has changed.
#[cold]
#[inline(never)]
pub(crate) fn wake<M: Machine>(world: &mut World, m: &mut M, id: DomId, ahead: bool, waits: bool) {
    const BOTH: u32 = Category::Event.bit() | Category::RunState.bit();
    let trace = &mut world.trace;
    let ([first], [second, reason]) = (laid_out(id, &woken(ahead)), laid_out(id, &RUNNABLE));
    if !waits
        || trace.categories() & BOTH != BOTH
        || !trace.put_row::<_, 3, 0b011>(m, [first, second, reason])
    {
        wake_apart(trace, m, id, ahead, waits);
    }
}

/// The same one by one.
#[cold]
#[inline(never)]
fn wake_apart<M: Machine>(trace: &mut Trace, m: &M, id: DomId, ahead: bool, waits: bool) {
    trace.put(m, id, &woken(ahead));
    if waits {
        trace.put(m, id, &RUNNABLE);
    }
}

const fn woken(ahead: bool) -> Record {
    Record::Wake { ahead: if ahead { 1 } else { 0 } }
}

/// The run state of who was woken and waits.
const RUNNABLE: Record = state(RunState::Runnable, Reason::Woken);

/// A run state, which is a byte in a trace.
const fn state(state: RunState, reason: Reason) -> Record {
    let [state, ..] = state.raw().to_le_bytes();
    Record::RunState { state, reason: reason.raw() }
}

/// Notes a vCPU's new run state.
pub(crate) fn run_state<M: Machine>(world: &mut World, m: &mut M, id: DomId, now: RunState, reason: Reason) {
    world.trace.put(m, id, &state(now, reason));
}

/// A turn that ended, as the record of its domain's run state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    head: u64,
    reason: Reason,
}

impl Left {
    /// The turn of this domain, whose run state is another now.
    #[inline(always)]
    pub(crate) fn new(id: DomId, now: RunState, reason: Reason) -> Self {
        let [head, _] = laid_out(id, &state(now, reason));
        Self { head, reason }
    }

    /// What became of the domain.
    #[inline(always)]
    pub(crate) const fn why(self) -> Why {
        match self.reason {
            Reason::Turn => Why::Turn,
            Reason::Preempted => Why::Preempted,
            _ => Why::Slept,
        }
    }
}

/// Notes that the processor changes hands: who had it, and that `id` gets it by `switch`, or that nobody does.
#[inline(always)]
pub(crate) fn switched<M: Machine>(trace: &mut Trace, m: &M, left: Option<Left>, id: DomId, switch: &Record) {
    // The reason is 0, of which no word is written.
    const { assert!(Reason::Chosen.raw() == 0) }
    let ([third, from], [fourth]) = (laid_out(id, switch), laid_out(id, &RUNNING));
    let done = match left {
        None if id == DomId::IDLE => trace.put_row::<_, 2, 0b01>(m, [third, from]),
        None => trace.put_row::<_, 3, 0b101>(m, [third, from, fourth]),
        Some(Left { head, reason }) => {
            let reason = u64::from(reason.raw());
            if id == DomId::IDLE {
                trace.put_row::<_, 4, 0b0101>(m, [head, reason, third, from])
            } else {
                trace.put_row::<_, 5, 0b1_0101>(m, [head, reason, third, from, fourth])
            }
        }
    };
    if !done {
        switched_apart(trace, m, left, id, switch);
    }
}

/// The same one by one.
#[cold]
#[inline(never)]
fn switched_apart<M: Machine>(trace: &mut Trace, m: &M, left: Option<Left>, id: DomId, switch: &Record) {
    if let Some(Left { head, reason }) = left {
        trace.put_words(m, [head, reason.raw().into()]);
    }
    trace.put(m, id, switch);
    if id != DomId::IDLE {
        trace.put(m, id, &RUNNING);
    }
}

/// The run state of who gets the processor.
const RUNNING: Record = state(RunState::Running, Reason::Chosen);

/// Notes that a timer is set, or with a deadline of 0 that it is stopped, while timers are recorded.
#[cold]
#[inline(never)]
pub(crate) fn timer_set<M: Machine>(trace: &mut Trace, m: &M, id: DomId, timer: TimerKind, deadline: u64) {
    trace.put_words(m, laid_out(id, &Record::TimerSet { timer: timer.raw(), deadline }));
}

/// Answers a hypercall while calls are timed: to record only long ones, or to end the recording at one.
#[cold]
#[inline(never)]
pub(crate) fn timed_call<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, id: DomId) {
    let number = traced_number(regs.rax);
    let Registers { rax: asked, rdi: arg0, rsi: arg1, .. } = *regs;
    let longer = world.trace.choice.longer();
    let start = m.now();
    if longer == 0 {
        call_entry(&mut world.trace, m, id, regs);
    }
    dispatch::answer(world, m, regs, id);
    let (duration, result) = (m.now().since(start), regs.rax);
    if longer == 0 {
        call_exit(&mut world.trace, m, id, asked, result);
    } else if duration >= longer && world.trace.choice.wants_call(number) {
        world.trace.put(m, id, &Record::LongCall { number, result, duration, arg0, arg1 });
    }
    triggered(world, m, id, Condition::Call, duration);
}

/// Takes a record that a guest makes.
///
/// # Errors
/// [`Errno::NoSys`] for a record that is no guest's to make.
#[cold]
#[inline(never)]
pub(crate) fn guest_record<M: Machine>(
    trace: &mut Trace,
    m: &mut M,
    caller: DomId,
    [record, a, b]: [u64; 3],
) -> Result<u64, Errno> {
    let record = u32::try_from(record).ok().and_then(GuestRecord::from_raw).ok_or(Errno::NoSys)?;
    trace.put(m, caller, &made(record, a, b));
    Ok(0)
}
