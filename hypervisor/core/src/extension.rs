//! What Denizen adds to the interface, behind one hypercall.
//! It only leads to the modules that answer, so that each operation stands with what it is about.

use hypercall_abi::Errno;
use hypercall_abi::extension::{DeliveryPolicy, DomainCounters, ExtensionOp, MAJOR, MINOR};

use crate::call::Call;
use crate::dispatch::Arguments;
use crate::machine::Machine;
use crate::trace::Record;
use crate::{charge, control, delivery, devices, sched, trace};

/// `extension(op, ...)`. Sleeping comes before each change of the domain and stands here; all else stands apart, so that it
/// keeps nothing for that.
///
/// # Errors
/// [`Errno::NoSys`] for an unknown operation, [`Errno::Fault`] for a bad pointer, else by operation.
pub fn extension<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [op, a, b, c, _] = args;
    match u32::try_from(op).ok().and_then(ExtensionOp::from_raw).ok_or(Errno::NoSys)? {
        ExtensionOp::Version => Ok(u64::from((MAJOR << 16) | MINOR)),
        ExtensionOp::IdleUntil => sched::idle_until(call, a),
        ExtensionOp::SetDelivery => set_delivery(call, a),
        ExtensionOp::TraceEmit => recorded(call, &Record::Guest { a, b, c }),
        ExtensionOp::TraceRecord => {
            trace::guest_record(&mut call.world.trace, call.memory, call.caller, [a, b, c])
        }
        ExtensionOp::TraceFlush => taken_in(call),
        ExtensionOp::Devices => devices::devices_op(call, a),
        ExtensionOp::PciConfig => devices::pci_config(call, a),
        ExtensionOp::Control => control::control(call, a),
        ExtensionOp::Charge => charge::charge(call, a, b, c),
        ExtensionOp::Counters => counters(call, a),
    }
}

/// Has the caller's events delivered as it says at `at`.
#[cold]
#[inline(never)]
fn set_delivery<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<u64, Errno> {
    let DeliveryPolicy { delivery, window_events, window_ns } = call.read(at)?;
    let policy = delivery::Policy::from_raw(delivery, window_events, window_ns)?;
    delivery::set_policy(call.world, call.memory, call.caller, policy)?;
    Ok(0)
}

/// Takes a record that a guest makes; apart, so that nobody else keeps anything for it.
#[cold]
#[inline(never)]
fn recorded<M: Machine>(call: &mut Call<'_, M>, record: &Record) -> Result<u64, Errno> {
    call.world.trace.put(call.memory, call.caller, record);
    Ok(0)
}

/// Takes in those that lie in the caller's page.
#[cold]
#[inline(never)]
fn taken_in<M: Machine>(call: &mut Call<'_, M>) -> Result<u64, Errno> {
    let domain = call.world.domains.get_mut(call.caller).ok_or(Errno::Srch)?;
    call.world.trace.take_in(call.memory, domain);
    Ok(0)
}

/// Writes to `at` what is counted of the caller.
#[cold]
#[inline(never)]
fn counters<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<u64, Errno> {
    let domain = call.domain()?;
    let [running_ns, runnable_ns, blocked_ns, _] = domain.vcpu.times.spent_at(call.memory.now());
    let counters = DomainCounters {
        raised: domain.counters.raised,
        merged: domain.counters.merged,
        upcalls: domain.counters.upcalls,
        switches: domain.counters.switches,
        hypercalls: domain.counters.hypercalls_total(),
        bounced: domain.counters.bounced.wrapping_add(domain.counters.system_calls),
        running_ns,
        runnable_ns,
        blocked_ns,
        frames: u64::from(call.world.frames.owned_by(call.caller)),
    };
    call.write(at, &counters)?;
    Ok(0)
}
