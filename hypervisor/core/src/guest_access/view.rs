//! A domain's memory as its addresses show it, for the length of one call.
//! It is a value rather than a pair of arguments so that what it remembers goes with what it was found by.

use hypercall_abi::mmu::pte;
use hypercall_abi::{Errno, Mfn, PAGE_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Access, Remembered, walk};
use crate::domain::Domain;
use crate::frames::FrameTable;
use crate::memory::{MachineAddress, MachineMemory};

/// The most bytes that are copied at once.
const COPY_MAX: usize = PAGE_SIZE;
/// Pages that [`COPY_MAX`] bytes can touch.
const PAGES_MAX: usize = 2;
/// The most bytes that are copied by words; more go by the memory's own copying.
const WORDS_MAX: usize = 128;

/// Bytes from an address to the end of its page.
#[inline]
fn to_page_end(va: u64) -> usize {
    let offset = usize::try_from(va & 0xfff).unwrap_or(0);
    PAGE_SIZE.saturating_sub(offset)
}

/// Memory as seen through one root.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    frames: &'a FrameTable,
    root: Mfn,
    remembered: Option<&'a Remembered>,
}

impl<'a> View<'a> {
    /// Memory as seen through `root`.
    #[must_use]
    #[inline]
    pub const fn new(frames: &'a FrameTable, root: Mfn) -> Self {
        Self { frames, root, remembered: None }
    }

    /// Memory as seen through a `root` of the domain whose last pages are `remembered`.
    #[inline]
    pub(crate) const fn remembering(frames: &'a FrameTable, root: Mfn, remembered: &'a Remembered) -> Self {
        Self { frames, root, remembered: Some(remembered) }
    }

    /// Memory as a domain's vCPU sees it at present.
    #[must_use]
    #[inline]
    pub fn of(domain: &'a Domain, frames: &'a FrameTable) -> Self {
        Self::remembering(frames, domain.vcpu.root(), domain.address_space.remembered())
    }

    /// Memory as a domain's kernel sees it, whoever has its vCPU at present.
    #[must_use]
    #[inline]
    pub fn of_kernel(domain: &'a Domain, frames: &'a FrameTable) -> Self {
        Self { root: domain.vcpu.kernel_root, ..Self::of(domain, frames) }
    }

    /// Where in machine memory a guest address leads.
    ///
    /// # Errors
    /// `Fault`: not an address that a guest may use, not present, not writable when it is to be written, or not
    /// memory.
    #[inline(always)]
    pub fn translate<M: MachineMemory>(
        &self,
        memory: &M,
        va: u64,
        access: Access,
    ) -> Result<MachineAddress, Errno> {
        match self.remembered.and_then(|remembered| remembered.find(self.root, va)) {
            Some(at) => Ok(at),
            None => Self::find(self.frames, self.root, self.remembered, memory, va, access),
        }
    }

    /// Walks the tables and remembers where that led. It takes the parts of a view, so that the view itself need not
    /// lie in memory for the sake of a walk that is seldom taken.
    #[cold]
    #[inline(never)]
    fn find<M: MachineMemory>(
        frames: &FrameTable,
        root: Mfn,
        remembered: Option<&Remembered>,
        memory: &M,
        va: u64,
        access: Access,
    ) -> Result<MachineAddress, Errno> {
        if let Some(at) = remembered.and_then(|remembered| remembered.recall(root, va)) {
            return Ok(at);
        }
        let (at, granted) = walk(memory, frames, root, va)?;
        if granted & pte::WRITABLE != 0 {
            if let Some(remembered) = remembered {
                remembered.remember(root, va, at);
            }
            return Ok(at);
        }
        match access {
            Access::Read => Ok(at),
            Access::Write => Err(Errno::Fault),
        }
    }

    /// Reads a structure.
    ///
    /// # Errors
    /// `Fault`, as [`Self::translate`].
    #[inline(always)]
    pub fn read<T: FromBytes + IntoBytes, M: MachineMemory>(&self, memory: &M, va: u64) -> Result<T, Errno> {
        let bytes = size_of::<T>();
        if bytes.is_multiple_of(8) && bytes <= WORDS_MAX {
            if va & 7 != 0 || bytes > to_page_end(va) {
                return self.read_anyhow(memory, va);
            }
            // Nobody else is shown the value, so that it can come in registers.
            let at = self.translate(memory, va, Access::Read)?;
            let mut value = T::new_zeroed();
            load_words(memory, at, value.as_mut_bytes());
            return Ok(value);
        }
        self.read_by_bytes(memory, va)
    }

    /// Reads a structure wherever it lies.
    #[cold]
    #[inline(never)]
    fn read_anyhow<T: FromBytes + IntoBytes, M: MachineMemory>(
        self,
        memory: &M,
        va: u64,
    ) -> Result<T, Errno> {
        self.read_by_bytes(memory, va)
    }

    #[inline(always)]
    fn read_by_bytes<T: FromBytes + IntoBytes, M: MachineMemory>(
        &self,
        memory: &M,
        va: u64,
    ) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(memory, va, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads four bytes, most quickly if they are aligned.
    ///
    /// # Errors
    /// `Fault`, as [`Self::translate`].
    #[inline(always)]
    pub(crate) fn read_u32<M: MachineMemory>(&self, memory: &M, va: u64) -> Result<u32, Errno> {
        if va & 3 != 0 {
            return self.read(memory, va);
        }
        let at = self.translate(memory, va & !7, Access::Read)?;
        let word = memory.load(at) >> ((va & 4) << 3);
        Ok(u32::try_from(word & 0xffff_ffff).unwrap_or(0))
    }

    /// Writes a structure.
    ///
    /// # Errors
    /// `Fault`, as [`Self::translate`]; nothing was written then.
    #[inline(always)]
    pub fn write<T: IntoBytes + Immutable, M: MachineMemory>(
        &self,
        memory: &mut M,
        va: u64,
        value: &T,
    ) -> Result<(), Errno> {
        self.write_bytes(memory, va, value.as_bytes())
    }

    /// Writes bytes, at most a page's worth.
    ///
    /// # Errors
    /// `Fault`, as [`Self::translate`]; nothing was written then.
    #[inline(always)]
    pub fn write_bytes<M: MachineMemory>(&self, memory: &mut M, va: u64, from: &[u8]) -> Result<(), Errno> {
        if from.len() > to_page_end(va) {
            return self.write_across(memory, va, from);
        }
        let at = self.translate(memory, va, Access::Write)?;
        copy_in(memory, at, from);
        Ok(())
    }

    /// Reads bytes, at most a page's worth.
    ///
    /// # Errors
    /// `Fault`, as [`Self::translate`].
    #[inline(always)]
    pub fn read_bytes<M: MachineMemory>(&self, memory: &M, va: u64, into: &mut [u8]) -> Result<(), Errno> {
        if into.len() > to_page_end(va) {
            return self.read_across(memory, va, into);
        }
        let at = self.translate(memory, va, Access::Read)?;
        copy_out(memory, at, into);
        Ok(())
    }

    /// The places of the parts of a range that crosses a page's end.
    fn parts<M: MachineMemory>(
        &self,
        memory: &M,
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
        Ok([(self.translate(memory, va, access)?, first), (self.translate(memory, next, access)?, second)])
    }

    #[cold]
    #[inline(never)]
    fn read_across<M: MachineMemory>(&self, memory: &M, va: u64, into: &mut [u8]) -> Result<(), Errno> {
        let mut rest = into;
        for (at, bytes) in self.parts(memory, va, rest.len(), Access::Read)? {
            let (part, after) = rest.split_at_mut_checked(bytes).ok_or(Errno::Fault)?;
            memory.read(at, part);
            rest = after;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn write_across<M: MachineMemory>(&self, memory: &mut M, va: u64, from: &[u8]) -> Result<(), Errno> {
        let mut rest = from;
        for (at, bytes) in self.parts(memory, va, rest.len(), Access::Write)? {
            let (part, after) = rest.split_at_checked(bytes).ok_or(Errno::Fault)?;
            memory.write(at, part);
            rest = after;
        }
        Ok(())
    }
}

/// Copies within one frame, in whole words where the address is aligned.
#[inline(always)]
fn copy_out<M: MachineMemory>(memory: &M, at: MachineAddress, into: &mut [u8]) {
    if at.0 & 7 != 0 || into.len() > WORDS_MAX {
        memory.read(at, into);
        return;
    }
    let (next, rest) = load_words(memory, at, into);
    if !rest.is_empty() {
        memory.read(next, rest);
    }
}

/// Loads whole words from an aligned address; returns what is left and where that lies.
#[inline(always)]
fn load_words<'a, M: MachineMemory>(
    memory: &M,
    at: MachineAddress,
    into: &'a mut [u8],
) -> (MachineAddress, &'a mut [u8]) {
    let mut next = at.0;
    let (words, rest) = into.as_chunks_mut::<8>();
    for word in words {
        *word = memory.load(MachineAddress(next)).to_ne_bytes();
        next = next.wrapping_add(8);
    }
    (MachineAddress(next), rest)
}

/// Copies within one frame, in whole words where the address is aligned.
#[inline(always)]
fn copy_in<M: MachineMemory>(memory: &mut M, at: MachineAddress, from: &[u8]) {
    if at.0 & 7 != 0 || from.len() > WORDS_MAX {
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
