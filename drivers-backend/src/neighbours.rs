//! What the switch has learned of stations beyond the uplink: which addresses are there, and who answers for which.
//! Bounded, because whoever is out there can invent as many as he likes; the oldest entry makes room.

use alloc::collections::BTreeMap;

/// A bounded map that forgets the entry which was renewed longest ago.
#[derive(Debug)]
pub(crate) struct Learned<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    /// Keys by the time of their last renewal.
    ages: BTreeMap<u64, K>,
    clock: u64,
    capacity: usize,
}

impl<K: Ord + Copy, V: Copy> Learned<K, V> {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), ages: BTreeMap::new(), clock: 0, capacity }
    }

    /// Remembers or renews an entry.
    pub(crate) fn learn(&mut self, key: K, value: V) {
        self.clock += 1;
        if let Some((age, _)) = self.entries.insert(key, (self.clock, value)) {
            self.ages.remove(&age);
        } else if self.entries.len() > self.capacity
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.ages.insert(self.clock, key);
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_never_outgrows_its_capacity_and_forgets_the_oldest() {
        let mut learned = Learned::new(4);
        for key in 0..100_u32 {
            learned.learn(key, key * 2);
            learned.learn(0, 0);
            assert!(learned.entries.len() <= 4);
            assert_eq!(learned.entries.len(), learned.ages.len(), "both maps hold the same entries");
        }
        assert_eq!(learned.get(&0), Some(0), "what is renewed stays");
        assert_eq!(learned.get(&99), Some(198));
        assert_eq!(learned.get(&50), None);
    }
}
