//! The timers of our vCPU.

use hypercall_abi::Hypercall;
use hypercall_abi::vcpu::VcpuOp;

use super::raw::{call1, call3};
use super::{Result, done, number};

/// Raises the timer's virtual interrupt when system time reaches `deadline_ns`; 0 stops the timer.
///
/// # Errors
/// As the hypervisor says.
pub fn set_timer(deadline_ns: u64) -> Result {
    // SAFETY: no memory is touched.
    done(unsafe { call1::<{ number(Hypercall::SetTimerOp) }>(deadline_ns) })
}

/// Stops the periodic timer that Xen starts for each vCPU.
///
/// # Errors
/// As the hypervisor says.
pub fn stop_periodic_timer() -> Result {
    // SAFETY: no memory is touched.
    done(unsafe { call3::<{ number(Hypercall::VcpuOp) }>(VcpuOp::StopPeriodicTimer.raw().into(), 0, 0) })
}
