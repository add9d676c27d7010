//! Building a domain: from an ELF image with Xen notes to memory, page tables and first registers.
//! It is part of the core so that every way in which an image can be wrong is tried on the host.
//!
//! The image is judged, memory is taken and laid out, everything is written, and the page tables are then validated
//! like those of any guest: the builder's own tables get no exemption. Whatever fails, all memory is given back.

mod content;
mod error;
mod image;
mod layout;
mod notes;
mod share;

#[cfg(test)]
mod tests;

pub use error::BuildError;
pub use notes::serves;
pub use share::Share;

use alloc::vec::Vec;

use hypercall_abi::{DomId, Mfn, Pfn, layout as abi_layout};

use crate::frames::{Extent, FrameTable, Level};
use crate::grants::GrantTable;
use crate::memory::MachineMemory;
use crate::paging::{AddressSpace, Progress, Tables};
use crate::registers::{Registers, rflags};
use crate::ring::Ring;
use content::Content;
use image::Image;
use layout::Layout;

/// Frames of a domain's memory that have no pseudo-physical number: the shared page and one of the grant table.
const SHARED_FRAMES: u64 = 2;

/// What is to be built.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The new domain.
    pub owner: DomId,
    /// Ring of its kernel.
    pub ring: Ring,
    /// All its memory in bytes, whole pages, with page tables and the pages that it shares with the hypervisor.
    pub memory_bytes: u64,
    /// Text for the guest.
    pub command_line: &'a str,
    /// Whether the memory must be one piece, because a device will be told its addresses.
    pub contiguous: bool,
    /// Entries of the device directory.
    pub directory_entries: u32,
    /// Device pages, one for each split device's front end.
    pub device_pages: u32,
    /// Whether the domain may do to others what only a ruler may.
    pub privileged: bool,
}

/// A domain's memory, ready to run.
#[derive(Debug)]
pub struct Built {
    /// Its memory.
    pub address_space: AddressSpace,
    /// Its grants; one frame of the table exists.
    pub grants: GrantTable,
    /// Frame of its [`hypercall_abi::shared_info::SharedInfo`], with upcalls masked.
    pub shared_info: Mfn,
    /// Its root, pinned, and used once for [`crate::vcpu::Vcpu::kernel_root`].
    pub root: Mfn,
    /// Registers at its first instruction.
    pub registers: Registers,
    /// First frame of the device directory; they are contiguous in this numbering.
    pub directory: Pfn,
    /// First device page; they are contiguous in this numbering.
    pub device_pages: Pfn,
}

/// Builds a domain's memory. What domains of this image and ring have in common is made if there is none of it yet, and
/// used once more, if the image allows it.
///
/// # Errors
/// What is wrong with the image or the order. All memory was given back.
pub fn build<M: MachineMemory>(
    memory: &mut M,
    frames: &mut FrameTable,
    image: &[u8],
    common: &mut Option<Share>,
    order: &Order<'_>,
) -> Result<Built, BuildError> {
    let image = Image::read(image)?;
    if order.command_line.len() > 1023 {
        return Err(BuildError::CommandLineTooLong { bytes: order.command_line.len() });
    }
    let all_pages = order.memory_bytes >> 12;
    let pages = all_pages.saturating_sub(SHARED_FRAMES);
    let layout = Layout::new(&image, order, pages)?;
    // A device is told addresses, so its domain has one piece of memory for itself.
    let sharing = !image.read_only.is_empty() && !order.contiguous;
    let there = if sharing { common.as_ref().map_or(0, Share::frames) } else { 0 };
    let wanted_pages = all_pages.saturating_sub(there);
    if wanted_pages > frames.free_frames() {
        return Err(BuildError::NoMemory { wanted_pages, free_pages: frames.free_frames() });
    }
    if sharing && common.is_none() {
        *common = Some(Share::new(memory, frames, &image, order.ring).ok_or(BuildError::NoHeap)?);
    }
    let share = common.as_mut().filter(|_| sharing);
    let mut space = AddressSpace::new(order.owner);
    space.set_ring(order.ring);
    if order.privileged {
        space.set_privileged();
    }
    let built = fill(memory, frames, &image, share.as_deref(), order, layout, &mut space);
    if let (Ok(_), Some(share)) = (&built, share) {
        share.join();
    }
    match built {
        Ok((shared_info, grant_frame, root)) => Ok(Built {
            address_space: space,
            grants: GrantTable::new(order.owner, grant_frame),
            shared_info,
            root,
            registers: Registers {
                rip: image.entry,
                cs: order.ring.kernel().code,
                rflags: rflags::RESERVED | rflags::INTERRUPT,
                rsp: layout.address(layout.stack).wrapping_add(4096),
                ss: order.ring.kernel().stack,
                rsi: layout.address(layout.start_info),
                ..Registers::default()
            },
            directory: layout.directory.first(),
            device_pages: layout.device_pages.first(),
        }),
        Err(error) => {
            let mut tables = Tables::new(frames, memory, &mut space);
            tables.begin_teardown([None, None]);
            while {
                tables.work = u32::MAX;
                tables.teardown() == Progress::More
            } {}
            Share::end_if_unused(common, frames);
            Err(error)
        }
    }
}

/// How many pages of an image the domains of it have in common, if they are of one ring; none of what is no image.
#[must_use]
pub fn shared_pages(image: &[u8]) -> u64 {
    let parts = Image::read(image).map_or_else(|_| Vec::new(), |image| image.read_only);
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.count))
}

/// Takes memory and fills it. What was taken stands in `space` when something fails.
fn fill<M: MachineMemory>(
    memory: &mut M,
    frames: &mut FrameTable,
    image: &Image<'_>,
    share: Option<&Share>,
    order: &Order<'_>,
    layout: Layout,
    space: &mut AddressSpace,
) -> Result<(Mfn, Mfn, Mfn), BuildError> {
    let mut next = 0;
    for run in share.into_iter().flat_map(Share::runs) {
        take_memory(frames, order, run.first.0.saturating_sub(next), space)?;
        if !space.add_image(run.frames) {
            return Err(BuildError::NoHeap);
        }
        next = run.first.0.saturating_add(u64::from(run.frames.count));
    }
    take_memory(frames, order, layout.pages.saturating_sub(next), space)?;
    let mut pfn = 0_u64;
    for extent in space.extents() {
        if space.shares(extent.first) {
            pfn = pfn.saturating_add(u64::from(extent.count));
            continue;
        }
        for mfn in (extent.first.0..).take(usize::try_from(extent.count).unwrap_or(0)) {
            memory.zero_frame(Mfn(mfn));
            frames.set_machine_to_physical(memory, Mfn(mfn), pfn);
            pfn = pfn.saturating_add(1);
        }
    }
    let shared_info = take_shared(memory, frames, space).ok_or(BuildError::NoHeap)?;
    let grant_frame = take_shared(memory, frames, space).ok_or(BuildError::NoHeap)?;
    content::write_shared_info(memory, shared_info);
    let mut content = Content { memory, space, layout };
    content.image(image);
    content.frame_list();
    content.start_info(order, shared_info);
    let root = content.page_tables().ok_or(BuildError::NoHeap)?;
    let mut tables = Tables::new(frames, memory, space);
    tables.work = u32::MAX;
    // These cannot be refused: the tables refer to the domain's own fresh memory alone.
    tables.pin(root, Level::L4).map_err(|_| BuildError::NoHeap)?;
    tables.get_table(root, Level::L4).map_err(|_| BuildError::NoHeap)?;
    Ok((shared_info, grant_frame, root))
}

/// Takes `pages` frames, in one piece if that can be, else in the largest pieces that there are.
fn take_memory(
    frames: &mut FrameTable,
    order: &Order<'_>,
    pages: u64,
    space: &mut AddressSpace,
) -> Result<(), BuildError> {
    let no_memory = BuildError::NoMemory { wanted_pages: pages, free_pages: frames.free_frames() };
    let mut left = u32::try_from(pages).map_err(|_| no_memory.clone())?;
    while left > 0 {
        let piece = left.min(frames.largest_run());
        if order.contiguous && piece < left {
            return Err(BuildError::NotContiguous { wanted_pages: pages });
        }
        let extent: Extent = frames.allocate(order.owner, piece).ok_or_else(|| no_memory.clone())?;
        if !space.add_memory(extent) {
            release(frames, extent);
            return Err(BuildError::NoHeap);
        }
        left = left.saturating_sub(piece);
    }
    Ok(())
}

fn release(frames: &mut FrameTable, extent: Extent) {
    for mfn in (extent.first.0..).take(usize::try_from(extent.count).unwrap_or(0)) {
        frames.release_held(Mfn(mfn));
    }
}

/// Takes a zeroed frame that the domain shares with the hypervisor.
pub(crate) fn take_shared<M: MachineMemory>(
    memory: &mut M,
    frames: &mut FrameTable,
    space: &mut AddressSpace,
) -> Option<Mfn> {
    let extent = frames.allocate(space.owner(), 1)?;
    if !space.add_shared(extent.first) {
        release(frames, extent);
        return None;
    }
    frames.make_shared(extent.first);
    memory.zero_frame(extent.first);
    frames.set_machine_to_physical(memory, extent.first, abi_layout::INVALID_ENTRY);
    Some(extent.first)
}
