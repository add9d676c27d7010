//! Taking and giving back references to frames and uses of them as a type.
//! Each taking is guarded against overflow, because a guest decides how often it happens.

use hypercall_abi::{DomId, Errno, Mfn};

use super::record::{DEMOTING, HELD, NO_LINK, PINNED, REFS_MAX, Record, SHARED, State, TYPE_COUNT_MAX};
use super::{FrameTable, FrameType, Level};

/// How a wish to use a frame as a page table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableUse {
    /// It is one of that level: a reference and a use were taken.
    Taken,
    /// It is nothing at present: it was marked as a table of that level with one use and a reference, and the
    /// caller must validate it or take the mark back.
    ToValidate,
}

impl FrameTable {
    /// The record of a frame of `owner`, an ordinary domain.
    #[inline]
    fn own(&mut self, mfn: Mfn, owner: DomId) -> Result<&mut Record, Errno> {
        match self.record_mut(mfn) {
            Some(record) if record.owner == owner => Ok(record),
            _ => Err(Errno::Inval),
        }
    }

    /// Takes a reference to a frame of `owner`.
    ///
    /// # Errors
    /// `Inval`: not a frame of that domain. `Busy`: too many references.
    #[inline]
    pub(crate) fn get(&mut self, mfn: Mfn, owner: DomId) -> Result<(), Errno> {
        let record = self.own(mfn, owner)?;
        if record.refs >= REFS_MAX {
            return Err(Errno::Busy);
        }
        record.refs = record.refs.wrapping_add(1);
        Ok(())
    }

    /// Takes a reference to a frame of `owner` and a use of it as writable.
    ///
    /// # Errors
    /// `Inval`: not a frame of that domain. `Busy`: in use as a page table, or too many uses.
    #[inline]
    pub(crate) fn get_writable(&mut self, mfn: Mfn, owner: DomId) -> Result<(), Errno> {
        let record = self.own(mfn, owner)?;
        if record.refs >= REFS_MAX {
            return Err(Errno::Busy);
        }
        record.typing = record.typing.used_as_writable().ok_or(Errno::Busy)?;
        record.refs = record.refs.wrapping_add(1);
        Ok(())
    }

    /// Whether a frame of `owner` may be written now: it is theirs, and no page table.
    #[inline]
    pub(crate) fn may_write(&self, mfn: Mfn, owner: DomId) -> bool {
        self.record(mfn).is_some_and(|record| record.owner == owner && !record.typing.is_unwritable())
    }

    /// Whether a frame is of `owner`, an ordinary domain.
    #[inline]
    pub(crate) fn is_of(&self, mfn: Mfn, owner: DomId) -> bool {
        self.record(mfn).is_some_and(|record| record.owner == owner)
    }

    /// Gives back a reference; the last one frees the frame.
    pub(crate) fn put(&mut self, mfn: Mfn) {
        let _ = self.put_mapped(mfn, false);
    }

    /// Gives back a reference and a use as writable.
    pub(crate) fn put_writable(&mut self, mfn: Mfn) {
        let _ = self.put_mapped(mfn, true);
    }

    /// Gives back a reference, and a use as writable if it was `written`; the last reference frees the frame.
    /// Returns whose frame it was; `None` and nothing happens if it is no domain's.
    #[inline]
    pub(crate) fn put_mapped(&mut self, mfn: Mfn, written: bool) -> Option<DomId> {
        let record = self.record_mut(mfn)?;
        let owner = record.owner;
        if owner == DomId::INVALID {
            return None;
        }
        if written {
            record.typing = record.typing.one_less();
        }
        record.refs = record.refs.saturating_sub(1);
        if record.refs == 0 {
            self.free_frame(mfn);
        }
        Some(owner)
    }

    /// Takes a reference to a frame of `owner` and a use of it as a table.
    ///
    /// # Errors
    /// `Inval`: not a frame of that domain, or in use as something else. `Busy`: too many uses. `Again`: it was a
    /// table until now and its entries are still being released.
    pub(crate) fn get_table(&mut self, mfn: Mfn, owner: DomId, kind: FrameType) -> Result<TableUse, Errno> {
        let record = self.own(mfn, owner)?;
        if record.refs >= REFS_MAX {
            return Err(Errno::Busy);
        }
        let outcome = if record.typing.is_in_use_as(kind) {
            if record.typing.count() >= TYPE_COUNT_MAX {
                return Err(Errno::Busy);
            }
            record.typing = record.typing.one_more();
            TableUse::Taken
        } else if record.typing.has(DEMOTING) {
            return Err(Errno::Again);
        } else if record.typing.count() == 0 {
            record.typing = record.typing.retyped(kind, 1);
            TableUse::ToValidate
        } else {
            return Err(Errno::Inval);
        };
        record.refs = record.refs.wrapping_add(1);
        Ok(outcome)
    }

    /// Gives back a use as a table, but not its reference. Returns whether it was the last use: then the table is
    /// marked as being released and the caller must see to its entries, and to the reference at last.
    #[must_use]
    pub(crate) fn put_table_use(&mut self, mfn: Mfn) -> bool {
        let Some(record) = self.record_mut(mfn) else { return false };
        record.typing = record.typing.one_less();
        if record.typing.count() == 0 {
            record.typing = record.typing.with(DEMOTING);
            true
        } else {
            false
        }
    }

    /// A table's entries are released: the frame is nothing in particular again.
    pub(crate) fn forget_table(&mut self, mfn: Mfn) {
        if let Some(record) = self.record_mut(mfn) {
            record.typing = record.typing.retyped(FrameType::None, 0).without(DEMOTING);
            record.link = NO_LINK;
        }
    }

    /// Whether a frame is of `owner` and in use as a level 1 table.
    #[inline]
    pub(crate) fn is_l1_of(&self, mfn: Mfn, owner: DomId) -> bool {
        self.record(mfn).is_some_and(|record| {
            record.owner == owner && record.typing.is_in_use_as(FrameType::Table(Level::L1))
        })
    }

    /// What a frame of `owner` is in use as.
    ///
    /// # Errors
    /// `Inval`: not a frame of that domain.
    #[inline]
    pub(crate) fn type_of_own(&self, mfn: Mfn, owner: DomId) -> Result<FrameType, Errno> {
        match self.record(mfn) {
            Some(record) if record.owner == owner => {
                Ok(if record.typing.count() > 0 { record.typing.kind() } else { FrameType::None })
            }
            _ => Err(Errno::Inval),
        }
    }

    /// What a frame was last used as, whether or not it still is.
    pub(crate) fn last_type(&self, mfn: Mfn) -> FrameType {
        self.record(mfn).map_or(FrameType::None, |record| record.typing.kind())
    }

    /// Next table to release after this one.
    pub(crate) fn link(&self, mfn: Mfn) -> Option<Mfn> {
        self.record(mfn).filter(|record| record.link != NO_LINK).map(|record| Mfn(u64::from(record.link)))
    }

    /// Sets the next table to release after this one.
    pub(crate) fn set_link(&mut self, mfn: Mfn, next: Mfn) {
        if let (Some(record), Ok(next)) = (self.record_mut(mfn), u32::try_from(next.0)) {
            record.link = next;
        }
    }

    /// Marks a table as pinned; returns whether it already was.
    pub(crate) fn set_pinned(&mut self, mfn: Mfn) -> bool {
        let Some(record) = self.record_mut(mfn) else { return false };
        let already = record.typing.has(PINNED);
        record.typing = record.typing.with(PINNED);
        already
    }

    /// Clears the mark of a pinned table; returns whether it had one.
    pub(crate) fn clear_pinned(&mut self, mfn: Mfn) -> bool {
        let Some(record) = self.record_mut(mfn) else { return false };
        let had = record.state == State::Allocated && record.typing.has(PINNED);
        record.typing = record.typing.without(PINNED);
        had
    }

    /// Makes an allocated frame one that the hypervisor shares with its owner: writable for as long as it exists.
    pub(crate) fn make_shared(&mut self, mfn: Mfn) {
        if let Some(record) = self.record_mut(mfn) {
            record.typing = record.typing.retyped(FrameType::Writable, 1).with(SHARED);
            record.refs = record.refs.saturating_add(1);
        }
    }

    /// Ends the sharing of a frame.
    pub(crate) fn end_shared(&mut self, mfn: Mfn) {
        let Some(record) = self.record_mut(mfn) else { return };
        if record.typing.has(SHARED) {
            record.typing = record.typing.without(SHARED);
            self.put_writable(mfn);
        }
    }

    /// Makes an allocated frame that nobody uses a part of an image: nobody writes it or makes a table of it any more.
    pub(crate) fn make_image(&mut self, mfn: Mfn) {
        if let Some(record) = self.record_mut(mfn) {
            debug_assert!(record.typing.count() == 0, "{mfn} is in use");
            record.typing = record.typing.retyped(FrameType::Image, 1);
        }
    }

    /// Ends that, and the reference that kept it.
    pub(crate) fn end_image(&mut self, mfn: Mfn) {
        if self.frame_type(mfn) == FrameType::Image {
            if let Some(record) = self.record_mut(mfn) {
                record.typing = record.typing.retyped(FrameType::None, 0);
            }
            self.release_held(mfn);
        }
    }

    /// Gives back the owner's own reference.
    pub(crate) fn release_held(&mut self, mfn: Mfn) {
        let Some(record) = self.record_mut(mfn) else { return };
        if record.state == State::Allocated && record.typing.has(HELD) {
            record.typing = record.typing.without(HELD);
            self.put(mfn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_frame() -> (FrameTable, Mfn) {
        let mut frames = FrameTable::new(16).unwrap();
        frames.add_ram(Mfn(1), 15);
        let mfn = frames.allocate(DomId(1), 1).unwrap().first;
        (frames, mfn)
    }

    #[test]
    fn a_page_table_is_never_writable() {
        let (mut frames, mfn) = one_frame();
        let table = FrameType::Table(Level::L1);
        assert_eq!(frames.get_table(mfn, DomId(1), table), Ok(TableUse::ToValidate));
        assert_eq!(frames.get_writable(mfn, DomId(1)), Err(Errno::Busy));
        assert!(frames.put_table_use(mfn));
        assert_eq!(frames.get_writable(mfn, DomId(1)), Err(Errno::Busy), "entries are still being released");
        frames.forget_table(mfn);
        frames.put(mfn);
        assert_eq!(frames.get_writable(mfn, DomId(1)), Ok(()));
        assert_eq!(frames.get_table(mfn, DomId(1), table), Err(Errno::Inval));
    }

    #[test]
    fn an_images_frame_is_never_writable_and_never_a_table() {
        let (mut frames, mfn) = one_frame();
        frames.make_image(mfn);
        assert_eq!(frames.get_writable(mfn, DomId(1)), Err(Errno::Busy));
        assert_eq!(frames.get_table(mfn, DomId(1), FrameType::Table(Level::L1)), Err(Errno::Inval));
        assert!(!frames.may_write(mfn, DomId(1)));
        assert_eq!(frames.get(mfn, DomId(1)), Ok(()));
        frames.put(mfn);
        frames.end_image(mfn);
        assert_eq!(frames.state(mfn), State::Free);
    }

    #[test]
    fn a_foreign_frame_is_refused() {
        let (mut frames, mfn) = one_frame();
        assert_eq!(frames.get(mfn, DomId(2)), Err(Errno::Inval));
        assert_eq!(frames.get_writable(mfn, DomId(2)), Err(Errno::Inval));
        assert_eq!(frames.get(Mfn(99), DomId(1)), Err(Errno::Inval));
    }

    #[test]
    fn a_frame_outlives_its_owner_while_referred_to() {
        let (mut frames, mfn) = one_frame();
        frames.get(mfn, DomId(1)).unwrap();
        frames.release_held(mfn);
        assert_eq!((frames.owned_by(DomId(1)), frames.state(mfn)), (1, State::Allocated));
        frames.put(mfn);
        assert_eq!((frames.owned_by(DomId(1)), frames.state(mfn)), (0, State::Free));
    }

    #[test]
    fn counts_stop_before_they_overflow() {
        let (mut frames, mfn) = one_frame();
        for _ in 0..TYPE_COUNT_MAX {
            frames.get_writable(mfn, DomId(1)).unwrap();
        }
        assert_eq!(frames.get_writable(mfn, DomId(1)), Err(Errno::Busy));
    }
}
