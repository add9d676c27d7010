//! Free frames as blocks of powers of two, kept inside the frame records.
//! Buddies merge when both are free, so that a domain's memory stays contiguous after many have come and gone.

use hypercall_abi::{DomId, Mfn};

use super::record::{HELD, NO_LINK, NOT_A_HEAD, Record, State, Typing};
use super::{FrameTable, FrameType, ORDERS};

/// A run of machine frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First frame.
    pub first: Mfn,
    /// Frames.
    pub count: u32,
}

impl Extent {
    /// Whether a frame is one of the run.
    #[must_use]
    pub fn contains(&self, mfn: Mfn) -> bool {
        mfn.0.checked_sub(self.first.0).is_some_and(|offset| offset < u64::from(self.count))
    }

    /// The frames of the run.
    pub fn frames(self) -> impl Iterator<Item = Mfn> {
        (self.first.0..self.first.0.saturating_add(u64::from(self.count))).map(Mfn)
    }
}

fn log2_order(order: usize) -> u32 {
    1_u32.checked_shl(u32::try_from(order).unwrap_or(u32::MAX)).unwrap_or(0)
}

impl FrameTable {
    /// Gives RAM to the table, once, at boot. Frames beyond the table's limit are left out, and so is frame 0, whose
    /// number means that there is none.
    pub fn add_ram(&mut self, first: Mfn, count: u64) {
        let end = first.0.saturating_add(count).min(self.limit().0);
        let mut next = first.0.max(1);
        while next < end {
            let (Ok(frame), Some(left)) = (u32::try_from(next), end.checked_sub(next)) else { return };
            let mut order = ORDERS.saturating_sub(1);
            while u64::from(log2_order(order)) > left || frame & log2_order(order).wrapping_sub(1) != 0 {
                order = order.saturating_sub(1);
            }
            let size = log2_order(order);
            self.free = self.free.saturating_add(u64::from(size));
            self.total = self.total.saturating_add(u64::from(size));
            for index in frame..frame.saturating_add(size) {
                if let Some(record) = self.record_mut(Mfn(u64::from(index))) {
                    record.state = State::Free;
                }
            }
            self.insert_block(frame, order);
            next = next.saturating_add(u64::from(size));
        }
    }

    /// Allocates one run of `count` frames to `owner`; each carries the owner's reference. Contents are what they were.
    pub(crate) fn allocate(&mut self, owner: DomId, count: u32) -> Option<Extent> {
        if count == 0 {
            return None;
        }
        let order = usize::try_from(count.checked_next_power_of_two()?.trailing_zeros()).ok()?;
        let index = usize::from(owner.0);
        if owner.is_ordinary() && self.owned.len() <= index {
            let missing = index.saturating_add(1).saturating_sub(self.owned.len());
            self.owned.try_reserve(missing).ok()?;
            self.owned.resize(index.saturating_add(1), 0);
        }
        let first = self.take_block(order)?;
        let end = first.saturating_add(count);
        for frame in first..end {
            if let Some(record) = self.record_mut(Mfn(u64::from(frame))) {
                *record = Record {
                    refs: 1,
                    typing: Typing::default().retyped(FrameType::None, 0).with(HELD),
                    link: NO_LINK,
                    owner,
                    state: State::Allocated,
                    order: NOT_A_HEAD,
                };
            }
        }
        if let Some(owned) = self.owned_mut(owner) {
            *owned = owned.saturating_add(count);
        }
        self.free = self.free.saturating_sub(u64::from(count));
        // What the power of two has too much goes back, largest aligned blocks first found from its end.
        let block_end = first.saturating_add(log2_order(order));
        let mut tail = end;
        while tail < block_end {
            let tail_order = usize::try_from(tail.trailing_zeros()).unwrap_or(0).min(order);
            self.insert_block(tail, tail_order);
            tail = tail.saturating_add(log2_order(tail_order));
        }
        Some(Extent { first: Mfn(u64::from(first)), count })
    }

    /// Frames of the largest run that [`Self::allocate`] can give.
    pub(crate) fn largest_run(&self) -> u32 {
        (0..ORDERS)
            .rev()
            .find(|&order| self.heads.get(order).is_some_and(|&head| head != NO_LINK))
            .map_or(0, log2_order)
    }

    /// Takes a block of exactly `order`, splitting a larger one when needed.
    fn take_block(&mut self, order: usize) -> Option<u32> {
        let mut found =
            (order..ORDERS).find(|&order| self.heads.get(order).is_some_and(|&head| head != NO_LINK))?;
        let block = *self.heads.get(found)?;
        self.remove_block(block, found);
        while found > order {
            found = found.saturating_sub(1);
            self.insert_block(block.saturating_add(log2_order(found)), found);
        }
        Some(block)
    }

    /// Frees one frame that has no references left.
    #[cold]
    #[inline(never)]
    pub(super) fn free_frame(&mut self, mfn: Mfn) {
        let Ok(frame) = u32::try_from(mfn.0) else { return };
        let Some(record) = self.record_mut(mfn) else { return };
        let owner = record.owner;
        *record = Record { state: State::Free, ..Record::ABSENT };
        if let Some(owned) = self.owned_mut(owner) {
            *owned = owned.saturating_sub(1);
        }
        self.free = self.free.saturating_add(1);
        let (mut block, mut order) = (frame, 0);
        while order < ORDERS.saturating_sub(1) {
            let buddy = block ^ log2_order(order);
            let buddy_is_free = self
                .record(Mfn(u64::from(buddy)))
                .is_some_and(|record| record.state == State::Free && usize::from(record.order) == order);
            if !buddy_is_free {
                break;
            }
            self.remove_block(buddy, order);
            block &= buddy;
            order = order.saturating_add(1);
        }
        self.insert_block(block, order);
    }

    fn insert_block(&mut self, block: u32, order: usize) {
        let Some(head) = self.heads.get_mut(order) else { return };
        let next = core::mem::replace(head, block);
        if let Some(record) = self.record_mut(Mfn(u64::from(next))) {
            record.refs = block;
        }
        if let Some(record) = self.record_mut(Mfn(u64::from(block))) {
            *record = Record {
                refs: NO_LINK,
                link: next,
                state: State::Free,
                order: u8::try_from(order).unwrap_or(NOT_A_HEAD),
                ..Record::ABSENT
            };
        }
    }

    fn remove_block(&mut self, block: u32, order: usize) {
        let Some(record) = self.record_mut(Mfn(u64::from(block))) else { return };
        let (previous, next) = (record.refs, record.link);
        record.order = NOT_A_HEAD;
        record.link = NO_LINK;
        record.refs = 0;
        if let Some(record) = self.record_mut(Mfn(u64::from(next))) {
            record.refs = previous;
        }
        match self.record_mut(Mfn(u64::from(previous))) {
            Some(record) => record.link = next,
            None => {
                if let Some(head) = self.heads.get_mut(order) {
                    *head = next;
                }
            }
        }
    }

    /// Walks the free lists and compares them with the counts.
    ///
    /// # Errors
    /// What does not agree.
    pub(crate) fn check_free_lists(&self) -> Result<(), &'static str> {
        let mut listed = 0_u64;
        for order in 0..ORDERS {
            let mut previous = NO_LINK;
            let mut block = self.heads.get(order).copied().unwrap_or(NO_LINK);
            while block != NO_LINK {
                let record = self.record(Mfn(u64::from(block))).ok_or("a free list leaves the table")?;
                if record.state != State::Free
                    || usize::from(record.order) != order
                    || record.refs != previous
                {
                    return Err("a free list holds a frame that is not a free block of its size");
                }
                listed = listed.saturating_add(u64::from(log2_order(order)));
                if listed > self.free {
                    return Err("the free lists hold more frames than are free");
                }
                previous = block;
                block = record.link;
            }
        }
        if listed != self.free {
            return Err("the free lists hold fewer frames than are free");
        }
        let all = self.owned.iter().chain([&self.owned_by_none]);
        let owned = all.fold(0_u64, |sum, &owned| sum.saturating_add(u64::from(owned)));
        if owned.saturating_add(self.free) != self.total {
            return Err("owned and free frames are not all the frames");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_freed_merges_into_the_block_that_it_came_from() {
        let mut frames = FrameTable::new(1024).unwrap();
        frames.add_ram(Mfn(3), 1000);
        assert_eq!(frames.free_frames(), 1000);
        let before = frames.largest_run();
        let extents: Vec<_> = (0..10).filter_map(|_| frames.allocate(DomId(1), 70)).collect();
        assert!(extents.len() >= 5);
        for extent in extents {
            for frame in 0..u64::from(extent.count) {
                frames.release_held(Mfn(extent.first.0 + frame));
            }
        }
        assert_eq!(frames.free_frames(), 1000);
        assert_eq!(frames.largest_run(), before);
        assert_eq!(frames.owned_by(DomId(1)), 0);
        assert_eq!(frames.check_free_lists(), Ok(()));
    }

    use alloc::vec::Vec;

    proptest! {
        #[test]
        fn no_frame_is_allocated_twice_and_none_is_lost(sizes in proptest::collection::vec((1_u32..200, any::<bool>()), 1..60)) {
            let mut frames = FrameTable::new(2048).unwrap();
            frames.add_ram(Mfn(1), 700);
            frames.add_ram(Mfn(900), 1148);
            let total = frames.free_frames();
            let mut held: Vec<Extent> = Vec::new();
            for (index, (size, release)) in sizes.into_iter().enumerate() {
                if release && !held.is_empty() {
                    let extent = held.swap_remove(index % held.len());
                    for frame in 0..u64::from(extent.count) {
                        frames.release_held(Mfn(extent.first.0 + frame));
                    }
                } else if let Some(extent) = frames.allocate(DomId(index as u16), size) {
                    for other in &held {
                        let apart = extent.first.0 + u64::from(extent.count) <= other.first.0
                            || other.first.0 + u64::from(other.count) <= extent.first.0;
                        prop_assert!(apart);
                    }
                    held.push(extent);
                }
                prop_assert_eq!(frames.check_free_lists(), Ok(()));
                let in_use: u64 = held.iter().map(|extent| u64::from(extent.count)).sum();
                prop_assert_eq!(frames.free_frames() + in_use, total);
            }
        }
    }
}
