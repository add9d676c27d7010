//! The trace goes on and off, by command or by itself, and its counters are recorded at both ends.

use alloc::string::String;

use hypercall_abi::shared_info::{TRACE_EVENT, TRACE_GUEST, TRACE_OFFSET, TRACE_RING};
use hypercall_abi::vcpu::RunState;
use hypercall_abi::{DomId, hypercall};

use super::choice::Choice;
use super::records::{Condition, Counted, UNKNOWN};
use super::{Category, Record, Trace};
use crate::attention::Attention;
use crate::domain::{Domain, State};
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::world::World;

// Guests know the categories by these bits.
const _: () = assert!(
    TRACE_EVENT == 1 << Category::Event.raw()
        && TRACE_GUEST == 1 << Category::Guest.raw()
        && TRACE_RING == 1 << Category::Ring.raw()
);

/// Categories of what the short ways do and do not record.
const ON_SHORT_WAYS: u32 = Category::Hypercall.bit() | Category::Trap.bit() | Category::Event.bit();

/// Turns the trace on or off; without storage it stays off. Returns whether it is on. The counters of each domain are
/// recorded first and last, so that the trace alone shows that no call is missing from it.
pub(crate) fn set_on<M: Machine>(world: &mut World, m: &mut M, on: bool) -> bool {
    if on == world.trace.is_on() || (on && !world.trace.has_storage()) {
        return world.trace.is_on();
    }
    let World { trace, domains, .. } = &mut *world;
    // What a guest made before the trace went on is not for it.
    for domain in domains.iter_mut().filter(|domain| domain.state == State::Running) {
        trace.take_in(m, domain);
    }
    trace.time_of_guests = m.ticks();
    trace.choice.look_at(domains.iter());
    let chosen = trace.choice.categories | Category::Trace.bit();
    trace.record_only(chosen);
    trace.filtered = trace.choice.left_out() & 3 != 0;
    trace.put(m, DomId::IDLE, &Record::State { on: u8::from(on), categories: chosen });
    for domain in domains.iter().filter(|domain| domain.state == State::Running) {
        put_counters(trace, m, domain);
    }
    trace.record_only(if on { chosen } else { 0 });
    trace.close(m);
    for domain in domains.iter().filter(|domain| domain.state == State::Running) {
        tell_guest(trace, m, domain);
    }
    // Calls, upcalls, faults and returns take the long way only if they are recorded or timed there.
    let times = trace.choice.times_calls();
    if trace.filtered {
        trace.stream.window.hold();
    } else {
        trace.stream.window.release();
    }
    world.attention.set(Attention::TRACE, on && (chosen & ON_SHORT_WAYS != 0 || times));
    world.attention.set(Attention::TIMED, on && times);
    on
}

/// Takes a setting of what is recorded. While the trace is on it goes off and on again, so that the counters at both
/// ends of each stretch belong to one choice.
///
/// # Errors
/// What is wrong with the setting, or that the storage is in use; nothing has changed.
pub(crate) fn set<M: Machine>(world: &mut World, m: &mut M, words: &[&str]) -> Result<(), String> {
    let was_on = world.trace.is_on();
    if !Choice::is_about_storage(words) {
        world.trace.choice.set(words)?;
    } else if was_on {
        return Err(String::from("the trace is on; its mode and its buffer can be chosen while it is off"));
    } else {
        world.trace.choice.set(words)?;
        let tsc_khz = world.constants.tsc_khz;
        world.trace.begin(m, tsc_khz);
    }
    if was_on {
        set_on(world, m, false);
        set_on(world, m, true);
    }
    Ok(())
}

/// Tells a guest which of its own records are wanted.
pub(crate) fn tell_guest<M: Machine>(trace: &Trace, m: &mut M, domain: &Domain) {
    let wanted = if trace.choice.means(domain.id) { trace.categories() } else { 0 };
    m.store(MachineAddress::in_frame(domain.shared_info, TRACE_OFFSET), u64::from(wanted));
}

/// Ends the recording if it is to end on this condition.
#[cold]
#[inline(never)]
pub(crate) fn triggered<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    condition: Condition,
    value: u64,
) {
    if !world.trace.is_on() || !world.trace.choice.ends_on(condition, value) {
        return;
    }
    world.trace.put(m, id, &Record::Trigger { condition: condition.raw(), value });
    set_on(world, m, false);
    Trace::note_trigger(m, condition);
}

/// Records what was counted for a domain.
fn put_counters<M: Machine>(trace: &mut Trace, m: &mut M, domain: &Domain) {
    let counters = &domain.counters;
    let numbers = (0..UNKNOWN).take(hypercall::COUNT);
    for (number, count) in numbers.zip(counters.hypercalls).chain([(UNKNOWN, counters.unknown)]) {
        if count > 0 {
            trace.put(m, domain.id, &Record::Counter { number, count });
        }
    }
    for (what, count) in [
        (Counted::Raised, counters.raised),
        (Counted::Merged, counters.merged),
        (Counted::Upcalls, counters.upcalls),
        (Counted::Switches, counters.switches),
        (Counted::Bounced, counters.bounced),
    ] {
        trace.put(m, domain.id, &Record::Tally { what: what.raw(), count });
    }
    put_times(trace, m, domain);
}

/// Records how long a domain's vCPU has been in each run state: one reading of the clock is the end of those times and the time of
/// the records, so that between any two of them the sum is the time that passed.
fn put_times<M: Machine>(trace: &mut Trace, m: &M, domain: &Domain) {
    let ticks = m.ticks();
    let now = m.trace_scale().at(ticks);
    for (raw, spent) in RunState::ALL.iter().zip(domain.vcpu.times.spent_at(now)) {
        let state = u8::try_from(raw.raw()).unwrap_or(u8::MAX);
        let present = u8::from(*raw == domain.vcpu.times.state);
        trace.put_at(m, ticks, domain.id, &Record::StateTime { state, spent, present });
    }
}

/// Records the times of a domain that is new.
pub(crate) fn first_times<M: Machine>(world: &mut World, m: &M, id: DomId) {
    let World { trace, domains, .. } = world;
    if let Some(domain) = domains.get(id).filter(|_| trace.is_on()) {
        put_times(trace, m, domain);
    }
}

/// Records the counters of a domain that ends.
pub(crate) fn last_counters<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let World { trace, domains, .. } = world;
    if let Some(domain) = domains.get_mut(id).filter(|_| trace.is_on()) {
        trace.take_in(m, domain);
        put_counters(trace, m, domain);
    }
}
