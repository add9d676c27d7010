//! Where everything lies in a new domain's memory, in pseudo-physical frames.
//! The order is Xen's (kernel, list of frames, start information, page tables, stack), with the device directory
//! and the device pages where Xen has the pages of its store and console.

use hypercall_abi::{Pfn, layout};

use super::image::Image;
use super::{BuildError, Order};

/// Bytes of a [`hypercall_abi::device::DirectoryEntry`].
const DIRECTORY_ENTRY: u64 = 128;

/// A run of pseudo-physical frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Part {
    /// `count` frames from `next` on, which is moved past them.
    fn place(next: &mut u64, count: u64) -> Self {
        let part = Self { first: *next, count };
        *next = next.saturating_add(count);
        part
    }

    /// The frames that bytes from `first` up to `end` touch.
    pub(super) const fn of_bytes(first: u64, end: u64) -> Self {
        let frame = first >> 12;
        Self { first: frame, count: end.div_ceil(4096).saturating_sub(frame) }
    }

    pub(super) const fn first(self) -> Pfn {
        Pfn(self.first)
    }

    /// The first frame past it.
    pub(super) const fn end(self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// Whether the two have a frame in common.
    pub(super) const fn meets(&self, other: &Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }
}

/// The parts of a domain's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// All of it.
    pub(super) pages: u64,
    /// Virtual address of frame 0.
    pub(super) base: u64,
    pub(super) frame_list: Part,
    pub(super) start_info: Part,
    pub(super) directory: Part,
    pub(super) device_pages: Part,
    pub(super) page_tables: Part,
    pub(super) stack: Part,
}

/// How many tables of a level, each covering `1 << shift` bytes, the range needs.
const fn tables(first: u64, last: u64, shift: u32) -> u64 {
    (last >> shift).saturating_sub(first >> shift).saturating_add(1)
}

impl Layout {
    /// Lays out `pages` frames.
    pub(super) fn new(image: &Image<'_>, order: &Order<'_>, pages: u64) -> Result<Self, BuildError> {
        let base = image.base;
        let size = pages << 12;
        let last = base.checked_add(size.saturating_sub(1)).filter(|&last| {
            layout::is_canonical(base)
                && layout::is_canonical(last)
                && (base >> 63 == last >> 63)
                && (last < layout::HYPERVISOR_START || base >= layout::HYPERVISOR_END)
        });
        let last = last.ok_or(BuildError::OverlapsHypervisor {
            first: base,
            last: base.wrapping_add(size).wrapping_sub(1),
        })?;
        let [l3s, l2s, l1s] = Self::table_counts(base, last);
        let mut next = image.end.div_ceil(4096);
        let layout = Self {
            pages,
            base,
            frame_list: Part::place(&mut next, pages.saturating_mul(8).div_ceil(4096)),
            start_info: Part::place(&mut next, 1),
            directory: Part::place(
                &mut next,
                u64::from(order.directory_entries).saturating_mul(DIRECTORY_ENTRY).div_ceil(4096),
            ),
            device_pages: Part::place(&mut next, u64::from(order.device_pages)),
            page_tables: Part::place(
                &mut next,
                l3s.saturating_add(l2s).saturating_add(l1s).saturating_add(1),
            ),
            stack: Part::place(&mut next, 1),
        };
        if next > pages {
            let given_pages = pages.saturating_add(super::SHARED_FRAMES);
            let needed_pages = next.saturating_add(super::SHARED_FRAMES);
            return Err(BuildError::TooLittleMemory { needed_pages, given_pages });
        }
        Ok(layout)
    }

    /// Tables of levels 3, 2 and 1 for a range.
    const fn table_counts(first: u64, last: u64) -> [u64; 3] {
        [tables(first, last, 39), tables(first, last, 30), tables(first, last, 21)]
    }

    /// Frame, within the page tables, of the first table of each level from 4 down to 1.
    pub(super) const fn first_tables(&self) -> [u64; 4] {
        let last = self.base.wrapping_add(self.pages << 12).wrapping_sub(1);
        let [l3s, l2s, _] = Self::table_counts(self.base, last);
        let l2 = l3s.saturating_add(1);
        [0, 1, l2, l2.saturating_add(l2s)]
    }

    /// Virtual address of a frame.
    pub(super) const fn address(&self, part: Part) -> u64 {
        self.base.wrapping_add(part.first << 12)
    }
}
