//! The heap: what is left of the domain's memory after its start, and the pages at its end.
//! An upcall never allocates, so that a plain flag is lock enough on one vCPU.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use talc::TalcLock;

use crate::page_source::PageSource;
use crate::pages::Pages;

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
static HEAP: TalcLock<Unshared, PageSource> = TalcLock::new(PageSource::new());

static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Gives a region of memory to the heap.
///
/// # Safety
/// The region is mapped, writable, and used by nobody else from now on.
pub(super) unsafe fn add(start: u64, end: u64) {
    let bytes = end.saturating_sub(start) as usize;
    let start = start as *mut u8;
    // SAFETY: the caller hands the region over.
    let Some(end) = (unsafe { PageSource::add(&mut HEAP.lock(), start, bytes) }) else { return };
    BYTES.fetch_add(bytes, Ordering::Relaxed);
    let better = HEAP.lock().source.better(start, end);
    if let Some(range) = better {
        let pages = Pages::within(&range);
        // SAFETY: this is the end of what was given to the heap, and the range is of that.
        let before = unsafe { HEAP.lock().source.set(end, pages) };
        // The heap is in use no more.
        drop(before);
    }
}

/// Takes a page of memory, which holds whatever it holds; `None` when memory is used up.
// Like `alloc` it is no part of whatever calls it: within the way of a request it costs others their registers.
#[inline(never)]
pub(super) fn take_page() -> Option<NonNull<u8>> {
    PageSource::take(&mut HEAP.lock())
}

/// Gives a page back.
///
/// # Safety
/// It was taken by [`take_page`], and nobody uses it any more.
#[inline(never)]
pub(super) unsafe fn give_page(page: NonNull<u8>) {
    // SAFETY: as the caller says.
    unsafe { PageSource::give(&mut HEAP.lock(), page) }
}

/// Bytes that the heap was given.
pub(super) fn bytes() -> usize {
    BYTES.load(Ordering::Relaxed)
}
