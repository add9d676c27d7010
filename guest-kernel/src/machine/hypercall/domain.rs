//! Calls about the domain as a whole: console, traps, callbacks, yield, shutdown.

use hypercall_abi::Hypercall;
use hypercall_abi::console::ConsoleOp;
use hypercall_abi::sched::{SchedOp, Shutdown, ShutdownReason};
use hypercall_abi::trap::TrapInfo;
use hypercall_abi::version::VersionOp;

use super::raw::{call2, call3};
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
/// Both must be code that handles a bounce frame.
///
/// # Errors
/// As the hypervisor says.
pub unsafe fn set_callbacks(event: unsafe extern "C" fn(), failsafe: unsafe extern "C" fn()) -> Result {
    // SAFETY: no memory is touched; the caller answers for the two addresses.
    done(unsafe {
        call3::<{ number(Hypercall::SetCallbacks) }>(event as usize as u64, failsafe as usize as u64, 0)
    })
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
