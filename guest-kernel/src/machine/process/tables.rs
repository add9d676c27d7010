//! The page tables of one process, which the hypervisor vouches for.
//!
//! They are filled as plain memory, bottom up, and handed over as one tree. From then on each change is a request, and
//! many go in one call. In ring 1 the root has the kernel's slot too, closed to processes; in ring 3 it has not, and
//! the kernel keeps to its own root.

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypercall_abi::mmu::{MmuUpdate, MmuextOp, MmuextRequest, pte};
use hypercall_abi::{Errno, Mfn};
use process_abi::layout::START;

use super::Setup;
use crate::machine::hypercall::memory as calls;
use crate::machine::memory::{self, Page};
use crate::machine::window::{self, DATA, READ_ONLY};
use crate::process::leaf::{BYTES, ENTRIES, Frame};
use crate::process::space::{Change, Refusal, Space, Told};

/// An entry that leads to a table.
const TABLE: u64 = pte::PRESENT | pte::WRITABLE | pte::USER | pte::ACCESSED | pte::DIRTY;
/// Requests that are gathered before they are made.
const BATCH: usize = 128;
/// How often a table that is being released is asked for again.
const PATIENCE: usize = 64;
/// Leaves that one table of level 2 leads to.
const LEAVES: u64 = ENTRIES as u64;

/// The root that is active, as the hypervisor knows it; 0 for none.
static ACTIVE: AtomicU64 = AtomicU64::new(0);

impl Frame for Page {
    fn zeroed() -> Option<Self> {
        Self::new()
    }

    fn copy(&self) -> Option<Self> {
        self.duplicate()
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        let count = into.len().min(hypercall_abi::PAGE_SIZE.saturating_sub(offset));
        // SAFETY: within the page, which no reference leads to; `into` is the caller's own.
        unsafe { self.as_ptr().wrapping_add(offset).copy_to_nonoverlapping(into.as_mut_ptr(), count) };
    }

    fn write(&self, offset: usize, from: &[u8]) {
        let count = from.len().min(hypercall_abi::PAGE_SIZE.saturating_sub(offset));
        // SAFETY: within the page, which no reference leads to; the process that it is of does not run now.
        unsafe { self.as_ptr().wrapping_add(offset).copy_from_nonoverlapping(from.as_ptr(), count) };
    }

    fn machine_address(&self) -> u64 {
        self.machine_frame().address()
    }
}

/// Writes an entry of a table that is not handed over yet.
fn fill(table: &Page, index: usize, entry: u64) {
    let at = table.as_ptr().cast::<u64>().wrapping_add(index % ENTRIES);
    // SAFETY: within the page, which is ours alone.
    unsafe { at.write(entry) };
}

/// A page that is given back only when it is certain that it is no table any more.
type Kept = ManuallyDrop<Page>;

/// The page tables of a process.
#[derive(Debug)]
pub(super) struct Tables {
    setup: Setup,
    /// Level 4, the root.
    root: Kept,
    /// Level 3.
    upper: Kept,
    /// Level 2, by gigabytes from the start of the process.
    middle: BTreeMap<u64, Kept>,
    /// Level 1, by number of the leaf.
    leaves: BTreeMap<u64, Kept>,
    /// Requests that are not made yet.
    requests: Vec<MmuUpdate>,
    /// What processors may remember of what the requests change.
    stale: Stale,
    pinned: bool,
}

/// What is to be forgotten by the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stale {
    Nothing,
    Page(u64),
    All,
}

impl Tables {
    /// Tables that show a space as it is.
    ///
    /// # Errors
    /// [`Refusal::Memory`] without memory for them.
    pub(super) fn new<F: Frame>(setup: Setup, space: &Space<F>) -> Result<Self, Refusal> {
        let page = || Page::new().map(Kept::new).ok_or(Refusal::Memory);
        let mut tables = Self {
            setup,
            root: page()?,
            upper: page()?,
            middle: BTreeMap::new(),
            leaves: BTreeMap::new(),
            requests: Vec::with_capacity(BATCH),
            stale: Stale::Nothing,
            pinned: false,
        };
        for number in space.leaves() {
            let leaf = page()?;
            for (index, entry) in space.entries(number) {
                fill(&leaf, index, entry);
            }
            let middle = match tables.middle.entry(number / LEAVES) {
                alloc::collections::btree_map::Entry::Occupied(found) => found.into_mut(),
                alloc::collections::btree_map::Entry::Vacant(free) => free.insert(page()?),
            };
            fill(middle, number as usize, leaf.machine_address() | TABLE);
            tables.leaves.insert(number, leaf);
        }
        for (&number, middle) in &tables.middle {
            fill(&tables.upper, number as usize, middle.machine_address() | TABLE);
        }
        fill(&tables.root, (START >> 39) as usize, tables.upper.machine_address() | TABLE);
        if let Some(kernel) = setup.kernel_entry {
            fill(&tables.root, 0, kernel);
        }
        tables.hand_over().map_err(|_| Refusal::Memory)?;
        Ok(tables)
    }

    fn pages(&self) -> impl Iterator<Item = &Page> {
        let lower = self.middle.values().chain(self.leaves.values());
        [&self.root, &self.upper].into_iter().chain(lower).map(|page| &**page)
    }

    /// The request that makes a page of ours readable or writable for the kernel.
    fn own_mapping(page: &Page, flags: u64) -> Result<MmuUpdate, Errno> {
        let ptr = window::entry_machine_address(page.address()).ok_or(Errno::Fault)?;
        Ok(MmuUpdate { ptr, val: page.machine_address() | flags })
    }

    /// Makes page tables of the pages.
    fn hand_over(&mut self) -> Result<(), Errno> {
        let mut requests =
            self.pages().map(|page| Self::own_mapping(page, READ_ONLY)).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: the pages are only read from now on, until they are taken back.
        unsafe { calls::mmu_update(&mut requests) }?;
        let root = self.root();
        calls::mmuext(&mut [request(MmuextOp::PinL4Table, root.0)])?;
        self.pinned = true;
        Ok(())
    }

    fn root(&self) -> Mfn {
        self.root.machine_frame()
    }

    /// Makes this the address space of processes.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub(super) fn activate(&self) -> Result<(), Errno> {
        let root = self.root().0;
        if ACTIVE.load(Relaxed) == root {
            return Ok(());
        }
        self.setup.switch_to(root)?;
        ACTIVE.store(root, Relaxed);
        Ok(())
    }

    /// Makes the requests that have gathered, and has the processor forget what they changed.
    ///
    /// # Errors
    /// As the hypervisor says; the process cannot go on then.
    pub(super) fn commit(&mut self) -> Result<(), Refusal> {
        self.make_requests()?;
        let forget = match core::mem::replace(&mut self.stale, Stale::Nothing) {
            Stale::Nothing => return Ok(()),
            Stale::Page(address) => request(MmuextOp::InvlpgLocal, address),
            Stale::All => request(MmuextOp::TlbFlushLocal, 0),
        };
        calls::mmuext(&mut [forget]).map_err(|_| Refusal::Memory)
    }

    /// The same for a page whose fault has just been taken: the fault itself made the processor forget it.
    pub(super) fn commit_fault(&mut self) -> Result<(), Refusal> {
        self.stale = Stale::Nothing;
        self.make_requests()
    }

    fn make_requests(&mut self) -> Result<(), Refusal> {
        if self.requests.is_empty() {
            return Ok(());
        }
        // SAFETY: the entries are of processes, where nothing of Rust's lies.
        let made = unsafe { calls::mmu_update(&mut self.requests) };
        self.requests.clear();
        made.map_err(|_| Refusal::Memory)
    }

    /// Adds a table of level 1 with one entry, and one of level 2 if need be.
    fn add_leaf(&mut self, number: u64, index: u64, entry: u64) -> Result<(), Refusal> {
        let gigabytes = number / LEAVES;
        if !self.middle.contains_key(&gigabytes) {
            let middle = Page::new().ok_or(Refusal::Memory)?;
            let at = place(&self.upper, gigabytes);
            self.middle.insert(gigabytes, link(middle, at)?);
        }
        let leaf = Page::new().ok_or(Refusal::Memory)?;
        fill(&leaf, index as usize, entry);
        let middle = self.middle.get(&gigabytes).ok_or(Refusal::Memory)?;
        let at = place(middle, number);
        self.leaves.insert(number, link(leaf, at)?);
        Ok(())
    }
}

/// Makes a page a table that the entry at a machine address leads to.
fn link(page: Page, at: u64) -> Result<Kept, Refusal> {
    let read_only = Tables::own_mapping(&page, READ_ONLY).map_err(|_| Refusal::Memory)?;
    let page = Kept::new(page);
    let entry = MmuUpdate { ptr: at, val: page.machine_address() | TABLE };
    // SAFETY: the page is only read from now on, until it is taken back. If a request is refused nobody knows which of
    // the two it was, so that the page is lost.
    unsafe { calls::mmu_update(&mut [read_only, entry]) }.map_err(|_| Refusal::Memory)?;
    Ok(page)
}

/// The machine address of an entry in a table.
fn place(table: &Page, index: u64) -> u64 {
    table.machine_address() + index % LEAVES * 8
}

pub(super) fn request(op: MmuextOp, argument: u64) -> MmuextRequest {
    MmuextRequest { cmd: op.raw(), pad: 0, arg1: argument, arg2: 0 }
}

impl Told for Tables {
    fn change(&mut self, change: Change, fresh: bool) -> Result<(), Refusal> {
        let Change { address, entry } = change;
        let (number, index) = (address / BYTES, address >> 12);
        if self.requests.len() == BATCH {
            self.make_requests()?;
        }
        let Some(leaf) = self.leaves.get(&number) else {
            return self.add_leaf(number, index, entry);
        };
        self.requests.push(MmuUpdate { ptr: place(leaf, index), val: entry });
        if !fresh {
            self.stale = if self.stale == Stale::Nothing { Stale::Page(address) } else { Stale::All };
        }
        Ok(())
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let root = self.root().0;
        if ACTIVE.load(Relaxed) == root {
            // It fails for a root that is none, and the kernel's is one.
            let _ = self.setup.switch_to(0);
            ACTIVE.store(0, Relaxed);
        }
        if self.pinned {
            // It fails for what is not pinned.
            let _ = calls::mmuext(&mut [request(MmuextOp::UnpinTable, root)]);
        }
        let requests: Result<Vec<_>, _> = self.pages().map(|page| Self::own_mapping(page, DATA)).collect();
        let Ok(mut requests) = requests else { return };
        // What is still being released is refused until that is done, which each call goes on with.
        for _ in 0..PATIENCE {
            // SAFETY: the pages are ours alone once they are no tables.
            if unsafe { calls::mmu_update(&mut requests) }.is_ok() {
                return self.give_back();
            }
        }
        log::error!("page tables of a process are not released");
    }
}

impl Tables {
    /// Gives back pages that are memory again.
    fn give_back(&mut self) {
        let lower = self.middle.values_mut().chain(self.leaves.values_mut());
        for page in [&mut self.root, &mut self.upper].into_iter().chain(lower) {
            // SAFETY: this is the last use of the tables, and of each page once.
            unsafe { ManuallyDrop::drop(page) };
        }
    }
}

/// The first entry of the kernel's own root, closed to processes.
pub(super) fn kernel_entry() -> u64 {
    let root = memory::root() as *const u64;
    // SAFETY: the root is mapped for reading.
    unsafe { root.read_volatile() & !pte::USER }
}
