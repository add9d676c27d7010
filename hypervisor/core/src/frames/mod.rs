//! The frame table: for each machine frame its owner, its references and what it is being used as.
//! It exists because guests write real page tables: what a frame is decides what may be done with it.
//!
//! Two counts a frame. A **reference** keeps it from being freed: the owner holds one while it lives, and so do
//! each page-table entry that maps it, each pin, each root in use and each mapped grant. A **use as a type** keeps
//! it what it is: an entry that maps it for writing uses it as `Writable`, an entry of level 2 uses it as `Table(L1)`,
//! and so on; every use comes with a reference. The type changes only while its count is 0, and it becomes a table only
//! by validation ([`crate::paging`]). So no frame is ever a page table and writable at once.
//!
//! Free frames lie in a buddy allocator inside the same records.

mod buddy;
mod record;
mod references;

pub use buddy::Extent;
pub use record::{FrameType, Level, State};

pub(crate) use record::{DEMOTING, HELD, NO_LINK, PINNED, SHARED};

use alloc::vec::Vec;

use hypercall_abi::{DomId, Mfn};

#[cfg(test)]
pub(crate) use record::REFS_MAX;
pub(crate) use references::TableUse;

use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::Maps;
use record::Record;

/// Sizes of free blocks: up to `1 << (ORDERS - 1)` frames.
const ORDERS: usize = 21;

/// Every frame of the machine.
#[derive(Debug)]
pub struct FrameTable {
    records: Vec<Record>,
    /// First block of each size.
    heads: [u32; ORDERS],
    free: u64,
    total: u64,
    /// Frames that each domain owns, by its number.
    owned: Vec<u32>,
    /// Frames that belong to no domain in particular.
    owned_by_none: u32,
    maps: Maps,
}

impl Default for FrameTable {
    /// A table of no frames.
    fn default() -> Self {
        Self {
            records: Vec::new(),
            heads: [NO_LINK; ORDERS],
            free: 0,
            total: 0,
            owned: Vec::new(),
            owned_by_none: 0,
            maps: Maps::NONE,
        }
    }
}

/// The frame table itself does not fit into the hypervisor's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl FrameTable {
    /// A table for frames below `frames` (at most 2^32 - 1), all of them absent.
    ///
    /// # Errors
    /// No memory for the table (16 bytes a frame).
    pub fn new(frames: u64) -> Result<Self, NoRoom> {
        let count =
            u32::try_from(frames).ok().and_then(|frames| usize::try_from(frames).ok()).ok_or(NoRoom)?;
        let mut records = Vec::new();
        records.try_reserve_exact(count).map_err(|_| NoRoom)?;
        records.resize(count, Record::ABSENT);
        Ok(Self { records, ..Self::default() })
    }

    /// Says what all address spaces have in common, once, at boot: the hypervisor's 16 entries of a level 4 table
    /// and the machine-to-physical table, which has room for a word for each frame of this table.
    pub fn set_maps(&mut self, slots: [u64; 16], machine_to_physical: MachineAddress) {
        self.maps = Maps { slots, machine_to_physical: Some(machine_to_physical), ..self.maps };
    }

    /// Says what stands in those 16 entries where the guest's kernel is in ring 1, if the processor has it.
    pub fn set_ring1_slots(&mut self, slots: Option<[u64; 16]>) {
        self.maps.ring1_slots = slots;
    }

    /// What all address spaces have in common.
    pub(crate) const fn maps(&self) -> Maps {
        self.maps
    }

    /// Writes the machine-to-physical entry of a frame, which the caller has found to be memory.
    pub(crate) fn set_machine_to_physical<M: MachineMemory>(&self, memory: &mut M, mfn: Mfn, pfn: u64) {
        if let Some(MachineAddress(base)) = self.maps.machine_to_physical {
            memory.store(MachineAddress(base.wrapping_add(mfn.0 << 3)), pfn);
        }
    }

    fn record(&self, mfn: Mfn) -> Option<&Record> {
        self.records.get(usize::try_from(mfn.0).ok()?)
    }

    fn record_mut(&mut self, mfn: Mfn) -> Option<&mut Record> {
        self.records.get_mut(usize::try_from(mfn.0).ok()?)
    }

    /// Frames that the table can name.
    #[must_use]
    pub fn limit(&self) -> Mfn {
        Mfn(u64::try_from(self.records.len()).unwrap_or(0))
    }

    /// Frames in the free lists.
    #[must_use]
    pub const fn free_frames(&self) -> u64 {
        self.free
    }

    /// Frames that were given to the table, free or not.
    #[must_use]
    pub const fn total_frames(&self) -> u64 {
        self.total
    }

    /// Frames that a domain owns, including those that live on only because others refer to them.
    #[must_use]
    pub fn owned_by(&self, domain: DomId) -> u32 {
        if domain == DomId::COW {
            return self.owned_by_none;
        }
        self.owned.get(usize::from(domain.0)).copied().unwrap_or(0)
    }

    fn owned_mut(&mut self, owner: DomId) -> Option<&mut u32> {
        if owner == DomId::COW {
            return Some(&mut self.owned_by_none);
        }
        self.owned.get_mut(usize::from(owner.0))
    }

    /// Whether a frame is memory, free, or a domain's.
    #[must_use]
    pub fn state(&self, mfn: Mfn) -> State {
        self.record(mfn).map_or(State::Absent, |record| record.state)
    }

    /// Whether a frame is some domain's memory: what guest memory accesses check last.
    #[must_use]
    pub fn is_allocated(&self, mfn: Mfn) -> bool {
        self.record(mfn).is_some_and(|record| record.state == State::Allocated)
    }

    /// Whose frame it is.
    #[must_use]
    pub fn owner(&self, mfn: Mfn) -> Option<DomId> {
        self.record(mfn).filter(|record| record.state == State::Allocated).map(|record| record.owner)
    }

    /// What a frame is in use as; `None` when nothing uses it as anything.
    #[must_use]
    pub fn frame_type(&self, mfn: Mfn) -> FrameType {
        match self.record(mfn) {
            Some(record) if record.state == State::Allocated && record.typing.count() > 0 => {
                record.typing.kind()
            }
            _ => FrameType::None,
        }
    }

    /// References to a frame.
    #[must_use]
    pub fn references(&self, mfn: Mfn) -> u32 {
        self.record(mfn).filter(|record| record.state == State::Allocated).map_or(0, |record| record.refs)
    }

    /// Uses of a frame as its type.
    #[must_use]
    pub fn uses(&self, mfn: Mfn) -> u32 {
        self.record(mfn)
            .filter(|record| record.state == State::Allocated)
            .map_or(0, |record| record.typing.count())
    }

    /// Gives out all that is known of all frames, as words.
    #[cfg(any(test, feature = "replay"))]
    pub(crate) fn fold(&self, take: &mut dyn FnMut(u64)) {
        let Self { records, heads, free, total, owned, owned_by_none, maps: _ } = self;
        records.iter().flat_map(Record::words).for_each(&mut *take);
        heads.iter().chain(owned).chain([owned_by_none]).for_each(|word| take(u64::from(*word)));
        [*free, *total].into_iter().for_each(take);
    }

    /// The first frame of a domain. It looks at each frame of the machine.
    pub(crate) fn first_of(&self, domain: DomId) -> Option<Mfn> {
        let index = self.records.iter().position(|record| record.owner == domain)?;
        u64::try_from(index).ok().map(Mfn)
    }

    /// Whether a flag of an allocated frame is set.
    pub(crate) fn has_flag(&self, mfn: Mfn, flag: u32) -> bool {
        self.record(mfn).is_some_and(|record| record.state == State::Allocated && record.typing.has(flag))
    }
}
