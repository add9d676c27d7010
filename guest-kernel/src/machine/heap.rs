//! The heap: what is left of the domain's memory after its start.
//! An upcall never allocates, so that a plain flag is lock enough on one vCPU.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use talc::TalcLock;
use talc::source::Manual;

/// A lock that is never contended: one vCPU, and upcalls do not allocate.
struct Unshared(AtomicBool);

// SAFETY: a second holder is refused, by a panic.
unsafe impl lock_api::RawMutex for Unshared {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        assert!(self.try_lock(), "an upcall or exception allocated while the heap was in use");
    }

    fn try_lock(&self) -> bool {
        // One vCPU: what could come between the two is an upcall, and that leaves the flag as it found it.
        let held = self.0.load(Ordering::Relaxed);
        self.0.store(true, Ordering::Relaxed);
        !held
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[global_allocator]
static HEAP: TalcLock<Unshared, Manual> = TalcLock::new(Manual);

static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Gives a region of memory to the heap.
///
/// # Safety
/// The region is mapped, writable, and used by nobody else from now on.
pub(super) unsafe fn add(start: u64, end: u64) {
    let bytes = end.saturating_sub(start) as usize;
    // SAFETY: the caller hands the region over.
    if unsafe { HEAP.lock().claim(start as *mut u8, bytes) }.is_some() {
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bytes that the heap was given.
pub(super) fn bytes() -> usize {
    BYTES.load(Ordering::Relaxed)
}
