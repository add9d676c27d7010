//! Records whose making takes more than a line, out of the way of the paths that they tell of.

use hypercall_abi::extension::GuestRecord;
use hypercall_abi::vcpu::RunState;
use hypercall_abi::{DomId, Errno, Port};

use super::records::{Condition, Reason};
use super::{Record, Trace, call_entry, call_exit, traced_number, triggered};
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

/// Notes that `id` ends its sleep, `ahead` of the queue or at its tail; if it `waits`, its run state has changed.
#[cold]
pub(crate) fn wake<M: Machine>(world: &mut World, m: &mut M, id: DomId, ahead: bool, waits: bool) {
    world.trace.put(m, id, &Record::Wake { ahead: u8::from(ahead) });
    if waits {
        run_state(world, m, id, RunState::Runnable, Reason::Woken);
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
    let [ring, _, peer_low, peer_high, index @ ..] = a.to_le_bytes();
    let (peer, index) = (u16::from_le_bytes([peer_low, peer_high]), u32::from_le_bytes(index));
    let (count, waiting) = (low(b), low(b >> 32));
    let record = match record {
        GuestRecord::SpanBegin => Record::SpanBegin { name: a, value: b },
        GuestRecord::SpanEnd => Record::SpanEnd { name: a, value: b },
        GuestRecord::Instant => Record::Instant { name: a, value: b },
        GuestRecord::Value => Record::Value { name: a, value: b },
        GuestRecord::RingProduced => Record::RingProduced { ring, peer, index, count, waiting },
        GuestRecord::RingConsumed => Record::RingConsumed { ring, peer, index, count, waiting },
        GuestRecord::RingNotified => Record::RingNotified { ring, peer },
        GuestRecord::RingSuppressed => Record::RingSuppressed { ring, peer },
        GuestRecord::HandlerDone => Record::HandlerDone { ports: low(a) },
    };
    trace.put(m, caller, &record);
    Ok(0)
}

/// The lower half.
fn low(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0)
}
