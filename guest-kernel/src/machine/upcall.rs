//! Upcalls: masking, and what happens when the hypervisor tells of events.
//! Interrupts of a domain are a byte in the shared page, so that masking costs no hypercall.

use core::sync::atomic::{AtomicU64, Ordering};

use hypercall_abi::shared_info::TRACE_EVENT;

use super::window::SHARED_INFO;
use super::{ports, trace};
use crate::events::EventPage;

/// Upcalls handled since the start.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The shared page's event words.
#[inline(always)]
#[must_use]
pub fn page() -> &'static EventPage {
    // SAFETY: the shared page is mapped there before anything calls this, for the domain's life; all its event
    // words are atomics.
    unsafe { &*(SHARED_INFO as *const EventPage) }
}

/// Upcalls that entered this kernel since its start.
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Called by the upcall's entry, with upcalls masked.
#[unsafe(no_mangle)]
extern "C" fn guest_dispatch_upcall() {
    COUNT.store(COUNT.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    let mut served = 0;
    page().take_all(|port| {
        served += 1;
        ports::fire(port);
    });
    if trace::wants(TRACE_EVENT) {
        trace::handler_done(served);
    }
}

/// Handles an upcall that came in another way, with upcalls masked as they are on entry, and unmasks them.
pub(super) fn handle() {
    guest_dispatch_upcall();
    unmask();
}

/// Masks upcalls; returns whether they were masked already.
#[inline]
pub fn mask() -> bool {
    page().vcpu().mask.swap(1, Ordering::SeqCst) != 0
}

/// Unmasks upcalls, and handles at once what came meanwhile.
#[inline]
pub fn unmask() {
    let vcpu = page().vcpu();
    loop {
        vcpu.mask.store(0, Ordering::SeqCst);
        if vcpu.pending.load(Ordering::SeqCst) == 0 {
            return;
        }
        // The hypervisor delivers at its next exit; there may be none for long.
        vcpu.mask.store(1, Ordering::SeqCst);
        super::process::tell();
        page().take_all(ports::fire);
    }
}

/// Sections that upcalls may not enter, for crates that ask for them.
struct Section;

critical_section::set_impl!(Section);

// SAFETY: one vCPU, and with upcalls masked nothing enters but exceptions, which end the domain or resume.
unsafe impl critical_section::Impl for Section {
    unsafe fn acquire() -> critical_section::RawRestoreState {
        mask()
    }

    unsafe fn release(was_masked: critical_section::RawRestoreState) {
        if !was_masked {
            unmask();
        }
    }
}
