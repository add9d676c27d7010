//! Which machine memory is RAM and still free: a small set of page-aligned ranges.
//! Loaders describe memory in overlapping pieces; here they become disjoint, and what is taken is cut out.

/// Bytes of a page.
const PAGE: u64 = 4096;
/// As many ranges as any loader has been seen to report, several times over.
const CAPACITY: usize = 256;

/// A range of machine addresses, `start` inclusive, `end` exclusive, both at page boundaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Range {
    /// Bytes in the range.
    pub(crate) const fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Free RAM.
#[derive(Clone, Debug)]
pub(crate) struct MemoryMap {
    ranges: [Range; CAPACITY],
    count: usize,
}

impl MemoryMap {
    /// No memory.
    pub(crate) const fn new() -> Self {
        Self { ranges: [Range { start: 0, end: 0 }; CAPACITY], count: 0 }
    }

    /// The disjoint ranges, in no order.
    pub(crate) fn ranges(&self) -> &[Range] {
        self.ranges.get(..self.count).unwrap_or_default()
    }

    /// Adds the whole pages within `address..address + bytes`. Memory that is in the map already is not added twice;
    /// ranges beyond the capacity are lost, which wastes them and harms nothing.
    pub(crate) fn add(&mut self, address: u64, bytes: u64) {
        let start = address.saturating_add(PAGE - 1) & !(PAGE - 1);
        let end = address.saturating_add(bytes) & !(PAGE - 1);
        self.remove_pages(Range { start, end });
        if start < end {
            self.push(Range { start, end });
        }
    }

    /// Removes every page that `address..address + bytes` touches.
    pub(crate) fn remove(&mut self, address: u64, bytes: u64) {
        let start = address & !(PAGE - 1);
        let end = address.saturating_add(bytes).saturating_add(PAGE - 1) & !(PAGE - 1);
        self.remove_pages(Range { start, end });
    }

    /// Takes `bytes` (whole pages) from the top of the largest range below `limit`; their first address.
    pub(crate) fn take(&mut self, bytes: u64, limit: u64) -> Option<u64> {
        let (start, end) = self
            .ranges()
            .iter()
            .map(|range| (range.start, range.end.min(limit)))
            .filter(|(start, end)| end.saturating_sub(*start) >= bytes)
            .max_by_key(|(start, end)| end - start)?;
        let taken = end - bytes;
        debug_assert!(taken >= start);
        self.remove(taken, bytes);
        Some(taken)
    }

    /// Bytes of free RAM.
    pub(crate) fn bytes(&self) -> u64 {
        self.ranges().iter().map(Range::bytes).sum()
    }

    /// First address above all free RAM.
    pub(crate) fn end(&self) -> u64 {
        self.ranges().iter().map(|range| range.end).max().unwrap_or(0)
    }

    fn push(&mut self, range: Range) {
        if let Some(slot) = self.ranges.get_mut(self.count) {
            *slot = range;
            self.count += 1;
        }
    }

    fn remove_pages(&mut self, hole: Range) {
        if hole.start >= hole.end {
            return;
        }
        let mut rest = Self::new();
        for range in self.ranges() {
            let below = Range { start: range.start, end: range.end.min(hole.start) };
            let above = Range { start: range.start.max(hole.end), end: range.end };
            for part in [below, above] {
                if part.start < part.end {
                    rest.push(part);
                }
            }
        }
        *self = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(map: &MemoryMap) -> Vec<(u64, u64)> {
        let mut ranges: Vec<_> = map.ranges().iter().map(|range| (range.start, range.end)).collect();
        ranges.sort_unstable();
        ranges
    }

    #[test]
    fn partial_pages_are_not_free() {
        let mut map = MemoryMap::new();
        map.add(0x1001, 0x3000);
        assert_eq!(sorted(&map), [(0x2000, 0x4000)]);
    }

    #[test]
    fn memory_reported_twice_is_free_once() {
        let mut map = MemoryMap::new();
        map.add(0x1000, 0x3000);
        map.add(0x2000, 0x4000);
        assert_eq!(map.bytes(), 0x5000);
        assert_eq!(map.end(), 0x6000);
    }

    #[test]
    fn what_is_removed_leaves_a_hole() {
        let mut map = MemoryMap::new();
        map.add(0, 0x10000);
        map.remove(0x4800, 0x10);
        assert_eq!(sorted(&map), [(0, 0x4000), (0x5000, 0x10000)]);
    }

    #[test]
    fn memory_is_taken_from_the_top_of_the_largest_range_below_the_limit() {
        let mut map = MemoryMap::new();
        map.add(0, 0x4000);
        map.add(0x10000, 0x8000);
        map.add(0x100000, 0x100000);
        assert_eq!(map.take(0x2000, 0x20000), Some(0x16000));
        assert_eq!(map.take(0x7000, 0x20000), None);
        assert_eq!(map.bytes(), 0x4000 + 0x6000 + 0x100000);
    }

    #[test]
    fn a_range_at_the_end_of_the_address_space_does_not_wrap() {
        let mut map = MemoryMap::new();
        map.add(u64::MAX - 0x2000, u64::MAX);
        assert!(map.bytes() <= 0x2000);
    }
}
