//! The granting side: a domain's table, and who uses which of its entries.
//! Entries are guest memory, so each is read once as a whole and changed by comparing with what was read.

use alloc::vec::Vec;

use hypercall_abi::grant_table::{ENTRIES_PER_FRAME, GrantStatus, entry_flags};
use hypercall_abi::{DomId, GrantRef, Mfn};

use super::TABLE_FRAMES_MAX;
use super::mapping::Mappings;
use crate::frames::FrameTable;
use crate::memory::{MachineAddress, MachineMemory};

/// How often an entry that changes under our hands is judged again.
const ATTEMPTS: usize = 4;
const READING: u64 = 1 << 3;
const WRITING: u64 = 1 << 4;

const _: () = assert!(entry_flags::READING == 1 << 3 && entry_flags::WRITING == 1 << 4);

/// An entry as one word: flags, domain, frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(u64);

impl Entry {
    pub(super) const fn new(flags: u64, domain: DomId, mfn: Mfn) -> Self {
        let [low, high] = domain.0.to_le_bytes();
        Self(flags | u64::from_le_bytes([0, 0, low, high, 0, 0, 0, 0]) | (mfn.0 << 32))
    }

    pub(super) const fn frame(self) -> Mfn {
        Mfn(self.0 >> 32)
    }

    /// Whether it lets `user` map and copy: type and domain in one comparison.
    #[inline]
    const fn permits(self, user: DomId) -> bool {
        (self.0 ^ Self::new(1, user, Mfn(0)).0) & 0xffff_0003 == 0
    }

    const fn is_read_only(self) -> bool {
        self.0 & (1 << 2) != 0
    }
}

/// An entry that is mapped.
#[derive(Clone, Copy, Debug)]
struct Active {
    reference: GrantRef,
    user: DomId,
    frame: Mfn,
    readers: u32,
    writers: u32,
}

/// A domain's grants: what it lets others use, and what it has mapped of theirs.
#[derive(Debug)]
pub struct GrantTable {
    pub(super) owner: DomId,
    pub(super) frames: Vec<Mfn>,
    /// Entries that are mapped, in order of reference.
    active: Vec<Active>,
    pub(super) mappings: Mappings,
    /// Whether the domain has ended: nothing is granted any more.
    closed: bool,
}

/// A use of an entry for the length of one copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) frame: Mfn,
    at: MachineAddress,
    /// In-use bits that this use has set and will clear.
    set: u64,
}

impl GrantTable {
    /// A table of one frame, which the caller has taken and zeroed.
    #[must_use]
    pub fn new(owner: DomId, first: Mfn) -> Self {
        Self {
            owner,
            frames: alloc::vec![first],
            active: Vec::new(),
            mappings: Mappings::default(),
            closed: false,
        }
    }

    /// The table of a domain that has no memory yet.
    #[must_use]
    pub const fn empty(owner: DomId) -> Self {
        Self { owner, frames: Vec::new(), active: Vec::new(), mappings: Mappings::EMPTY, closed: false }
    }

    /// Frames of the table.
    #[must_use]
    pub fn table_frames(&self) -> &[Mfn] {
        &self.frames
    }

    /// Whether others still map frames of this domain.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        !self.active.is_empty()
    }

    /// Mappings that this domain holds of others' frames.
    #[must_use]
    pub fn mapping_count(&self) -> usize {
        self.mappings.len()
    }

    /// Grants nothing any more: the domain has ended, and its table's frames go.
    pub fn close(&mut self) {
        self.closed = true;
        self.frames = Vec::new();
    }

    /// Bytes of the hypervisor's heap that the records take.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.frames
            .capacity()
            .saturating_mul(size_of::<Mfn>())
            .saturating_add(self.active.capacity().saturating_mul(size_of::<Active>()))
            .saturating_add(self.mappings.heap_bytes())
    }

    /// Adds a frame to the table, unless it has its most.
    pub(super) fn has_room(&mut self) -> bool {
        self.frames.len() < TABLE_FRAMES_MAX && self.frames.try_reserve_exact(1).is_ok()
    }

    /// Where an entry lies.
    #[inline]
    fn place(&self, reference: GrantRef) -> Option<MachineAddress> {
        let frame = self.frames.get(usize::try_from(reference.0 / ENTRIES_PER_FRAME).ok()?)?;
        Some(MachineAddress::in_frame(*frame, u64::from(reference.0 % ENTRIES_PER_FRAME) << 3))
    }

    /// Writes an entry for the domain: what the builder grants of its device pages.
    /// Returns whether the table has such an entry.
    pub fn seed<M: MachineMemory>(
        &self,
        memory: &mut M,
        reference: GrantRef,
        user: DomId,
        frame: Mfn,
        read_only: bool,
    ) -> bool {
        let Some(at) = self.place(reference) else { return false };
        let flags = if read_only {
            entry_flags::PERMIT_ACCESS | entry_flags::READ_ONLY
        } else {
            entry_flags::PERMIT_ACCESS
        };
        memory.store(at, Entry::new(u64::from(flags), user, frame).0);
        true
    }

    /// Judges an entry for `user` and sets its in-use bits. Part of its callers, of which one is the copy of a packet.
    #[inline(always)]
    pub(super) fn begin_use<M: MachineMemory>(
        &self,
        memory: &mut M,
        reference: GrantRef,
        user: DomId,
        write: bool,
    ) -> Result<Use, GrantStatus> {
        let at = self.place(reference).ok_or(GrantStatus::BadGntref)?;
        let bits = if write { READING | WRITING } else { READING };
        let mut entry = Entry(memory.load(at));
        for _ in 0..ATTEMPTS {
            if !entry.permits(user) {
                return Err(GrantStatus::BadGntref);
            }
            if write && entry.is_read_only() {
                return Err(GrantStatus::PermissionDenied);
            }
            let used = Use { frame: entry.frame(), at, set: bits & !entry.0 };
            match memory.compare_exchange(at, entry.0, entry.0 | bits) {
                Ok(()) => return Ok(used),
                Err(changed) => entry = Entry(changed),
            }
        }
        Err(GrantStatus::Again)
    }

    /// Clears the in-use bits that a use has set.
    #[inline]
    pub(super) fn end_use<M: MachineMemory>(memory: &mut M, used: Use) {
        if used.set != 0 {
            memory.fetch_and(used.at, !used.set);
        }
    }

    /// Takes an entry for a mapping: its frame comes with a reference, and with a use as writable for writing.
    pub(super) fn acquire<M: MachineMemory>(
        &mut self,
        memory: &mut M,
        frames: &mut FrameTable,
        reference: GrantRef,
        user: DomId,
        write: bool,
    ) -> Result<Mfn, GrantStatus> {
        if self.closed {
            return Err(GrantStatus::BadDomain);
        }
        self.active.try_reserve(1).map_err(|_| GrantStatus::GeneralError)?;
        let used = self.begin_use(memory, reference, user, write)?;
        let mfn = used.frame;
        let position = self.active.binary_search_by_key(&reference, |active| active.reference);
        let agrees = match position {
            Ok(index) => {
                self.active.get(index).is_none_or(|active| active.frame == mfn && active.user == user)
            }
            Err(_) => true,
        };
        let taken = if !agrees {
            Err(GrantStatus::GeneralError)
        } else if write {
            frames.get_writable(mfn, self.owner).map_err(|_| GrantStatus::BadPage)
        } else {
            frames.get(mfn, self.owner).map_err(|_| GrantStatus::BadPage)
        };
        if let Err(status) = taken {
            Self::end_use(memory, used);
            return Err(status);
        }
        let index = match position {
            Ok(index) => index,
            Err(index) => {
                self.active.insert(index, Active { reference, user, frame: mfn, readers: 0, writers: 0 });
                index
            }
        };
        if let Some(active) = self.active.get_mut(index) {
            let count = if write { &mut active.writers } else { &mut active.readers };
            *count = count.saturating_add(1);
        }
        Ok(mfn)
    }

    /// Gives back what [`Self::acquire`] took.
    pub(super) fn release<M: MachineMemory>(
        &mut self,
        memory: &mut M,
        frames: &mut FrameTable,
        reference: GrantRef,
        write: bool,
    ) {
        let Ok(index) = self.active.binary_search_by_key(&reference, |active| active.reference) else {
            return;
        };
        let Some(active) = self.active.get_mut(index) else { return };
        let mfn = active.frame;
        let count = if write { &mut active.writers } else { &mut active.readers };
        *count = count.saturating_sub(1);
        let (readers, writers) = (active.readers, active.writers);
        let mut unused = if writers == 0 { WRITING } else { 0 };
        if readers == 0 && writers == 0 {
            unused |= READING;
            self.active.remove(index);
            if self.active.is_empty() {
                self.active = Vec::new();
            }
        }
        // A closed table has no entries left to tell.
        if unused != 0
            && let Some(at) = self.place(reference)
        {
            memory.fetch_and(at, !unused);
        }
        if write {
            frames.put_writable(mfn);
        } else {
            frames.put(mfn);
        }
    }

    /// Uses of each mapped frame, as (frame, readers, writers), for the recount of references.
    pub(crate) fn mapped(&self) -> impl Iterator<Item = (Mfn, u32, u32)> + '_ {
        self.active.iter().map(|active| (active.frame, active.readers, active.writers))
    }

    /// Users of each mapped entry, as (reference, readers, writers).
    pub(crate) fn uses(&self) -> impl Iterator<Item = (GrantRef, u32, u32)> + '_ {
        self.active.iter().map(|active| (active.reference, active.readers, active.writers))
    }

    /// What this domain has mapped, as (granter, reference, for writing).
    pub(crate) fn handles(&self) -> impl Iterator<Item = (DomId, GrantRef, bool)> + '_ {
        self.mappings.iter()
    }

    /// Whether this domain has mapped a frame by a grant.
    pub(crate) fn maps(&self, frame: Mfn) -> bool {
        self.mappings.maps(frame)
    }
}
