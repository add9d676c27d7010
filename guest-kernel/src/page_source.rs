//! Pages from the end of the heap's memory: the heap grows up from one end of it, pages down from the other.
//!
//! An allocator keeps a word behind each piece, so that pages out of the heap itself, which must not have one within, lie in every other
//! page of it. What pages leave free goes back when the heap has no more room, and not before. Whoever wants a page is told when there is
//! none, and whoever wants memory of the heap dies of it, so that the last of it is not for pages.

use core::alloc::Layout;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};

use hypercall_abi::PAGE_SIZE;
use talc::base::binning::Binning;
use talc::base::{CHUNK_UNIT, Talc};
use talc::source::Source;

use crate::pages::Pages;

/// How a page lies in the heap, where there is no other room for it.
const LAYOUT: Layout = match Layout::from_size_align(PAGE_SIZE, PAGE_SIZE) {
    Ok(layout) => layout,
    Err(_) => panic!("a page's size is a power of two"),
};
/// Pages that the heap is lent at least, if so many lie together.
const LENT: usize = 16;
/// Which part of memory pages leave to the heap, and how many bytes at most: fewer than overlays of a driver domain leave to everything
/// else, which needs pages too.
const RESERVE_PART: usize = 16;
const RESERVE_MOST: usize = 192 << 10;

/// The pages past the end of a heap.
#[derive(Debug)]
pub(crate) struct PageSource {
    pages: Pages,
    /// Where the heap below them ends, once there is one.
    heap_end: Option<NonNull<u8>>,
    /// Bytes before that end that pages leave free.
    reserve: usize,
}

// SAFETY: its pointer is an address within memory that the allocator that it is in has for itself.
unsafe impl Send for PageSource {}

impl PageSource {
    /// Without pages.
    pub(crate) const fn new() -> Self {
        Self { pages: Pages::NONE, heap_end: None, reserve: 0 }
    }

    /// Gives memory to the heap. Returns where it ends then.
    ///
    /// # Safety
    /// The memory may be written, and is used by nobody else from now on.
    pub(crate) unsafe fn add<B: Binning>(
        talc: &mut Talc<Self, B>,
        start: *mut u8,
        bytes: usize,
    ) -> Option<NonNull<u8>> {
        let before = talc.source.heap_end.filter(|end| end.as_ptr() == start && talc.source.pages.is_empty());
        let Some(before) = before else {
            // SAFETY: the caller hands it over.
            return unsafe { talc.claim(start, bytes) };
        };
        // SAFETY: the heap ends where it begins, and the caller hands it over.
        talc.source.heap_end = Some(unsafe { talc.extend(before, start.wrapping_add(bytes)) });
        talc.source.heap_end
    }

    /// Between which addresses pages are to lie from now on, once the heap was given memory between two; `None` where they were.
    pub(crate) fn better(&self, start: *mut u8, end: NonNull<u8>) -> Option<Range<u64>> {
        let (start, end) = (start.addr() as u64, end.addr().get() as u64);
        let is_longer = self.heap_end.is_some_and(|before| before.addr().get() as u64 == end);
        let start = if is_longer { self.pages.lowest() } else { start };
        let is_better = is_longer || Pages::most_within(&(start..end)) > self.pages.most();
        (self.pages.is_empty() && is_better).then_some(start..end)
    }

    /// Has pages lie elsewhere from now on. Returns what is to be dropped.
    ///
    /// # Safety
    /// The heap's memory between the addresses for which `pages` was made ends there, and there are no pages yet.
    pub(crate) unsafe fn set(&mut self, heap_end: NonNull<u8>, pages: Pages) -> Pages {
        self.heap_end = Some(heap_end);
        // A heap of which nothing were left would be none any more.
        self.reserve = (pages.most() * PAGE_SIZE / RESERVE_PART).clamp(CHUNK_UNIT, RESERVE_MOST);
        core::mem::replace(&mut self.pages, pages)
    }

    /// Takes a page with whatever it holds; `None` when memory is used up.
    pub(crate) fn take<B: Binning>(talc: &mut Talc<Self, B>) -> Option<NonNull<u8>> {
        let Self { pages, heap_end, .. } = &mut talc.source;
        match (pages.take(), *heap_end) {
            (Some(page), Some(end)) => at(end, page),
            _ => Self::take_more(talc),
        }
    }

    /// Takes one that was not a page yet.
    #[cold]
    fn take_more<B: Binning>(talc: &mut Talc<Self, B>) -> Option<NonNull<u8>> {
        let Some(end) = talc.source.heap_end else {
            // SAFETY: a page is not empty.
            return unsafe { talc.allocate(LAYOUT) };
        };
        // SAFETY: the heap ends there.
        let used_up_to = unsafe { talc.reserved(end) }.up_to.addr().get();
        let reserve = talc.source.reserve;
        let leaves_enough = |page: &NonNull<u8>| page.addr().get().saturating_sub(used_up_to) >= reserve;
        let next = talc.source.pages.before().and_then(|page| at(end, page));
        if let Some(page) = next.filter(leaves_enough) {
            // SAFETY: as above.
            talc.source.heap_end = unsafe { talc.truncate(end, page.as_ptr()) };
            talc.source.pages.grow();
            return Some(page);
        }
        Self::take_back(talc, end);
        if let Some(page) = talc.source.pages.take() {
            return at(end, page);
        }
        Self::take_from_heap(talc, end, used_up_to)
    }

    /// Takes one out of the heap, whose last piece in use ends there, but for what is left to it.
    fn take_from_heap<B: Binning>(
        talc: &mut Talc<Self, B>,
        end: NonNull<u8>,
        used_up_to: usize,
    ) -> Option<NonNull<u8>> {
        // A heap of which nothing were left would be none any more.
        let kept = (end.addr().get() - talc.source.reserve).max(used_up_to + CHUNK_UNIT);
        let kept = at(end, kept as u64)?;
        // SAFETY: the heap ends there.
        let short = unsafe { talc.truncate(end, kept.as_ptr()) }?;
        // SAFETY: a page is not empty.
        let page = unsafe { talc.try_allocate(LAYOUT) };
        // SAFETY: what was taken from the heap is given back to it.
        talc.source.heap_end = Some(unsafe { talc.extend(short, end.as_ptr()) });
        page
    }

    /// Has back what was lent to the heap and is free.
    fn take_back<B: Binning>(talc: &mut Talc<Self, B>, end: NonNull<u8>) {
        let mut next = 0;
        while let Some(lent) = talc.source.pages.lent(next) {
            next = lent.end;
            let first = talc.source.pages.address(lent.start);
            let Some(heap) = at(end, first + PAGE_SIZE as u64) else { return };
            // SAFETY: a heap of its own was made of the range, which ends there.
            if !unsafe { talc.reserved(heap) }.any {
                // SAFETY: as above. Nothing of it is in use, so it ends.
                unsafe { talc.truncate(heap, null_mut()) };
                talc.source.pages.take_back(lent);
            }
        }
    }

    /// Gives the heap, which has no room for a piece, pages that are free; `None` if that brings nothing.
    #[cold]
    #[inline(never)]
    fn have_back<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Option<()> {
        let end = talc.source.heap_end?;
        if talc.source.pages.shrink() {
            let start = at(end, talc.source.pages.start())?;
            // SAFETY: the heap ends there, and what lies between was given up by it and is free.
            talc.source.heap_end = Some(unsafe { talc.extend(end, start.as_ptr()) });
            return Some(());
        }
        // Room for the piece wherever it begins, for the word behind it and one before the first.
        let bytes = layout.size().checked_add(layout.align() + 3 * CHUNK_UNIT)?;
        let pages = bytes.div_ceil(PAGE_SIZE);
        let more = talc.source.pages.lend(pages.max(LENT));
        let lent = more.or_else(|| talc.source.pages.lend(pages))?;
        let start = at(end, talc.source.pages.address(lent.end - 1))?;
        // SAFETY: the pages are free, and nobody uses them until they are taken back.
        let claimed = unsafe { talc.claim(start.as_ptr(), lent.len() * PAGE_SIZE) };
        if claimed.is_none() {
            talc.source.pages.take_back(lent);
        }
        claimed.map(drop)
    }

    /// Gives a page back.
    ///
    /// # Safety
    /// It was taken here, and nobody uses it any more.
    pub(crate) unsafe fn give<B: Binning>(talc: &mut Talc<Self, B>, page: NonNull<u8>) {
        if !talc.source.pages.give(page.addr().get() as u64) {
            // SAFETY: it lies in the heap, so it was allocated there with this layout.
            unsafe { talc.deallocate(page.as_ptr(), LAYOUT) }
        }
    }
}

/// What lies at an address past the end of a heap.
fn at(end: NonNull<u8>, address: u64) -> Option<NonNull<u8>> {
    NonNull::new(end.as_ptr().with_addr(address as usize))
}

// SAFETY: it uses no allocator but the one that it is in, and that by the reference alone.
unsafe impl Source for PageSource {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        Self::have_back(talc, layout).ok_or(())
    }
}

#[cfg(test)]
mod tests;
