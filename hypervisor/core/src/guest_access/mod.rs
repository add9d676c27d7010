//! Guest memory by guest address: page tables walked in software, words copied by value.
//! It exists because a pointer from a guest may lead anywhere, change at any time, and belong to a root other
//! than the one in use; so the hypervisor never follows one with the processor's own translation.
//!
//! Tables above the last level were validated when they became tables, so only the frame that the walk ends
//! at is checked: it must be some domain's memory, never a device or the hypervisor's own. A range that crosses
//! pages is translated page by page before anything is copied, so a refused write has written nothing.
//!
//! A [`View`] is one domain's memory for the length of a call. It remembers the last pages that it found, in the domain's
//! [`crate::paging::AddressSpace`], which forgets them when an entry changes that the way there may lead through.

mod remembered;
mod view;

pub use view::View;

pub use remembered::Remembered;

use hypercall_abi::mmu::pte;
use hypercall_abi::{Errno, Mfn, layout};
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

/// Walks all four levels. Returns the place in machine memory and the flags that all levels grant.
#[inline(always)]
fn walk<M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
) -> Result<(MachineAddress, u64), Errno> {
    if !layout::is_guest(va) {
        return Err(Errno::Fault);
    }
    let mut frame = root;
    let mut granted = u64::MAX;
    for shift in [39, 30, 21, 12] {
        let entry = memory.load(entry_address(frame, va, shift));
        granted &= entry;
        if entry & pte::PRESENT == 0 {
            return Err(Errno::Fault);
        }
        frame = Mfn::containing(entry & pte::ADDRESS);
    }
    if frames.is_allocated(frame) {
        Ok((MachineAddress::in_frame(frame, va & 0xfff), granted))
    } else {
        Err(Errno::Fault)
    }
}

/// Where in machine memory a guest address leads.
///
/// # Errors
/// `Fault`: not an address that a guest may use, not present, not writable when it is to be written, or not
/// memory.
#[inline]
pub fn translate<M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    root: Mfn,
    va: u64,
    access: Access,
) -> Result<MachineAddress, Errno> {
    View::new(frames, root).translate(memory, va, access)
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
    View::new(frames, root).read(memory, va)
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
    View::new(frames, root).write(memory, va, value)
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
    View::new(frames, root).read_bytes(memory, va, into)
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
    View::new(frames, root).write_bytes(memory, va, from)
}

#[cfg(test)]
mod tests {
    use hypercall_abi::{DomId, layout};

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
            write(&mut memory, &frames, root, 0x40_0100 + offset, &bytes).unwrap();
            let mut back = [0; 21];
            read_bytes(&memory, &frames, root, 0x40_0100 + offset, &mut back).unwrap();
            assert_eq!(bytes, back);
        }
    }
}
