//! What Denizen adds to Xen's interface; elsewhere each of these is refused with [`Errno::NoSys`].

use hypercall_abi::extension::{
    Control, ControlOp, DeliveryPolicy, DeviceDirectoryInfo, DomainCounters, ExtensionOp, GuestRecord,
    IdleResult, PciConfig,
};
use hypercall_abi::{DomId, Errno, Hypercall};

use super::raw::{call1, call2, call4};
use super::{Result, address, done, number};

fn operate<T>(op: ExtensionOp, argument: &mut T) -> Result {
    // SAFETY: the argument is the structure that this operation reads and writes.
    done(unsafe { call2::<{ number(Hypercall::Extension) }>(op.raw().into(), address(argument)) })
}

/// The extension's version: `major << 16 | minor`.
///
/// # Errors
/// [`Errno::NoSys`] on another hypervisor.
pub fn version() -> Result<u64> {
    // SAFETY: this question has no argument and changes nothing.
    Errno::from_rax(unsafe { call1::<{ number(Hypercall::Extension) }>(ExtensionOp::Version.raw().into()) })
}

/// Unmasks upcalls and sleeps until one is pending or system time reaches `deadline_ns`; `u64::MAX` is never.
///
/// # Errors
/// As the hypervisor says.
pub fn idle_until(deadline_ns: u64) -> Result<IdleResult> {
    // SAFETY: no memory is touched; upcalls are handled by whoever was interrupted.
    let rax = unsafe {
        call2::<{ number(Hypercall::Extension) }>(ExtensionOp::IdleUntil.raw().into(), deadline_ns)
    };
    Errno::from_rax(rax).map(|raw| {
        if raw == u64::from(IdleResult::Deadline.raw()) { IdleResult::Deadline } else { IdleResult::Event }
    })
}

/// Chooses how our events are delivered.
///
/// # Errors
/// As the hypervisor says.
pub fn set_delivery(mut policy: DeliveryPolicy) -> Result {
    operate(ExtensionOp::SetDelivery, &mut policy)
}

/// Puts a record of our own into the trace.
///
/// # Errors
/// As the hypervisor says.
pub fn trace_emit(a: u64, b: u64, c: u64) -> Result {
    // SAFETY: no memory is touched.
    done(unsafe { call4::<{ number(Hypercall::Extension) }>(ExtensionOp::TraceEmit.raw().into(), a, b, c) })
}

/// Puts a declared record of ours into the trace.
///
/// # Errors
/// As the hypervisor says.
pub fn trace_record(record: GuestRecord, a: u64, b: u64) -> Result {
    let (op, record) = (ExtensionOp::TraceRecord.raw().into(), record.raw().into());
    // SAFETY: no memory is touched.
    done(unsafe { call4::<{ number(Hypercall::Extension) }>(op, record, a, b) })
}

/// Has the records in our shared page taken in.
///
/// # Errors
/// As the hypervisor says.
pub fn trace_flush() -> Result {
    // SAFETY: no memory of ours is touched but the records.
    done(unsafe { call1::<{ number(Hypercall::Extension) }>(ExtensionOp::TraceFlush.raw().into()) })
}

/// Where our device directory is.
///
/// # Errors
/// As the hypervisor says.
pub fn devices() -> Result<DeviceDirectoryInfo> {
    let mut argument = DeviceDirectoryInfo::zeroed();
    operate(ExtensionOp::Devices, &mut argument)?;
    Ok(argument)
}

/// Reads or writes the configuration space of a device that is assigned to us.
///
/// # Errors
/// As the hypervisor says.
pub fn pci_config(argument: &mut PciConfig) -> Result {
    operate(ExtensionOp::PciConfig, argument)
}

/// Rules the system; refused for a domain that was not given control.
///
/// # Errors
/// As the hypervisor says.
pub fn control(mut argument: Control) -> Result {
    operate(ExtensionOp::Control, &mut argument)
}

/// [`control`] of the whole system, of no one domain.
///
/// # Errors
/// As the hypervisor says.
pub fn order(op: ControlOp, args: [u64; 3]) -> Result {
    control(Control { op: op.raw(), domid: DomId::INVALID.0, pad: 0, args })
}

/// Charges a domain that we serve for `part / of` of the time that we ran and have not charged yet; the ns.
///
/// # Errors
/// [`Errno::Perm`] if we serve no device of it.
pub fn charge(domain: DomId, part: u32, of: u32) -> Result<u64> {
    let op = ExtensionOp::Charge.raw().into();
    // SAFETY: no memory is touched.
    let rax =
        unsafe { call4::<{ number(Hypercall::Extension) }>(op, domain.0.into(), part.into(), of.into()) };
    Errno::from_rax(rax)
}

/// What the hypervisor counted for us since our start.
///
/// # Errors
/// As the hypervisor says.
pub fn counters() -> Result<DomainCounters> {
    let mut argument = DomainCounters::zeroed();
    operate(ExtensionOp::Counters, &mut argument)?;
    Ok(argument)
}
