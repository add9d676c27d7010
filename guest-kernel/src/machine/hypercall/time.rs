//! The single-shot timer.

use hypercall_abi::Hypercall;

use super::raw::call1;
use super::{Result, done, number};

/// Raises the timer's virtual interrupt when system time reaches `deadline_ns`; 0 stops the timer.
///
/// # Errors
/// As the hypervisor says.
pub fn set_timer(deadline_ns: u64) -> Result {
    // SAFETY: no memory is touched.
    done(unsafe { call1::<{ number(Hypercall::SetTimerOp) }>(deadline_ns) })
}
