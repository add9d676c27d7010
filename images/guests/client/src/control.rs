//! Ruling the system: policies, snapshots, the end. A domain without control does without.

use guest_kernel::hypercall::extension;
use hypercall_abi::Errno;
use hypercall_abi::extension::{ControlOp, Delivery, DeliveryPolicy};

fn order(op: ControlOp, args: [u64; 3]) {
    match extension::order(op, args) {
        // Not ours to rule: the load alone is then what we are for.
        Ok(()) | Err(Errno::Perm | Errno::NoSys) => {}
        Err(error) => log::warn!("control {}: {error:?}", op.name()),
    }
}

/// Chooses how our own events reach us.
///
/// A client on a machine of its own would not take processor time from those that it measures. This one shares
/// theirs, and its stack looks at all connections whenever it wakes, so it lets some answers gather.
pub(crate) fn set_own_delivery(policy: DeliveryPolicy) {
    if let Err(error) = extension::set_delivery(policy) {
        log::warn!("own delivery: {error:?}");
    }
}

/// Sets the delivery of each other domain with a network front end.
pub(crate) fn set_delivery(policy: Delivery) {
    order(ControlOp::SetDelivery, [policy.raw().into(), 0, 0]);
}

/// The same with a window.
pub(crate) fn set_policy(policy: DeliveryPolicy) {
    order(ControlOp::SetDelivery, [policy.delivery.into(), policy.window_events.into(), policy.window_ns]);
}

/// Has all counters printed under a number.
pub(crate) fn snapshot(label: u64) {
    order(ControlOp::Snapshot, [label, 0, 0]);
}

/// The same, added up over the domains of each image: with many domains the whole would take longer than what it
/// measures.
pub(crate) fn brief_snapshot(label: u64) {
    order(ControlOp::Snapshot, [label, 1, 0]);
}

/// Turns the trace on or off.
pub(crate) fn trace(on: bool) {
    order(ControlOp::Trace, [on.into(), 0, 0]);
}

/// Ends the whole system.
pub(crate) fn power_off() {
    order(ControlOp::Poweroff, [0; 3]);
}
