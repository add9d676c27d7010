//! Packets that wait for one front end, shared fairly between those who sent them.
//! Without that, one guest that floods another would keep everybody else's packets from it.

use alloc::collections::{BTreeMap, VecDeque};

use crate::pool::Packet;

/// Who sent a packet: a front end's number, or the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sender(pub(crate) u32);

impl Sender {
    /// The wire as a whole.
    pub(crate) const UPLINK: Self = Self(u32::MAX);
}

/// Packets in order of arrival, each with its sender.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    packets: VecDeque<(Sender, Packet)>,
    /// How many of them each sender has.
    shares: BTreeMap<Sender, usize>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Packet> {
        let (sender, packet) = self.packets.pop_front()?;
        self.lower(sender);
        Some(packet)
    }

    /// Adds a packet. When that makes more than `limit`, the packet that came last from whoever has most of them is
    /// returned, to be dropped; it may be this one.
    pub(crate) fn push(&mut self, from: Sender, packet: Packet, limit: usize) -> Option<Packet> {
        self.packets.push_back((from, packet));
        *self.shares.entry(from).or_default() += 1;
        if self.packets.len() <= limit {
            return None;
        }
        let most = self.shares.values().max().copied()?;
        let is_greedy = |sender| self.shares.get(sender) == Some(&most);
        let at = self.packets.iter().rposition(|(sender, _)| is_greedy(sender))?;
        let (sender, packet) = self.packets.remove(at)?;
        self.lower(sender);
        Some(packet)
    }

    /// Counts one packet less of a sender's.
    fn lower(&mut self, sender: Sender) {
        if let Some(share) = self.shares.get_mut(&sender) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn senders(queue: &Queue) -> Vec<u32> {
        queue.packets.iter().map(|(sender, _)| sender.0).collect()
    }

    fn push(queue: &mut Queue, from: u32) -> Option<u16> {
        queue.push(Sender(from), Packet::fake(from as u16), 4).map(|packet| packet.bytes)
    }

    #[test]
    fn whoever_has_most_makes_room() {
        let mut queue = Queue::default();
        for _ in 0..4 {
            assert_eq!(push(&mut queue, 1), None);
        }
        assert_eq!(push(&mut queue, 1), Some(1), "a flood drops its own");
        assert_eq!(push(&mut queue, 2), Some(1));
        assert_eq!(push(&mut queue, 3), Some(1));
        assert_eq!(senders(&queue), [1, 1, 2, 3]);
        assert_eq!(push(&mut queue, 1), Some(1));
        assert_eq!(push(&mut queue, 4), Some(1));
        assert_eq!(senders(&queue), [1, 2, 3, 4]);
        assert_eq!(push(&mut queue, 5), Some(5), "among equals the last to come");
        assert_eq!(queue.pop().map(|packet| packet.bytes), Some(1), "the order of arrival stays");
        while queue.pop().is_some() {}
        assert!(queue.shares.is_empty());
    }

    #[test]
    fn a_queue_that_is_not_full_drops_nothing() {
        let mut queue = Queue::default();
        assert!((0..4).all(|from| push(&mut queue, from).is_none()));
        assert_eq!((queue.len(), queue.is_empty()), (4, false));
    }
}
