//! Calls about the domain as a whole: console, traps, callbacks, yield, shutdown.

use hypercall_abi::Hypercall;
use hypercall_abi::console::ConsoleOp;
use hypercall_abi::layout::GUEST_DATA;
use hypercall_abi::sched::{SchedOp, Shutdown, ShutdownReason};
use hypercall_abi::trap::{CallbackOp, CallbackRegister, CallbackType, SegmentBase, TrapInfo};
use hypercall_abi::version::VersionOp;

use super::raw::{call1, call2, call3};
use super::{Result, address, done, number};

/// Writes bytes to the domain's console.
///
/// # Errors
/// As the hypervisor says; a domain without a console is refused.
pub fn console_write(bytes: &[u8]) -> Result {
    // SAFETY: the call reads exactly these bytes.
    done(unsafe {
        call3::<{ number(Hypercall::ConsoleIo) }>(
            ConsoleOp::Write.raw().into(),
            bytes.len() as u64,
            bytes.as_ptr() as u64,
        )
    })
}

/// The version of the interface: `major << 16 | minor`.
#[must_use]
pub fn version() -> u64 {
    // SAFETY: this question has no argument and changes nothing.
    unsafe { call2::<{ number(Hypercall::XenVersion) }>(VersionOp::Version.raw().into(), 0) }
}

/// Sets handlers for exceptions. The table ends with an entry whose address is 0.
///
/// # Safety
/// Each address must be code that handles a bounce frame of its vector.
///
/// # Errors
/// As the hypervisor says.
pub unsafe fn set_trap_table(table: &mut [TrapInfo]) -> Result {
    // SAFETY: the table is read; the caller answers for the handlers in it.
    done(unsafe { super::raw::call1::<{ number(Hypercall::SetTrapTable) }>(address(table)) })
}

/// Sets where upcalls and failed returns enter.
///
/// # Safety
/// Both must be addresses of code that handles a bounce frame.
///
/// # Errors
/// As the hypervisor says.
pub unsafe fn set_callbacks(event: u64, failsafe: u64) -> Result {
    // SAFETY: the caller answers for it.
    unsafe { set_callback(CallbackType::Failsafe, failsafe) }?;
    // SAFETY: the caller answers for it.
    unsafe { set_callback(CallbackType::Event, event) }
}

/// Sets where one kind of entry leads.
///
/// # Safety
/// It must be the address of code that handles a bounce frame.
///
/// # Errors
/// As the hypervisor says.
pub(crate) unsafe fn set_callback(kind: CallbackType, entry: u64) -> Result {
    let mut argument = CallbackRegister { kind: kind.raw(), flags: 0, pad: 0, address: entry };
    // SAFETY: the argument is read; the caller answers for the address.
    done(unsafe {
        call2::<{ number(Hypercall::CallbackOp) }>(CallbackOp::Register.raw().into(), address(&mut argument))
    })
}

/// Sets the end of the stack on which the kernel is entered from processes.
///
/// # Safety
/// Below it must be room for frames, used by nobody else.
///
/// # Errors
/// As the hypervisor says.
pub(crate) unsafe fn set_entry_stack(end: u64) -> Result {
    // SAFETY: no memory is touched yet; the caller answers for the stack.
    done(unsafe { call2::<{ number(Hypercall::StackSwitch) }>(GUEST_DATA.into(), end) })
}

/// Has the next use of the FPU raise an exception, or allows it.
///
/// # Errors
/// As the hypervisor says.
pub(crate) fn trap_fpu(trap: bool) -> Result {
    // SAFETY: no memory is touched, and this kernel does not use the FPU.
    done(unsafe { call1::<{ number(Hypercall::FpuTaskswitch) }>(trap.into()) })
}

/// Sets the base of a segment register.
///
/// # Errors
/// As the hypervisor says.
pub(crate) fn set_segment_base(which: SegmentBase, base: u64) -> Result {
    // SAFETY: no memory is touched, and this kernel uses neither register.
    done(unsafe { call2::<{ number(Hypercall::SetSegmentBase) }>(which.raw().into(), base) })
}

/// Lets others run.
pub fn yield_now() {
    // SAFETY: no argument; nothing of ours changes.
    let _ = unsafe { call2::<{ number(Hypercall::SchedOp) }>(SchedOp::Yield.raw().into(), 0) };
}

/// Unmasks upcalls and sleeps until one is pending.
pub fn block() {
    // SAFETY: no argument; upcalls are handled by whoever was interrupted.
    let _ = unsafe { call2::<{ number(Hypercall::SchedOp) }>(SchedOp::Block.raw().into(), 0) };
}

/// Ends this domain.
pub fn shutdown(reason: ShutdownReason) -> ! {
    let mut argument = Shutdown { reason: reason.raw() };
    loop {
        // SAFETY: the argument is read; the domain ends, so that nothing of ours is used again.
        let _ = unsafe {
            call2::<{ number(Hypercall::SchedOp) }>(SchedOp::Shutdown.raw().into(), address(&mut argument))
        };
    }
}
