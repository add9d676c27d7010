//! A heap and its pages, on memory of the host: whatever is taken from the two in whatever order, nothing lies on anything else, and
//! nothing is lost.

use core::sync::atomic::{AtomicU8, Ordering};
use std::alloc::{alloc, dealloc};
use std::vec::Vec;

use proptest::prelude::*;
use talc::DefaultBinning;

use super::*;

type Heap = Talc<PageSource, DefaultBinning>;

/// Memory that a heap is made of, and as much behind it as talc computes addresses in that it does not use, which Miri minds.
struct Memory(NonNull<u8>, Layout);

/// Bytes behind it; no test wants a larger piece.
const BEHIND: usize = 1 << 20;

impl Memory {
    fn new(pages: usize) -> Self {
        let layout = Layout::from_size_align(pages * PAGE_SIZE + BEHIND, PAGE_SIZE).unwrap();
        // SAFETY: it is not empty.
        Self(NonNull::new(unsafe { alloc(layout) }).unwrap(), layout)
    }

    /// Gives the pages of a range to a heap, as a guest does at its start.
    fn give(&self, heap: &mut Heap, range: Range<usize>) {
        let start = self.0.as_ptr().wrapping_add(range.start * PAGE_SIZE);
        // SAFETY: it is ours, and no test gives it twice.
        let end = unsafe { PageSource::add(heap, start, range.len() * PAGE_SIZE) }.unwrap();
        if let Some(range) = heap.source.better(start, end) {
            // SAFETY: they are just as this wants them.
            unsafe { heap.source.set(end, Pages::within(&range)) };
        }
    }

    /// A heap of all of it.
    fn heap(&self) -> Heap {
        let mut heap = Heap::new(PageSource::new());
        self.give(&mut heap, 0..(self.1.size() - BEHIND) / PAGE_SIZE);
        heap
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.0.as_ptr(), self.1) }
    }
}

/// Something taken, and filled with a mark of its own.
struct Piece {
    start: NonNull<u8>,
    layout: Layout,
    mark: u8,
    is_page: bool,
}

impl Piece {
    fn page(heap: &mut Heap) -> Option<Self> {
        let start = PageSource::take(heap)?;
        assert_eq!(start.addr().get() % PAGE_SIZE, 0);
        Some(Self::marked(start, LAYOUT, true))
    }

    fn of_heap(heap: &mut Heap, layout: Layout) -> Option<Self> {
        // SAFETY: no test wants an empty one.
        let start = unsafe { heap.allocate(layout) }?;
        Some(Self::marked(start, layout, false))
    }

    fn marked(start: NonNull<u8>, layout: Layout, is_page: bool) -> Self {
        static MARKS: AtomicU8 = AtomicU8::new(0);
        let piece = Self { start, layout, mark: MARKS.fetch_add(1, Ordering::Relaxed), is_page };
        for offset in piece.offsets() {
            // SAFETY: it is within the piece, which is ours.
            unsafe { start.as_ptr().wrapping_add(offset).write(piece.mark) };
        }
        piece
    }

    /// Some of its bytes, the last among them; under Miri fewer.
    fn offsets(&self) -> impl Iterator<Item = usize> + use<> {
        let last = self.layout.size() - 1;
        (0..last).step_by(if cfg!(miri) { 509 } else { 7 }).chain([last])
    }

    /// Gives it back, if it is what it was.
    fn back(self, heap: &mut Heap) {
        for offset in self.offsets() {
            // SAFETY: as above.
            let found = unsafe { self.start.as_ptr().wrapping_add(offset).read() };
            assert_eq!(found, self.mark, "somebody else wrote there");
        }
        if self.is_page {
            // SAFETY: it was taken there, and is not used again.
            unsafe { PageSource::give(heap, self.start) }
        } else {
            // SAFETY: it was allocated with this layout.
            unsafe { heap.deallocate(self.start.as_ptr(), self.layout) }
        }
    }
}

fn bytes(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// As many pages as there are.
fn all_pages(heap: &mut Heap) -> Vec<Piece> {
    core::iter::from_fn(|| Piece::page(heap)).collect()
}

/// How many pages there are, and the largest piece in units of 64 bytes.
fn room(heap: &mut Heap) -> (usize, usize) {
    let pages = all_pages(heap);
    let count = pages.len();
    pages.into_iter().for_each(|page| page.back(heap));
    let (mut fits, mut fails) = (0, BEHIND / 64);
    while fits + 1 < fails {
        let middle = (fits + fails) / 2;
        match Piece::of_heap(heap, bytes(middle * 64)) {
            Some(piece) => {
                piece.back(heap);
                fits = middle;
            }
            None => fails = middle,
        }
    }
    (count, fits)
}

/// Pages that memory of so many yields: one is what the heap begins with, and some it keeps.
fn yielded(pages: usize) -> usize {
    pages - 1 - pages / RESERVE_PART
}

#[test]
fn pages_take_their_own_bytes_and_no_more() {
    let memory = Memory::new(64);
    let mut heap = memory.heap();
    assert_eq!(all_pages(&mut heap).len(), yielded(64));
}

#[test]
fn the_last_of_memory_is_not_for_pages() {
    let memory = Memory::new(64);
    let mut heap = memory.heap();
    let mut pages = all_pages(&mut heap);
    let last = Piece::of_heap(&mut heap, bytes(4 * PAGE_SIZE)).unwrap();
    // What the heap uses up to there is not either, but what is given back is, whoever had it.
    assert!(Piece::page(&mut heap).is_none());
    pages.pop().unwrap().back(&mut heap);
    pages.extend(Piece::page(&mut heap));
    assert_eq!(pages.len(), yielded(64));
    last.back(&mut heap);
    assert!(Piece::page(&mut heap).is_none());
    pages.into_iter().for_each(|page| page.back(&mut heap));
}

#[test]
fn the_heap_has_back_what_pages_leave() {
    let memory = Memory::new(64);
    let mut heap = memory.heap();
    let before = room(&mut heap);
    let large = bytes(50 * PAGE_SIZE);
    let mut pages = all_pages(&mut heap);
    assert!(Piece::of_heap(&mut heap, large).is_none());
    // The pages farthest from the heap stay.
    for page in pages.split_off(10) {
        page.back(&mut heap);
    }
    let piece = Piece::of_heap(&mut heap, large).unwrap();
    pages.extend(all_pages(&mut heap));
    assert!(pages.len() < 14, "{}", pages.len());
    piece.back(&mut heap);
    pages.into_iter().for_each(|page| page.back(&mut heap));
    assert_eq!(room(&mut heap), before);
}

#[test]
fn what_lies_beyond_a_page_is_lent_and_comes_back() {
    let memory = Memory::new(128);
    let mut heap = memory.heap();
    let before = room(&mut heap);
    let mut pages = all_pages(&mut heap);
    let nearest = pages.pop().unwrap();
    pages.into_iter().for_each(|page| page.back(&mut heap));
    let pieces: Vec<_> = core::iter::from_fn(|| Piece::of_heap(&mut heap, bytes(9 * PAGE_SIZE))).collect();
    assert!(pieces.len() >= 7, "{}", pieces.len());
    let aligned = Layout::from_size_align(2 * PAGE_SIZE, PAGE_SIZE).unwrap();
    Piece::of_heap(&mut heap, aligned).unwrap().back(&mut heap);
    pieces.into_iter().for_each(|piece| piece.back(&mut heap));
    nearest.back(&mut heap);
    assert_eq!(room(&mut heap), before);
}

#[test]
fn where_the_heap_lies_up_to_its_end_a_page_is_found_within_it() {
    let memory = Memory::new(64);
    let mut heap = memory.heap();
    let low = Piece::of_heap(&mut heap, bytes(40 * PAGE_SIZE)).unwrap();
    let high: Vec<_> = core::iter::from_fn(|| Piece::of_heap(&mut heap, bytes(1000))).collect();
    assert!(Piece::page(&mut heap).is_none());
    low.back(&mut heap);
    let pages = all_pages(&mut heap);
    assert!(pages.len() >= 19, "{}", pages.len());
    pages.into_iter().chain(high).for_each(|piece| piece.back(&mut heap));
    assert_eq!(all_pages(&mut heap).len(), yielded(64));
}

#[test]
fn more_memory_is_used_for_pages_too() {
    let memory = Memory::new(128);
    // Next to the first.
    let mut heap = Heap::new(PageSource::new());
    memory.give(&mut heap, 0..20);
    memory.give(&mut heap, 20..64);
    let pages = all_pages(&mut heap);
    assert_eq!(pages.len(), yielded(64));
    // Somewhere else, and after pages were taken: then they are found in the heap.
    memory.give(&mut heap, 70..128);
    assert!(all_pages(&mut heap).len() >= 28);
    // Larger ones first, then a smaller one and a larger one.
    let mut heap = Heap::new(PageSource::new());
    let memory = Memory::new(128);
    memory.give(&mut heap, 0..20);
    memory.give(&mut heap, 25..30);
    memory.give(&mut heap, 40..104);
    let pages = all_pages(&mut heap);
    assert!(pages.len() >= yielded(64) + 9 + 2, "{}", pages.len());
}

fn any_layout() -> impl Strategy<Value = Layout> {
    let small = (1_usize..300).prop_map(bytes);
    let large = (300_usize..50_000).prop_map(bytes);
    let aligned =
        (1_usize..5).prop_map(|pages| Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).unwrap());
    prop_oneof![4 => small, 4 => large, 1 => aligned]
}

/// Pages of memory and steps in one case; under Miri few, which takes long enough.
const MOST: usize = if cfg!(miri) { 24 } else { 100 };
const STEPS: usize = if cfg!(miri) { 50 } else { 400 };

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 10 } else { 256 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_lies_on_anything_else_and_nothing_is_lost(
        size in 4..MOST,
        steps in proptest::collection::vec((0_u8..13, any::<u16>(), any_layout()), 1..STEPS),
    ) {
        let memory = Memory::new(size);
        let mut heap = memory.heap();
        let before = room(&mut heap);
        let mut pieces: Vec<Piece> = Vec::new();
        for (step, which, layout) in steps {
            match step {
                // Up to the end of memory at times: what then fails has changed nothing.
                0 => pieces.extend(all_pages(&mut heap)),
                1 => while let Some(piece) = Piece::of_heap(&mut heap, layout) {
                    pieces.push(piece);
                },
                2..5 => pieces.extend(Piece::page(&mut heap)),
                5..8 => pieces.extend(Piece::of_heap(&mut heap, layout)),
                12 => {
                    let some = usize::from(which) % (pieces.len() + 1);
                    pieces.split_off(some).into_iter().for_each(|piece| piece.back(&mut heap));
                }
                _ => if !pieces.is_empty() {
                    pieces.swap_remove(usize::from(which) % pieces.len()).back(&mut heap);
                }
            }
        }
        pieces.into_iter().for_each(|piece| piece.back(&mut heap));
        let after = room(&mut heap);
        prop_assert_eq!(before, after);
    }
}
