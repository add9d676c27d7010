//! Ranges of addresses that a process may use, and for what.
//! They say what a page fault means before any page is there.

extern crate alloc;

use alloc::vec::Vec;
use core::ops::Range;

use process_abi::layout::{END, PAGE, START};

/// What may be done with memory; reading always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Writing.
    pub write: bool,
    /// Execution.
    pub execute: bool,
}

impl Access {
    /// Memory for data.
    pub const DATA: Self = Self { write: true, execute: false };
    /// Code.
    pub const CODE: Self = Self { write: false, execute: true };
    /// Constants.
    pub const CONSTANTS: Self = Self { write: false, execute: false };

    /// Whether a use of this kind is allowed.
    #[must_use]
    pub const fn allows(self, wanted: Self) -> bool {
        (self.write || !wanted.write) && (self.execute || !wanted.execute)
    }
}

/// Bytes of a program that appear at an address.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Where the first byte appears.
    pub address: u64,
    /// The bytes; what lies past them is zero.
    pub bytes: &'static [u8],
}

/// A range of whole pages that are used alike.
#[derive(Clone, Debug)]
pub struct Area {
    /// Its addresses.
    pub range: Range<u64>,
    /// What may be done with it.
    pub access: Access,
    /// What is in it at first; zeros without.
    pub content: Option<Content>,
}

/// The most areas that a process may have.
const AREAS_MAX: usize = 64;

/// The areas of a process, in the order of their addresses; they do not overlap.
#[derive(Clone, Debug, Default)]
pub struct Areas(Vec<Area>);

impl Areas {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The area that an address lies in.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Area> {
        let after = self.0.partition_point(|area| area.range.start <= address);
        self.0.get(after.checked_sub(1)?).filter(|area| address < area.range.end)
    }

    /// Adds an area. Returns whether it could be: whole pages of a process that no other area has.
    pub fn add(&mut self, area: Area) -> bool {
        let Range { start, end } = area.range;
        let sound = start >= START && end <= END && start < end && start % PAGE == 0 && end % PAGE == 0;
        let at = self.0.partition_point(|other| other.range.start < start);
        let below = at.checked_sub(1).and_then(|below| self.0.get(below));
        let free = below.is_none_or(|below| below.range.end <= start)
            && self.0.get(at).is_none_or(|above| end <= above.range.start);
        if sound && free && self.0.len() < AREAS_MAX {
            self.0.insert(at, area);
            return true;
        }
        false
    }

    /// Takes a range out of all areas. Returns whether there was room for what is left of them.
    pub fn remove(&mut self, range: &Range<u64>) -> bool {
        let splits = self.0.iter().any(|area| area.range.start < range.start && range.end < area.range.end);
        if splits && self.0.len() >= AREAS_MAX {
            return false;
        }
        let parts = self.0.drain(..).flat_map(|area| {
            let part = |from: u64, to: u64| (from < to).then(|| Area { range: from..to, ..area.clone() });
            let Range { start, end } = area.range;
            [part(start, end.min(range.start)), part(start.max(range.end), end)]
        });
        let left: Vec<Area> = parts.flatten().collect();
        self.0 = left;
        true
    }

    /// Makes the area that ends at `end` longer. Returns whether it could be.
    pub fn extend(&mut self, end: u64, bytes: u64) -> bool {
        let Some(index) = self.0.iter().position(|area| area.range.end == end) else { return false };
        let Some(new) = end.checked_add(bytes) else { return false };
        let limit = self.0.get(index + 1).map_or(END, |above| above.range.start);
        if new > limit {
            return false;
        }
        self.0[index].range.end = new;
        true
    }

    /// The first room for so many bytes from `from` up.
    #[must_use]
    pub fn room(&self, from: u64, bytes: u64) -> Option<u64> {
        let mut at = from;
        for area in self.0.iter().filter(|area| area.range.end > from) {
            if area.range.start.checked_sub(at).is_some_and(|free| free >= bytes) {
                return Some(at);
            }
            at = at.max(area.range.end);
        }
        END.checked_sub(at).filter(|&free| free >= bytes).map(|_| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(start: u64, end: u64) -> Area {
        Area { range: START + start * PAGE..START + end * PAGE, access: Access::DATA, content: None }
    }

    fn ranges(areas: &Areas) -> Vec<(u64, u64)> {
        let pages = |address: u64| (address - START) / PAGE;
        areas.0.iter().map(|area| (pages(area.range.start), pages(area.range.end))).collect()
    }

    #[test]
    fn areas_do_not_overlap_and_stay_in_the_process() {
        let mut areas = Areas::new();
        assert!(areas.add(data(10, 20)));
        assert!(areas.add(data(20, 30)));
        assert!(areas.add(data(2, 10)));
        for (start, end) in [(9, 11), (19, 21), (0, 40), (12, 13), (29, 31), (5, 5)] {
            assert!(!areas.add(data(start, end)), "{start} to {end}");
        }
        let page = |range| Area { range, access: Access::DATA, content: None };
        for range in [0..PAGE, START - PAGE..START, END..END + PAGE, START + 1..START + PAGE + 1] {
            assert!(!areas.add(page(range.clone())), "{range:x?}");
        }
        assert_eq!(ranges(&areas), [(2, 10), (10, 20), (20, 30)]);
        assert!(areas.find(START + 2 * PAGE - 1).is_none());
        assert_eq!(areas.find(START + 20 * PAGE - 1).unwrap().range.start, START + 10 * PAGE);
        assert!(areas.find(START + 30 * PAGE).is_none());
    }

    #[test]
    fn what_is_taken_out_of_the_middle_leaves_both_ends() {
        let mut areas = Areas::new();
        assert!(areas.add(data(0, 10)) && areas.add(data(12, 14)));
        assert!(areas.remove(&(START + 3 * PAGE..START + 5 * PAGE)));
        assert_eq!(ranges(&areas), [(0, 3), (5, 10), (12, 14)]);
        assert!(areas.remove(&(START + 8 * PAGE..START + 20 * PAGE)));
        assert_eq!(ranges(&areas), [(0, 3), (5, 8)]);
        assert!(areas.remove(&(START..END)));
        assert_eq!(ranges(&areas), []);
    }

    #[test]
    fn an_area_grows_up_to_the_next() {
        let mut areas = Areas::new();
        assert!(areas.add(data(0, 2)) && areas.add(data(4, 5)));
        assert!(areas.extend(START + 2 * PAGE, 2 * PAGE));
        assert!(!areas.extend(START + 4 * PAGE, PAGE));
        assert!(!areas.extend(START + 3 * PAGE, PAGE), "no area ends there");
        assert!(!areas.extend(START + 5 * PAGE, u64::MAX));
    }

    #[test]
    fn room_is_found_between_areas() {
        let mut areas = Areas::new();
        assert!(areas.add(data(2, 4)) && areas.add(data(6, 7)));
        assert_eq!(areas.room(START, 2 * PAGE), Some(START));
        assert_eq!(areas.room(START + PAGE, 2 * PAGE), Some(START + 4 * PAGE));
        assert_eq!(areas.room(START, 3 * PAGE), Some(START + 7 * PAGE));
        assert_eq!(areas.room(START, END - START), None);
    }

    #[test]
    fn the_number_of_areas_is_limited() {
        let mut areas = Areas::new();
        let added = (0..1000).filter(|&index| areas.add(data(4 * index, 4 * index + 3))).count();
        assert_eq!(added, AREAS_MAX);
        assert!(!areas.remove(&(START + PAGE..START + 2 * PAGE)), "it would leave one more");
        assert!(areas.remove(&(START..START + PAGE)));
    }
}
