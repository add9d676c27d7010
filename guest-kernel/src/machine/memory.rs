//! The domain's memory as it was built: addresses, pseudo-physical frames and machine frames.
//! All of it is mapped in one line from the image's base, so that the three differ by arithmetic and one list.

use core::sync::atomic::{AtomicU64, Ordering};

use hypercall_abi::layout::MACHINE_TO_PHYS;
use hypercall_abi::mmu::MmuUpdate;
use hypercall_abi::start_info::StartInfo;
use hypercall_abi::{Errno, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn};

/// Address that pseudo-physical frame 0 is mapped at.
pub const VIRT_BASE: u64 = 0x40_0000;

static FRAMES: AtomicU64 = AtomicU64::new(0);
static FRAME_LIST: AtomicU64 = AtomicU64::new(0);
static ROOT: AtomicU64 = AtomicU64::new(0);
static MAPPED_END: AtomicU64 = AtomicU64::new(0);

/// Remembers what the start information says about memory.
pub(super) fn init(info: &StartInfo) {
    FRAMES.store(info.nr_pages, Ordering::Relaxed);
    FRAME_LIST.store(info.mfn_list, Ordering::Relaxed);
    ROOT.store(info.pt_base, Ordering::Relaxed);
}

/// Frames that the domain has.
#[must_use]
pub fn frames() -> u64 {
    FRAMES.load(Ordering::Relaxed)
}

/// Address of the root of our page tables.
#[must_use]
pub fn root() -> u64 {
    ROOT.load(Ordering::Relaxed)
}

/// The machine frame behind one of our frames; `None` beyond our memory.
#[must_use]
pub fn machine_frame(pfn: Pfn) -> Option<Mfn> {
    if pfn.0 >= frames() {
        return None;
    }
    let list = FRAME_LIST.load(Ordering::Relaxed) as *const u64;
    // SAFETY: the hypervisor built the list with one word for each frame, and the bound was checked above.
    let entry = unsafe { list.add(pfn.0 as usize) };
    // SAFETY: within the list, aligned, and written by nobody after the start.
    Some(Mfn(unsafe { entry.read() }))
}

/// Our frame that a machine frame is; meaningful only for frames that are ours.
#[must_use]
pub fn pseudo_physical_frame(mfn: Mfn) -> Pfn {
    let entry = (MACHINE_TO_PHYS + mfn.0 * 8) as *const u64;
    // SAFETY: the hypervisor maps this table, readable, for each machine frame that exists.
    Pfn(unsafe { entry.read_volatile() })
}

/// Address of one of our frames.
#[must_use]
pub const fn address_of(pfn: Pfn) -> u64 {
    VIRT_BASE + (pfn.0 << PAGE_SHIFT)
}

/// Our frame that holds an address of the linear mapping.
#[must_use]
pub const fn frame_of(address: u64) -> Pfn {
    Pfn((address - VIRT_BASE) >> PAGE_SHIFT)
}

/// The machine frame that holds an address of the linear mapping; `None` beyond our memory.
#[must_use]
pub fn machine_frame_at(address: u64) -> Option<Mfn> {
    address.checked_sub(VIRT_BASE).and_then(|offset| machine_frame(Pfn(offset >> PAGE_SHIFT)))
}

/// Bytes from an address to the end of what is mapped in one line; `None` before that is known.
pub(super) fn bytes_from(address: u64) -> Option<usize> {
    let end = MAPPED_END.load(Ordering::Relaxed);
    end.checked_sub(address).map(|bytes| bytes as usize)
}

/// The first address past our memory that is mapped, from `start` up.
///
/// Denizen maps all memory; Xen maps what the image needs, rounded up to 4 MiB, which shows in the page tables.
pub(super) fn mapped_end(start: u64, all: bool) -> u64 {
    let end = address_of(Pfn(frames()));
    let mut at = if all { end } else { start };
    while at < end && super::window::is_mapped(at) {
        at += PAGE_SIZE as u64;
    }
    MAPPED_END.store(at, Ordering::Relaxed);
    at
}

/// Maps what of our memory the builder left unmapped, which on Xen is most of it, and gives it to the heap.
///
/// # Errors
/// As the hypervisor says.
pub(super) fn map_rest() -> super::hypercall::Result {
    /// Entries that one call writes.
    const BATCH: usize = 128;
    let start = MAPPED_END.load(Ordering::Relaxed);
    let end = address_of(Pfn(frames()));
    let mut at = start;
    while at < end {
        let mut requests = [MmuUpdate::zeroed(); BATCH];
        let mut count = 0;
        for request in &mut requests {
            let Some(frame) = machine_frame_at(at).filter(|_| at < end) else { break };
            super::window::ensure_table(at)?;
            let ptr = super::window::entry_machine_address(at).ok_or(Errno::Fault)?;
            *request = MmuUpdate { ptr, val: frame.address() | super::window::DATA };
            at += PAGE_SIZE as u64;
            count += 1;
        }
        // SAFETY: nothing was mapped there, and the frames are ours and unused.
        unsafe { super::hypercall::memory::mmu_update(&mut requests[..count]) }?;
    }
    MAPPED_END.store(end.max(start), Ordering::Relaxed);
    if start < end {
        // SAFETY: it has just been mapped.
        unsafe { super::heap::add(start, end) };
    }
    Ok(())
}

/// One page of our own memory, zeroed, that may be shared with another domain.
///
/// It is raw memory: others may write it at any time, so it is read and written by [`Page::words`] or raw pointers.
#[derive(Debug)]
pub struct Page(core::ptr::NonNull<u8>);

// SAFETY: the page is owned by this value alone; access to its contents is raw.
unsafe impl Send for Page {}
// SAFETY: shared access goes through atomics or raw pointers, whose users answer for it.
unsafe impl Sync for Page {}

impl Page {
    /// A zeroed page; `None` when memory is used up.
    #[must_use]
    pub fn new() -> Option<Self> {
        let page = super::heap::take_page()?;
        // SAFETY: it is a whole page, and nobody else's.
        unsafe { page.write_bytes(0, PAGE_SIZE) };
        Some(Self(page))
    }

    /// A page with the same contents; `None` when memory is used up.
    #[must_use]
    pub fn duplicate(&self) -> Option<Self> {
        let copy = super::heap::take_page().map(Self)?;
        // SAFETY: both are whole pages, and the copy is nobody else's yet.
        unsafe { copy.as_ptr().copy_from_nonoverlapping(self.as_ptr(), PAGE_SIZE) };
        Some(copy)
    }

    /// Its first byte.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.as_ptr() as u64
    }

    /// The machine frame behind it.
    #[must_use]
    pub fn machine_frame(&self) -> Mfn {
        machine_frame_at(self.address()).expect("the heap lies within the domain's memory")
    }

    /// Its contents as atomic words, which another domain may change at any time.
    #[must_use]
    pub fn words(&self) -> &[core::sync::atomic::AtomicU32; PAGE_SIZE / 4] {
        // SAFETY: the page is ours, aligned, and holds just that many words; atomics may be shared.
        unsafe { &*self.as_ptr().cast() }
    }

    /// Gives it up for good without returning it to the heap.
    pub fn leak(self) -> *mut u8 {
        let pointer = self.as_ptr();
        core::mem::forget(self);
        pointer
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: it was taken there, and nobody uses it any more.
        unsafe { super::heap::give_page(self.0) }
    }
}
