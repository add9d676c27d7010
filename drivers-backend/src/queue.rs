//! Packets that wait for one front end, shared fairly between those who sent them.
//! Without that, one guest that floods another would keep everybody else's packets from it.

use alloc::collections::VecDeque;

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
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Packet> {
        self.packets.pop_front().map(|(_, packet)| packet)
    }

    /// Adds a packet. When that makes more than `limit`, the packet that came last from whoever has most of them is
    /// returned, to be dropped; it may be this one.
    pub(crate) fn push(&mut self, from: Sender, packet: Packet, limit: usize) -> Option<Packet> {
        self.packets.push_back((from, packet));
        if self.packets.len() <= limit {
            return None;
        }
        let greediest = self.greediest()?;
        let at = self.packets.iter().rposition(|(sender, _)| *sender == greediest)?;
        self.packets.remove(at).map(|(_, packet)| packet)
    }

    /// Who has most packets here; the one who came last among equals.
    fn greediest(&self) -> Option<Sender> {
        let mut best = None;
        let mut most = 0;
        for (sender, _) in self.packets.iter().rev() {
            if best == Some(*sender) {
                continue;
            }
            let count = self.packets.iter().filter(|(other, _)| other == sender).count();
            if count > most {
                (best, most) = (Some(*sender), count);
            }
        }
        best
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
    }

    #[test]
    fn a_queue_that_is_not_full_drops_nothing() {
        let mut queue = Queue::default();
        assert!((0..4).all(|from| push(&mut queue, from).is_none()));
        assert_eq!((queue.len(), queue.is_empty()), (4, false));
    }
}
