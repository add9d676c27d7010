//! The address space of a process: what a page fault does, `fork`, copying in and out.
//! Each change is told as an entry to write, so that whoever keeps the page tables has nothing to decide.

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use core::ops::Range;

use hypercall_abi::mmu::pte;
use process_abi::layout::{END, MAPS, PAGE, START};

use super::area::{Access, Area, Areas};
use super::leaf::{BYTES, Frame, Leaf, Mapped};
use super::program::Program;

/// An entry of a page table that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Address of the page.
    pub address: u64,
    /// What its entry is from now on.
    pub entry: u64,
}

/// Why a process may not go on as it wanted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It may not use the address so.
    Access,
    /// It has used up its memory, or the guest has.
    Memory,
}

/// Whom changes are told.
pub trait Told {
    /// An entry is to be written. `fresh` says that nothing was mapped there, so that no processor can remember it.
    ///
    /// # Errors
    /// [`Refusal::Memory`] when there is none for page tables.
    fn change(&mut self, change: Change, fresh: bool) -> Result<(), Refusal>;
}

/// What a leaf counts for beside its pages: its table, and the list of its frames.
const LEAF_PAGES: u64 = 2;

/// An address space.
#[derive(Debug)]
pub struct Space<F> {
    areas: Areas,
    leaves: BTreeMap<u64, Leaf<F>>,
    /// End of the heap.
    heap: Range<u64>,
    pages: u64,
    limit: u64,
}

/// The entry that maps a frame.
fn entry<F: Frame>(frame: &F, access: Access, writable: bool) -> u64 {
    let flags = pte::PRESENT | pte::USER | pte::ACCESSED;
    let write = if writable { pte::WRITABLE | pte::DIRTY } else { 0 };
    let execute = if access.execute { 0 } else { pte::NO_EXECUTE };
    frame.machine_address() | flags | write | execute
}

/// Index of an address's page in its leaf.
const fn index(address: u64) -> usize {
    (address / PAGE % 512) as usize
}

impl<F: Frame> Space<F> {
    /// Of a process that runs `program` and may have `limit` pages.
    #[must_use]
    pub fn new(program: &Program, limit: u64) -> Self {
        let heap = program.end();
        Self { areas: program.areas(), leaves: BTreeMap::new(), heap: heap..heap, pages: 0, limit }
    }

    /// Pages that it has, its page tables counted.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Makes the page at `address` usable as wanted.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn fault(&mut self, address: u64, wanted: Access, told: &mut impl Told) -> Result<(), Refusal> {
        self.usable(address, wanted, told).map(drop)
    }

    /// Reads memory as the process would.
    ///
    /// # Errors
    /// [`Refusal`]; a part may have been read.
    pub fn read(&mut self, address: u64, into: &mut [u8], told: &mut impl Told) -> Result<(), Refusal> {
        let mut at = address;
        let mut rest = into;
        while !rest.is_empty() {
            let offset = (at % PAGE) as usize;
            let (part, after) = rest.split_at_mut(rest.len().min(PAGE as usize - offset));
            self.usable(at, Access::CONSTANTS, told)?.read(offset, part);
            at = at.checked_add(part.len() as u64).ok_or(Refusal::Access)?;
            rest = after;
        }
        Ok(())
    }

    /// Puts a frame that others have too at an address, never to be written.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn show(&mut self, address: u64, frame: Rc<F>, told: &mut impl Told) -> Result<(), Refusal> {
        let access = self.areas.find(address).ok_or(Refusal::Access)?.access;
        self.place(address, Mapped { frame, writable: false }, access, told).map(drop)
    }

    /// The frame at `address`, made usable as wanted.
    fn usable(&mut self, address: u64, wanted: Access, told: &mut impl Told) -> Result<Rc<F>, Refusal> {
        let area = self.areas.find(address).filter(|area| area.access.allows(wanted));
        let area = area.ok_or(Refusal::Access)?;
        let access = area.access;
        let leaf = self.leaves.get(&(address / BYTES));
        let frame = match leaf.and_then(|leaf| leaf.frame(index(address)).map(|frame| (leaf, frame))) {
            None => Rc::new(filled(area, address)?),
            Some((leaf, frame)) if !wanted.write || leaf.is_writable(index(address)) => {
                return Ok(Rc::clone(frame));
            }
            // Whoever shared it is gone: it is this process's alone.
            Some((_, frame)) if Rc::strong_count(frame) == 1 => Rc::clone(frame),
            Some((_, frame)) => Rc::new(frame.copy().ok_or(Refusal::Memory)?),
        };
        self.place(address, Mapped { frame, writable: access.write }, access, told)
    }

    /// Puts a page in its place.
    fn place(
        &mut self,
        address: u64,
        page: Mapped<F>,
        access: Access,
        told: &mut impl Told,
    ) -> Result<Rc<F>, Refusal> {
        let page_address = address / PAGE * PAGE;
        let leaf = self.leaves.get(&(address / BYTES));
        let fresh = leaf.is_none_or(|leaf| leaf.frame(index(address)).is_none());
        let more = if leaf.is_none() { LEAF_PAGES } else { 0 } + u64::from(fresh);
        if self.pages + more > self.limit {
            return Err(Refusal::Memory);
        }
        let entry = entry(&*page.frame, access, page.writable);
        told.change(Change { address: page_address, entry }, fresh)?;
        self.pages += more;
        let frame = Rc::clone(&page.frame);
        self.leaves.entry(address / BYTES).or_default().set(index(address), page);
        Ok(frame)
    }

    /// Makes the heap longer; its old end.
    ///
    /// # Errors
    /// [`Refusal::Memory`] if something is in the way.
    pub fn grow(&mut self, bytes: u64) -> Result<u64, Refusal> {
        let old = self.heap.end;
        let bytes = bytes.checked_next_multiple_of(PAGE).ok_or(Refusal::Memory)?;
        if bytes == 0 {
            return Ok(old);
        }
        let end = old.checked_add(bytes).filter(|&end| end <= MAPS).ok_or(Refusal::Memory)?;
        let grown = if self.heap.is_empty() {
            self.areas.add(Area { range: old..end, access: Access::DATA, content: None })
        } else {
            self.areas.extend(old, bytes)
        };
        if !grown {
            return Err(Refusal::Memory);
        }
        self.heap.end = end;
        Ok(old)
    }

    /// Makes room for pages of zeros; their address.
    ///
    /// # Errors
    /// [`Refusal`]: none, or no room for so many.
    pub fn map(&mut self, pages: u64) -> Result<u64, Refusal> {
        let bytes = pages.checked_mul(PAGE).filter(|&bytes| bytes > 0).ok_or(Refusal::Access)?;
        let start = self.areas.room(MAPS, bytes).ok_or(Refusal::Memory)?;
        let area = Area { range: start..start + bytes, access: Access::DATA, content: None };
        if self.areas.add(area) { Ok(start) } else { Err(Refusal::Memory) }
    }

    /// Gives pages back.
    ///
    /// # Errors
    /// [`Refusal`]: not whole pages, or no room for what is left of their area; nothing has changed then.
    pub fn unmap(&mut self, address: u64, pages: u64, told: &mut impl Told) -> Result<(), Refusal> {
        let end = pages.checked_mul(PAGE).and_then(|bytes| address.checked_add(bytes));
        let range = address..end.ok_or(Refusal::Access)?;
        if !address.is_multiple_of(PAGE) || range.is_empty() || address < START || range.end > END {
            return Err(Refusal::Access);
        }
        if !self.areas.remove(&range) {
            return Err(Refusal::Memory);
        }
        let first = address / BYTES;
        let last = (range.end - 1) / BYTES;
        for (&number, leaf) in self.leaves.range_mut(first..=last) {
            for page in 0..512 {
                let at = number * BYTES + page * PAGE;
                if range.contains(&at) && leaf.frame(page as usize).is_some() {
                    // First the entry, then the frame that it showed.
                    told.change(Change { address: at, entry: 0 }, false)?;
                    drop(leaf.take(page as usize));
                    self.pages -= 1;
                }
            }
        }
        Ok(())
    }

    /// A copy of the space that shares all frames; what could be written here no longer can, which `told` is told.
    /// The copy's own page tables are its keeper's to make, by [`Self::entries`].
    ///
    /// # Errors
    /// [`Refusal::Memory`] as `told` says.
    pub fn fork(&mut self, told: &mut impl Told) -> Result<Self, Refusal> {
        let mut leaves = BTreeMap::new();
        let mut result = Ok(());
        let mut accesses = Accesses { areas: &self.areas, range: 0..0, access: Access::CONSTANTS };
        for (&number, leaf) in &mut self.leaves {
            let mut pages = alloc::vec::Vec::new();
            let copy = leaf.share(|page| pages.push(page));
            for page in pages {
                let address = number * BYTES + page as u64 * PAGE;
                let access = accesses.of(address);
                if let Some(frame) = leaf.frame(page) {
                    let change = Change { address, entry: entry(&**frame, access, false) };
                    result = result.and_then(|()| told.change(change, false));
                }
            }
            leaves.insert(number, copy);
        }
        result?;
        Ok(Self {
            areas: self.areas.clone(),
            leaves,
            heap: self.heap.clone(),
            pages: self.pages,
            limit: self.limit,
        })
    }

    /// The leaves, by the number of their two megabytes.
    pub fn leaves(&self) -> impl Iterator<Item = u64> {
        self.leaves.keys().copied()
    }

    /// The entries of a leaf's page table that are not empty, with their indices.
    pub fn entries(&self, leaf: u64) -> impl Iterator<Item = (usize, u64)> {
        let found = self.leaves.get(&leaf).into_iter();
        found.flat_map(move |pages| {
            let mut accesses = Accesses { areas: &self.areas, range: 0..0, access: Access::CONSTANTS };
            pages.pages().map(move |(index, frame)| {
                let access = accesses.of(leaf * BYTES + index as u64 * PAGE);
                (index, entry(&**frame, access, pages.is_writable(index)))
            })
        })
    }
}

/// What may be done at one address after the other, most of which lie in the same area.
struct Accesses<'a> {
    areas: &'a Areas,
    range: Range<u64>,
    access: Access,
}

impl Accesses<'_> {
    fn of(&mut self, address: u64) -> Access {
        if !self.range.contains(&address) {
            let found = self.areas.find(address).map(|area| (area.range.clone(), area.access));
            (self.range, self.access) = found.unwrap_or((0..0, Access::CONSTANTS));
        }
        self.access
    }
}

/// A frame with what the area shows at first in the page of `address`.
fn filled<F: Frame>(area: &Area, address: u64) -> Result<F, Refusal> {
    let frame = F::zeroed().ok_or(Refusal::Memory)?;
    if let Some(content) = area.content {
        let page = address / PAGE * PAGE;
        let skipped = page.saturating_sub(content.address) as usize;
        let offset = content.address.saturating_sub(page) as usize;
        if let Some(bytes) = content.bytes.get(skipped..) {
            frame.write(offset, bytes);
        }
    }
    Ok(frame)
}

#[cfg(test)]
mod tests;
