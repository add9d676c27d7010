//! Judging and writing page-table entries: the one place where a guest's translations change.
//! All paths meet here (single updates, batches, pins, grants, the builder), so that there is one judge.

use hypercall_abi::mmu::{UpdateKind, pte};
use hypercall_abi::{DomId, Errno, Mfn, layout};

use super::entry::{self, REFERENCE};
use super::{AddressSpace, ENTRIES, IMAGE_ENTRIES_MAX, WORK_PER_CALL};
use crate::effects::Todo;
use crate::frames::{FrameTable, FrameType, Level, State, TableUse};
use crate::memory::{MachineAddress, MachineMemory};

/// One domain's page tables for the length of one call.
#[derive(Debug)]
pub(crate) struct Tables<'a, M> {
    pub(crate) frames: &'a mut FrameTable,
    pub(crate) memory: &'a mut M,
    pub(crate) space: &'a mut AddressSpace,
    /// What the machine must do before the guest runs again.
    pub(crate) todo: Todo,
    /// Entries that this call may still validate or release.
    pub(crate) work: u32,
}

impl<'a, M: MachineMemory> Tables<'a, M> {
    /// Works on `space`.
    #[inline]
    pub(crate) fn new(frames: &'a mut FrameTable, memory: &'a mut M, space: &'a mut AddressSpace) -> Self {
        Self { frames, memory, space, todo: Todo::empty(), work: WORK_PER_CALL }
    }

    /// Writes one entry of whichever table it lies in; in a frame that is no table, writes plain data.
    /// `page_owner` is whose frames a level 1 entry may refer to.
    ///
    /// # Errors
    /// `Inval`: not in a frame of this domain, or an entry that may not be. `Perm`: a device that the domain may
    /// not map. `Busy`: a page table mapped for writing, or too many references. `TooBig`: the entry refers to
    /// more tables that are not valid yet than one call validates.
    #[inline]
    pub(crate) fn update(
        &mut self,
        at: MachineAddress,
        value: u64,
        kind: UpdateKind,
        page_owner: DomId,
    ) -> Result<(), Errno> {
        let table = at.frame();
        if self.frames.is_l1_of(table, self.space.owner) {
            self.update_l1(at, value, kind, page_owner)
        } else {
            self.update_other(at, value, kind)
        }
    }

    /// Writes one entry of a table above level 1, or plain data.
    #[inline(never)]
    fn update_other(&mut self, at: MachineAddress, value: u64, kind: UpdateKind) -> Result<(), Errno> {
        let table = at.frame();
        match self.frames.type_of_own(table, self.space.owner)? {
            FrameType::Table(level) => self.update_upper(level, at, value, kind)?,
            FrameType::None | FrameType::Writable => {
                self.frames.get_writable(table, self.space.owner)?;
                self.memory.store(at, value);
                self.frames.put_writable(table);
            }
            // Nobody's own.
            FrameType::Image => return Err(Errno::Inval),
        }
        if !self.space.queue.is_empty() {
            self.drain();
        }
        Ok(())
    }

    /// Writes an entry of a level 1 table of this domain.
    ///
    /// # Errors
    /// As [`Self::update`].
    #[inline]
    pub(crate) fn update_l1(
        &mut self,
        at: MachineAddress,
        value: u64,
        kind: UpdateKind,
        page_owner: DomId,
    ) -> Result<(), Errno> {
        let old = self.memory.load(at);
        if !entry::is_present(value) {
            self.memory.store(at, value);
            self.release_l1(old);
            return Ok(());
        }
        let mut new = entry::adjust(Level::L1, value, self.space.forced, |mfn| {
            self.frames.state(mfn) != State::Absent
        })?;
        if kind == UpdateKind::PtUpdatePreserveAd {
            new |= old & (pte::ACCESSED | pte::DIRTY);
        }
        if (old ^ new) & REFERENCE == 0 {
            self.memory.store(at, new);
            return Ok(());
        }
        self.acquire_l1(new, page_owner)?;
        self.memory.store(at, new);
        self.release_l1(old);
        Ok(())
    }

    /// Writes a present entry that is already as it should stand, whose frame is of `page_owner`.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub(crate) fn replace_l1(
        &mut self,
        at: MachineAddress,
        new: u64,
        page_owner: DomId,
    ) -> Result<(), Errno> {
        let old = self.memory.load(at);
        self.acquire_l1(new, page_owner)?;
        self.memory.store(at, new);
        self.release_l1(old);
        Ok(())
    }

    /// Clears an entry of a level 1 table of this domain.
    pub(crate) fn clear_l1(&mut self, at: MachineAddress) {
        let old = self.memory.load(at);
        self.memory.store(at, 0);
        self.release_l1(old);
    }

    fn update_upper(
        &mut self,
        level: Level,
        at: MachineAddress,
        value: u64,
        kind: UpdateKind,
    ) -> Result<(), Errno> {
        if entry::is_hypervisors(level, at) {
            return Err(Errno::Inval);
        }
        let old = self.memory.load(at);
        let mut new = value;
        if entry::is_present(value) {
            new = entry::adjust(level, value, self.space.forced, |_| true)?;
            if kind == UpdateKind::PtUpdatePreserveAd {
                new |= old & pte::ACCESSED;
            }
            if (old ^ new) & (pte::PRESENT | pte::ADDRESS) == 0 {
                self.space.remembered().forget();
                self.memory.store(at, new);
                return Ok(());
            }
            self.acquire_below(level, new)?;
        }
        self.memory.store(at, new);
        if entry::is_present(old) {
            self.put_table(entry::frame(old));
        }
        Ok(())
    }

    /// Takes what a present level 1 entry refers to.
    #[inline]
    pub(super) fn acquire_l1(&mut self, new: u64, page_owner: DomId) -> Result<(), Errno> {
        let mfn = entry::frame(new);
        let taken = if new & pte::WRITABLE != 0 {
            self.frames.get_writable(mfn, page_owner)
        } else {
            self.frames.get(mfn, page_owner)
        };
        match taken {
            Err(_) if self.space.shares(mfn) && new & pte::WRITABLE == 0 => self.acquire_image(mfn),
            Err(_) if self.frames.state(mfn) == State::Absent => {
                if self.space.permits_device(mfn) {
                    Ok(())
                } else {
                    Err(Errno::Perm)
                }
            }
            other => other,
        }
    }

    /// Takes a reference to a part of the domain's image that it shares, of which each domain has a number of its own: so
    /// many that the frame's count is enough for all domains, whatever they do.
    #[inline(never)]
    fn acquire_image(&mut self, mfn: Mfn) -> Result<(), Errno> {
        let entries = self.space.image_entries;
        if entries >= IMAGE_ENTRIES_MAX {
            return Err(Errno::Busy);
        }
        self.frames.get(mfn, DomId::COW)?;
        self.space.image_entries = entries.saturating_add(1);
        Ok(())
    }

    /// Gives back what a level 1 entry referred to.
    #[inline]
    pub(super) fn release_l1(&mut self, old: u64) {
        if !entry::is_present(old) {
            return;
        }
        let mfn = entry::frame(old);
        self.space.remembered().forget_frame(mfn);
        let owner = self.frames.put_mapped(mfn, old & pte::WRITABLE != 0);
        if owner.is_some_and(|owner| owner != self.space.owner) {
            if owner == Some(DomId::COW) {
                self.space.image_entries = self.space.image_entries.saturating_sub(1);
            }
            // The frame's owner may do with it what it likes as soon as this domain cannot reach it.
            self.todo |= Todo::FLUSH_TLB;
        }
    }

    /// Takes the table that a present entry of a level above 1 refers to.
    fn acquire_below(&mut self, level: Level, new: u64) -> Result<(), Errno> {
        let below = level.below().ok_or(Errno::Inval)?;
        self.get_table(entry::frame(new), below)
    }

    /// Takes a reference to a frame of this domain and a use of it as a table, validating it if it is none.
    ///
    /// # Errors
    /// As [`Self::update`]; the frame is then what it was, but entries of tables in it may have been made
    /// accessible to user mode.
    pub(crate) fn get_table(&mut self, mfn: Mfn, level: Level) -> Result<(), Errno> {
        match self.frames.get_table(mfn, self.space.owner, FrameType::Table(level))? {
            TableUse::Taken => Ok(()),
            TableUse::ToValidate => {
                // A stale translation might still write to it.
                self.todo |= Todo::FLUSH_TLB;
                let validated = self.validate(mfn, level);
                if validated.is_ok() {
                    self.space.tables = self.space.tables.wrapping_add(1);
                } else {
                    self.frames.forget_table(mfn);
                    self.frames.put(mfn);
                }
                validated
            }
        }
    }

    /// Judges each entry of a frame that is marked as a table of `level`.
    fn validate(&mut self, mfn: Mfn, level: Level) -> Result<(), Errno> {
        let entries = u32::try_from(ENTRIES).unwrap_or(u32::MAX);
        self.work = self.work.checked_sub(entries).ok_or(Errno::TooBig)?;
        for index in 0..ENTRIES {
            let at = entry::place(mfn, index);
            if entry::is_hypervisors(level, at) {
                continue;
            }
            let old = self.memory.load(at);
            if !entry::is_present(old) {
                continue;
            }
            let accepted =
                entry::adjust(level, old, self.space.forced, |mfn| self.frames.state(mfn) != State::Absent)
                    .and_then(|new| {
                        match level {
                            Level::L1 => self.acquire_l1(new, self.space.owner)?,
                            _ => self.acquire_below(level, new)?,
                        }
                        Ok(new)
                    });
            match accepted {
                Ok(new) if new != old => self.memory.store(at, new),
                Ok(_) => {}
                Err(errno) => {
                    for index in 0..index {
                        self.release_entry(level, entry::place(mfn, index));
                    }
                    return Err(errno);
                }
            }
        }
        if level == Level::L4 {
            self.set_hypervisor_slots(mfn, self.frames.maps().slots(self.space.ring()));
        }
        Ok(())
    }

    /// Writes the hypervisor's slots of a root.
    pub(super) fn set_hypervisor_slots(&mut self, root: Mfn, slots: [u64; 16]) {
        let first = u64::try_from(layout::HYPERVISOR_SLOT_FIRST).unwrap_or(0);
        for (index, slot) in (first..).zip(slots) {
            self.memory.store(entry::place(root, index), slot);
        }
    }

    /// Gives back what one entry of a table refers to.
    pub(super) fn release_entry(&mut self, level: Level, at: MachineAddress) {
        if entry::is_hypervisors(level, at) {
            return;
        }
        let old = self.memory.load(at);
        if level == Level::L1 {
            self.release_l1(old);
        } else if entry::is_present(old) {
            self.put_table(entry::frame(old));
        }
    }

    /// Makes a table of this domain stay one until it is unpinned.
    ///
    /// # Errors
    /// As [`Self::update`]; `Inval` also if it is pinned already.
    pub(crate) fn pin(&mut self, mfn: Mfn, level: Level) -> Result<(), Errno> {
        self.get_table(mfn, level)?;
        if self.frames.set_pinned(mfn) {
            self.put_table(mfn);
            return Err(Errno::Inval);
        }
        Ok(())
    }

    /// Undoes [`Self::pin`].
    ///
    /// # Errors
    /// `Inval`: not a pinned table of this domain.
    pub(crate) fn unpin(&mut self, mfn: Mfn) -> Result<(), Errno> {
        if self.frames.owner(mfn) != Some(self.space.owner) || !self.frames.clear_pinned(mfn) {
            return Err(Errno::Inval);
        }
        self.put_table(mfn);
        Ok(())
    }
}
