//! The hypervisor's heap, over one region of memory that is set aside at boot.
//! Records of domains live here; nothing on a hot path allocates.

use talc::TalcLock;
use talc::source::Manual;

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

/// Gives the heap its memory.
pub(crate) fn initialise(memory: &'static mut [u8]) {
    // SAFETY: the slice is exclusive and lives for ever, and the caller has given it away.
    let claimed = unsafe { HEAP.lock().claim(memory.as_mut_ptr(), memory.len()) };
    assert!(claimed.is_some(), "a region of {} bytes is too small for a heap", memory.len());
}

/// Bytes in use.
pub(crate) fn used() -> usize {
    HEAP.lock().counters().allocated_bytes
}
