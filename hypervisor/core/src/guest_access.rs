//! Guest memory by guest address: page tables walked in software, words copied by value.
//! It exists because a pointer from a guest may lead anywhere, change at any time, and belong to a root other
//! than the one in use; so the hypervisor never follows one with the processor's own translation.
//!
//! Tables above the last level were validated when they became tables, so only the frame that the walk ends
//! at is checked: it must be some domain's memory, never a device or the hypervisor's own. A range that crosses
//! pages is translated page by page before anything is copied, so a refused write has written nothing.

use hypercall_abi::mmu::pte;
use hypercall_abi::{Errno, Mfn, PAGE_SIZE, layout};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::frames::FrameTable;
use crate::memory::{MachineAddress, MachineMemory};

/// What is to be done at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
}

/// The largest structure that is copied at once, in bytes.
const COPY_MAX: usize = PAGE_SIZE;

/// Pages that [`COPY_MAX`] bytes can touch.
const PAGES_MAX: usize = 2;

/// Bytes from an address to the end of its page.
fn to_page_end(va: u64) -> usize {
    let offset = usize::try_from(va & 0xfff).unwrap_or(0);
    PAGE_SIZE.saturating_sub(offset)
}

const fn entry_address(table: Mfn, va: u64, shift: u32) -> MachineAddress {
    MachineAddress(table.address() | (((va >> shift) & 0x1ff) << 3))
}

/// The frame of the level 1 table that maps `va`, if the levels above it are present.
///
/// # Errors
/// `Fault`: not an address that a guest may use, or a level is missing.
#[inline]
pub(crate) fn find_l1<M: MachineMemory>(memory: &M, root: Mfn, va: u64) -> Result<Mfn, Errno> {
    if !layout::is_guest(va) {
        return Err(Errno::Fault);
    }
    let mut table = root;
    for shift in [39, 30, 21] {
        let entry = memory.load(entry_address(table, va, shift));
        if entry & pte::PRESENT == 0 {
            return Err(Errno::Fault);
        }
        table = Mfn::containing(entry & pte::ADDRESS);
    }
    Ok(table)
}

/// Where in machine memory a guest address leads.
///
/// # Errors
/// `Fault`: not an address that a guest may use, not present, not for user mode, not writable when it is to
/// be written, or not memory.
#[inline]
pub fn translate<M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    access: Access,
) -> Result<MachineAddress, Errno> {
    if !layout::is_guest(va) {
        return Err(Errno::Fault);
    }
    let needed = match access {
        Access::Read => pte::PRESENT | pte::USER,
        Access::Write => pte::PRESENT | pte::USER | pte::WRITABLE,
    };
    let mut frame = root;
    for shift in [39, 30, 21, 12] {
        let entry = memory.load(entry_address(frame, va, shift));
        if entry & needed != needed {
            return Err(Errno::Fault);
        }
        frame = Mfn::containing(entry & pte::ADDRESS);
    }
    if frames.is_allocated(frame) {
        Ok(MachineAddress::in_frame(frame, va & 0xfff))
    } else {
        Err(Errno::Fault)
    }
}

/// A page of guest memory that is read again and again, translated once.
///
/// What it reads may be stale when the guest's tables change meanwhile, so it is for arguments of calls during which
/// no frame that the guest can reach is freed.
#[derive(Debug)]
pub(crate) struct Window {
    root: Mfn,
    /// First address of the page; an odd one before the first use.
    page: u64,
    at: MachineAddress,
}

impl Window {
    /// Reads through `root`.
    pub(crate) const fn new(root: Mfn) -> Self {
        Self { root, page: 1, at: MachineAddress(0) }
    }

    /// Reads a structure.
    ///
    /// # Errors
    /// `Fault`, as [`translate`].
    #[inline]
    pub(crate) fn read<T: FromBytes + IntoBytes, M: MachineMemory>(
        &mut self,
        memory: &M,
        frames: &FrameTable,
        va: u64,
    ) -> Result<T, Errno> {
        if size_of::<T>() > to_page_end(va) {
            return read(memory, frames, self.root, va);
        }
        let page = va & !0xfff;
        if page != self.page {
            self.at = translate(memory, frames, self.root, page, Access::Read)?;
            self.page = page;
        }
        let mut value = T::new_zeroed();
        copy_out(memory, MachineAddress(self.at.0 | (va & 0xfff)), value.as_mut_bytes());
        Ok(value)
    }
}

/// Reads a structure.
///
/// # Errors
/// `Fault`, as [`translate`].
#[inline]
pub fn read<T: FromBytes + IntoBytes, M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    read_bytes(memory, frames, root, va, value.as_mut_bytes())?;
    Ok(value)
}

/// Writes a structure.
///
/// # Errors
/// `Fault`, as [`translate`]; nothing was written then.
#[inline]
pub fn write<T: IntoBytes + Immutable, M: MachineMemory>(
    memory: &mut M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    value: &T,
) -> Result<(), Errno> {
    write_bytes(memory, frames, root, va, value.as_bytes())
}

/// Reads bytes, at most a page's worth.
///
/// # Errors
/// `Fault`, as [`translate`].
#[inline]
pub fn read_bytes<M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    into: &mut [u8],
) -> Result<(), Errno> {
    if into.len() <= to_page_end(va) {
        let at = translate(memory, frames, root, va, Access::Read)?;
        copy_out(memory, at, into);
        return Ok(());
    }
    read_across(memory, frames, root, va, into)
}

/// Writes bytes, at most a page's worth.
///
/// # Errors
/// `Fault`, as [`translate`]; nothing was written then.
#[inline]
pub fn write_bytes<M: MachineMemory>(
    memory: &mut M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    from: &[u8],
) -> Result<(), Errno> {
    if from.len() <= to_page_end(va) {
        let at = translate(memory, frames, root, va, Access::Write)?;
        copy_in(memory, at, from);
        return Ok(());
    }
    write_across(memory, frames, root, va, from)
}

/// Copies within one frame, in whole words where the address is aligned.
#[inline]
pub(crate) fn copy_out<M: MachineMemory>(memory: &M, at: MachineAddress, into: &mut [u8]) {
    if at.0 & 7 != 0 || into.len() > 128 {
        memory.read(at, into);
        return;
    }
    let mut next = at.0;
    let mut words = into.chunks_exact_mut(8);
    for word in &mut words {
        word.copy_from_slice(&memory.load(MachineAddress(next)).to_ne_bytes());
        next = next.wrapping_add(8);
    }
    let rest = words.into_remainder();
    if !rest.is_empty() {
        memory.read(MachineAddress(next), rest);
    }
}

/// Copies within one frame, in whole words where the address is aligned.
#[inline]
pub(crate) fn copy_in<M: MachineMemory>(memory: &mut M, at: MachineAddress, from: &[u8]) {
    if at.0 & 7 != 0 || from.len() > 128 {
        memory.write(at, from);
        return;
    }
    let mut next = at.0;
    let (words, rest) = from.as_chunks::<8>();
    for word in words {
        memory.store(MachineAddress(next), u64::from_ne_bytes(*word));
        next = next.wrapping_add(8);
    }
    if !rest.is_empty() {
        memory.write(MachineAddress(next), rest);
    }
}

/// The places of the parts of a range that crosses a page's end.
#[cold]
fn parts<M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    bytes: usize,
    access: Access,
) -> Result<[(MachineAddress, usize); PAGES_MAX], Errno> {
    let first = to_page_end(va);
    let second = bytes.checked_sub(first).ok_or(Errno::Fault)?;
    if bytes > COPY_MAX {
        return Err(Errno::Fault);
    }
    let next = (va | 0xfff).checked_add(1).ok_or(Errno::Fault)?;
    Ok([
        (translate(memory, frames, root, va, access)?, first),
        (translate(memory, frames, root, next, access)?, second),
    ])
}

#[cold]
fn read_across<M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    into: &mut [u8],
) -> Result<(), Errno> {
    let mut rest = into;
    for (at, bytes) in parts(memory, frames, root, va, rest.len(), Access::Read)? {
        let (part, after) = rest.split_at_mut_checked(bytes).ok_or(Errno::Fault)?;
        memory.read(at, part);
        rest = after;
    }
    Ok(())
}

#[cold]
fn write_across<M: MachineMemory>(
    memory: &mut M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    from: &[u8],
) -> Result<(), Errno> {
    let mut rest = from;
    for (at, bytes) in parts(memory, frames, root, va, rest.len(), Access::Write)? {
        let (part, after) = rest.split_at_checked(bytes).ok_or(Errno::Fault)?;
        memory.write(at, part);
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hypercall_abi::DomId;

    use super::*;
    use crate::fake::FakeMemory;

    const USER_RW: u64 = pte::PRESENT | pte::USER | pte::WRITABLE;

    /// Tables in frames 1 to 4; two pages at 0x40_0000 (frame 5, writable) and 0x40_1000 (frame 7, read-only),
    /// and at 0x40_2000 a frame that is nobody's.
    fn guest() -> (FakeMemory, FrameTable, Mfn) {
        let mut memory = FakeMemory::new(16);
        let mut frames = FrameTable::new(16).unwrap();
        frames.add_ram(Mfn(4), 4);
        let extent = frames.allocate(DomId(1), 4).unwrap();
        assert_eq!(extent.first, Mfn(4));
        for frame in 0..16 {
            memory.zero_frame(Mfn(frame));
        }
        for (table, index, next, flags) in [
            (1_u64, 0_u64, 2_u64, USER_RW),
            (1, 1, 2, pte::PRESENT | pte::WRITABLE),
            (2, 0, 3, USER_RW),
            (3, 2, 4, USER_RW),
            (4, 0, 5, USER_RW),
            (4, 1, 7, pte::PRESENT | pte::USER),
            (4, 2, 12, USER_RW),
        ] {
            memory.store(MachineAddress(table * 4096 + index * 8), (next << 12) | flags);
        }
        (memory, frames, Mfn(1))
    }

    #[test]
    fn a_structure_that_crosses_pages_is_read_in_its_parts() {
        let (mut memory, frames, root) = guest();
        memory.write(MachineAddress(5 * 4096 + 4092), &[1, 2, 3, 4]);
        memory.write(MachineAddress(7 * 4096), &[5, 6, 7, 8]);
        let value: u64 = read(&memory, &frames, root, 0x40_0ffc).unwrap();
        assert_eq!(value.to_ne_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_refused_write_has_written_nothing() {
        let (mut memory, frames, root) = guest();
        let before = memory.clone();
        assert_eq!(write(&mut memory, &frames, root, 0x40_0ffc, &7_u64), Err(Errno::Fault));
        assert_eq!(write(&mut memory, &frames, root, 0x40_1000, &7_u64), Err(Errno::Fault));
        let mut same = [0; 4096];
        let mut old = [0; 4096];
        memory.read(MachineAddress(5 * 4096), &mut same);
        before.read(MachineAddress(5 * 4096), &mut old);
        assert_eq!(same, old);
        assert_eq!(write(&mut memory, &frames, root, 0x40_0ff8, &7_u64), Ok(()));
    }

    #[test]
    fn addresses_that_are_not_the_guests_are_refused() {
        let (memory, frames, root) = guest();
        for va in [
            0,
            0x40_2000,
            0x40_3000,
            0x80_0000_0000,
            0x40_0000 | (1 << 39),
            0x8000_0000_0000,
            layout::HYPERVISOR_START,
            layout::HYPERVISOR_END - 8,
            u64::MAX,
            u64::MAX - 3,
        ] {
            assert_eq!(read::<u64, _>(&memory, &frames, root, va), Err(Errno::Fault), "{va:#x}");
        }
    }

    #[test]
    fn odd_addresses_and_lengths_are_copied_whole() {
        let (mut memory, frames, root) = guest();
        let bytes: [u8; 21] = core::array::from_fn(|i| i as u8 + 1);
        for offset in 0..9 {
            write_bytes(&mut memory, &frames, root, 0x40_0100 + offset, &bytes).unwrap();
            let mut back = [0; 21];
            read_bytes(&memory, &frames, root, 0x40_0100 + offset, &mut back).unwrap();
            assert_eq!(bytes, back);
        }
    }
}
