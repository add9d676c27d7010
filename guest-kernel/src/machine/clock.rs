//! System time: nanoseconds since the hypervisor's start, from its time page and the TSC.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{Ordering, compiler_fence};

use hypercall_abi::shared_info::{VcpuInfo, VcpuTimeInfo};

use super::window::SHARED_INFO;

/// The processor's time-stamp counter.
#[inline(always)]
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: every processor that runs 64-bit guests has it, and the hypervisor does not forbid it.
    unsafe { _rdtsc() }
}

/// System time in nanoseconds.
#[must_use]
pub fn now_ns() -> u64 {
    let page = (SHARED_INFO + core::mem::offset_of!(VcpuInfo, time)) as *const VcpuTimeInfo;
    // SAFETY: the shared page is mapped there for the domain's life; the pointer is within it.
    let version = unsafe { &raw const (*page).version };
    loop {
        // SAFETY: as above; volatile because the hypervisor writes it.
        let before = unsafe { version.read_volatile() };
        compiler_fence(Ordering::SeqCst);
        // SAFETY: as above; a torn copy is thrown away by the comparison below.
        let record = unsafe { page.read_volatile() };
        let tsc = tsc();
        compiler_fence(Ordering::SeqCst);
        // SAFETY: as above.
        let after = unsafe { version.read_volatile() };
        if before == after && before & 1 == 0 {
            return record.system_time_at(tsc);
        }
        core::hint::spin_loop();
    }
}
