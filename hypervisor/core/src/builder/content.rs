//! What the builder writes into a new domain's memory.
//! Each part is written through the list of frames, since the memory need not be contiguous.

use hypercall_abi::mmu::pte;
use hypercall_abi::shared_info::SharedInfo;
use hypercall_abi::start_info::{self, StartInfo, start_flags};
use hypercall_abi::{Mfn, PAGE_SIZE, Pfn, hypercall};
use zerocopy::IntoBytes;

use super::Order;
use super::image::Image;
use super::layout::Layout;
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::AddressSpace;
use crate::ring::{HYPERCALL_VECTOR, Ring};

/// A new domain's memory while it is filled.
pub(super) struct Content<'a, M> {
    pub(super) memory: &'a mut M,
    pub(super) space: &'a AddressSpace,
    pub(super) layout: Layout,
}

/// Entries of tables that refer to tables.
const TABLE: u64 = pte::PRESENT | pte::WRITABLE | pte::USER | pte::ACCESSED;
/// Entries that map memory.
const PAGE: u64 = pte::PRESENT | pte::ACCESSED | pte::DIRTY;

impl<M: MachineMemory> Content<'_, M> {
    fn mfn(&self, pfn: u64) -> Option<Mfn> {
        self.space.built_mfn(Pfn(pfn))
    }

    /// Writes bytes at a pseudo-physical address.
    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) {
        let space = self.space;
        write_at(self.memory, address, bytes, |pfn| space.built_mfn(Pfn(pfn)));
    }

    /// What the domain has of the image for itself; the rest of the memory is zero already.
    pub(super) fn image(&mut self, image: &Image<'_>) {
        let space = self.space;
        let place = |pfn| space.built_mfn(Pfn(pfn)).filter(|mfn| !space.shares(*mfn));
        write_image(self.memory, image, space.ring(), place);
    }

    /// The list of machine frames.
    pub(super) fn frame_list(&mut self) {
        let mut pfn = 0_u64;
        for extent in self.space.extents() {
            for mfn in (extent.first.0..).take(usize::try_from(extent.count).unwrap_or(0)) {
                if let Some(list) = self.mfn(self.layout.frame_list.first.saturating_add(pfn >> 9)) {
                    self.memory.store(MachineAddress::in_frame(list, (pfn & 0x1ff) << 3), mfn);
                }
                pfn = pfn.saturating_add(1);
            }
        }
    }

    /// Page tables that map all the memory from the image's base on: tables for reading, the rest for writing too.
    /// Returns the root.
    pub(super) fn page_tables(&mut self) -> Option<Mfn> {
        let layout = self.layout;
        let tables = layout.page_tables;
        let [root, l3, l2, l1] = layout.first_tables();
        // The tables of each level, in order of address, with the range that one of their entries covers.
        for (first, above, shift) in [(l3, root, 39), (l2, l3, 30), (l1, l2, 21)] {
            let from = layout.base >> shift;
            let last = layout.base.wrapping_add(layout.pages << 12).wrapping_sub(1) >> shift;
            for number in from..=last {
                let child = tables.first.saturating_add(first).saturating_add(number.saturating_sub(from));
                let parent_index = (number >> 9).saturating_sub(from >> 9);
                let parent = tables.first.saturating_add(above).saturating_add(parent_index);
                let entry = self.mfn(child)?.address() | TABLE;
                self.memory.store(MachineAddress::in_frame(self.mfn(parent)?, (number & 0x1ff) << 3), entry);
            }
        }
        let mut pfn = 0_u64;
        let first_page = layout.base >> 12;
        let mut table = (u64::MAX, Mfn(0));
        for extent in self.space.extents() {
            let is_shared = self.space.shares(extent.first);
            for mfn in (extent.first.0..).take(usize::try_from(extent.count).unwrap_or(0)) {
                let page = first_page.saturating_add(pfn);
                let number = (page >> 9).saturating_sub(first_page >> 9);
                if table.0 != number {
                    let at = tables.first.saturating_add(l1).saturating_add(number);
                    table = (number, self.mfn(at)?);
                }
                let is_table = pfn.checked_sub(tables.first).is_some_and(|offset| offset < tables.count);
                let flags = if is_table || is_shared { PAGE } else { PAGE | pte::WRITABLE };
                self.memory.store(
                    MachineAddress::in_frame(table.1, (page & 0x1ff) << 3),
                    Mfn(mfn).address() | flags,
                );
                pfn = pfn.saturating_add(1);
            }
        }
        self.mfn(tables.first)
    }

    /// The start information.
    pub(super) fn start_info(&mut self, order: &Order<'_>, shared_info: Mfn) {
        let layout = self.layout;
        let mut info = StartInfo::zeroed();
        copy_text(&mut info.magic, start_info::MAGIC);
        info.nr_pages = layout.pages;
        info.shared_info = shared_info.address();
        info.flags = if order.privileged { start_flags::PRIVILEGED } else { 0 };
        info.pt_base = layout.address(layout.page_tables);
        info.nr_pt_frames = layout.page_tables.count;
        info.mfn_list = layout.address(layout.frame_list);
        copy_text(&mut info.cmd_line, order.command_line.as_bytes());
        self.write(layout.start_info.first << 12, info.as_bytes());
    }
}

/// Writes bytes at a pseudo-physical address, as far as there is a place for its frames.
fn write_at<M: MachineMemory>(
    memory: &mut M,
    address: u64,
    bytes: &[u8],
    place: impl Fn(u64) -> Option<Mfn>,
) {
    let mut rest = bytes;
    let mut at = address;
    while !rest.is_empty() {
        let room = PAGE_SIZE.saturating_sub(usize::try_from(at & 0xfff).unwrap_or(0));
        let (part, after) = rest.split_at(room.min(rest.len()));
        if let Some(mfn) = place(at >> 12) {
            memory.write(MachineAddress::in_frame(mfn, at & 0xfff), part);
        }
        at = (at | 0xfff).saturating_add(1);
        rest = after;
    }
}

/// Writes those frames of an image for which there is a place, which are zero so far.
pub(super) fn write_image<M: MachineMemory>(
    memory: &mut M,
    image: &Image<'_>,
    ring: Ring,
    place: impl Fn(u64) -> Option<Mfn>,
) {
    for segment in &image.segments {
        write_at(memory, segment.address, segment.bytes, &place);
    }
    if let Some(mfn) = image.hypercall_page.and_then(|address| place(address >> 12)) {
        write_hypercall_page(memory, mfn, ring);
    }
}

/// Copies as much as fits and leaves at least one zero byte at the end.
fn copy_text(to: &mut [u8], from: &[u8]) {
    let room = to.len().saturating_sub(1);
    for (to, from) in to.iter_mut().zip(from.iter().take(room)) {
        *to = *from;
    }
}

/// The page shared with the hypervisor as a guest finds it: upcalls masked.
pub(super) fn write_shared_info<M: MachineMemory>(memory: &mut M, mfn: Mfn) {
    let at = core::mem::offset_of!(SharedInfo, vcpu_info)
        .saturating_add(core::mem::offset_of!(hypercall_abi::shared_info::VcpuInfo, evtchn_upcall_mask));
    memory.write(MachineAddress::in_frame(mfn, u64::try_from(at).unwrap_or(0)), &[1]);
}

/// Fills a page with stubs, one for each hypercall number; the rest of it traps.
pub(super) fn write_hypercall_page<M: MachineMemory>(memory: &mut M, mfn: Mfn, ring: Ring) {
    /// `int3`.
    const TRAP: u8 = 0xcc;
    memory.write(MachineAddress::in_frame(mfn, 0), &[TRAP; PAGE_SIZE]);
    let mut at = 0_u64;
    for number in 0..u32::try_from(hypercall::COUNT).unwrap_or(0) {
        let [a, b, c, d] = number.to_le_bytes();
        let is_iret = number == hypercall_abi::Hypercall::Iret.raw();
        if ring == Ring::One {
            // An interrupt keeps all registers, and the processor lets only the kernel through.
            if is_iret {
                // push rcx; push r11; push rax; mov eax, number; int
                let stub = [0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0xcd, HYPERCALL_VECTOR];
                memory.write(MachineAddress::in_frame(mfn, at), &stub);
            } else {
                // mov eax, number; int; ret
                let stub = [0xb8, a, b, c, d, 0xcd, HYPERCALL_VECTOR, 0xc3];
                memory.write(MachineAddress::in_frame(mfn, at), &stub);
            }
        } else if is_iret {
            // push rcx; push r11; push rax; mov eax, number; syscall
            let stub = [0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0x0f, 0x05];
            memory.write(MachineAddress::in_frame(mfn, at), &stub);
        } else {
            // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
            let stub = [0x51, 0x41, 0x53, 0xb8, a, b, c, d, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
            memory.write(MachineAddress::in_frame(mfn, at), &stub);
        }
        at = at.saturating_add(u64::try_from(hypercall::STUB_BYTES).unwrap_or(0));
    }
}
