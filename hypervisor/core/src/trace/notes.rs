//! Records whose making takes more than a line, out of the way of the paths that they tell of.

use hypercall_abi::extension::GuestRecord;
use hypercall_abi::vcpu::RunState;
use hypercall_abi::{DomId, Errno, Hypercall, Port};

use super::guests::made;
use super::records::{Condition, Reason, UNKNOWN};
use super::{Category, Record, Trace, call_entry, call_exit, laid_out, traced_number, triggered};
use crate::dispatch;
use crate::machine::Machine;
use crate::registers::Registers;
use crate::world::World;

/// Notes an event raised at `port` of `id`.
#[cold]
pub(crate) fn event_raised<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port, merged: bool) {
    let from = world.current.unwrap_or(DomId::IDLE).0;
    let record = Record::EventRaised { merged: u8::from(merged), port: port.0, from };
    world.trace.put(m, id, &record);
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
pub(crate) fn wake<M: Machine>(world: &mut World, m: &mut M, id: DomId, ahead: bool, waits: bool) {
    const BOTH: u32 = Category::Event.bit() | Category::RunState.bit();
    let wake = Record::Wake { ahead: u8::from(ahead) };
    let state = u8::try_from(RunState::Runnable.raw()).unwrap_or(u8::MAX);
    let state = Record::RunState { state, reason: Reason::Woken.raw() };
    let trace = &mut world.trace;
    if !waits {
        return trace.put(m, id, &wake);
    }
    let ([first], [second, reason]) = (laid_out(id, &wake), laid_out(id, &state));
    if trace.categories() & BOTH != BOTH || !trace.put_row::<_, 3, 0b011>(m, [first, second, reason]) {
        trace.put_each(m, id, [wake, state]);
    }
}

/// Notes a vCPU's new run state.
pub(crate) fn run_state<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    state: RunState,
    reason: Reason,
) {
    let state = u8::try_from(state.raw()).unwrap_or(u8::MAX);
    world.trace.put(m, id, &Record::RunState { state, reason: reason.raw() });
}

/// Notes that `id` gets the processor, by `switch`.
#[inline(always)]
pub(crate) fn chosen<M: Machine>(trace: &mut Trace, m: &M, id: DomId, switch: &Record) {
    let state = u8::try_from(RunState::Running.raw()).unwrap_or(u8::MAX);
    // The reason is 0, of which no word is written.
    const { assert!(Reason::Chosen.raw() == 0) }
    let state = Record::RunState { state, reason: Reason::Chosen.raw() };
    let ([first, from], [second]) = (laid_out(id, switch), laid_out(id, &state));
    if !trace.put_row::<_, 3, 0b101>(m, [first, from, second]) {
        trace.put_each(m, id, [*switch, state]);
    }
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
pub(crate) fn guest_record<M: Machine>(
    trace: &mut Trace,
    m: &mut M,
    caller: DomId,
    [record, a, b]: [u64; 3],
) -> Result<u64, Errno> {
    let record = u32::try_from(record).ok().and_then(GuestRecord::from_raw).ok_or(Errno::NoSys)?;
    let [ring, _, peer @ .., _, _, _, _] = a.to_le_bytes();
    // In a page the side is elsewhere, and the other domain in its place.
    let a = match record {
        GuestRecord::RingProduced
        | GuestRecord::RingConsumed
        | GuestRecord::RingNotified
        | GuestRecord::RingSuppressed => (a >> 32 << 32) | u64::from(u16::from_le_bytes(peer)),
        _ => a,
    };
    trace.put(m, caller, &made(record, ring, a, b));
    Ok(0)
}
