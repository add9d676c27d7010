//! New connections for which no socket listens: they wait instead of being refused.
//!
//! The TCP stack below has no queue of its own. It answers a SYN that finds no listening socket with a reset, and a
//! client that opens many connections at once would see refusals. A SYN that is dropped here is sent again by its
//! client after a while, when a socket may be free.

extern crate alloc;

use alloc::vec::Vec;

/// A client's end of a connection: address and port.
pub type Peer = ([u8; 4], u16);

/// How long a connection may take from its SYN until it is taken.
const OPENING_US: u64 = 30_000_000;

/// The listening sockets of one port, counted.
#[derive(Debug)]
pub struct Backlog {
    port: u16,
    listening: usize,
    /// Connections whose SYN was let through and that have not been taken, with the time until which they count.
    opening: Vec<(Peer, u64)>,
    held: u64,
}

impl Backlog {
    /// A port that nobody listens on yet.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        Self { port, listening: 0, opening: Vec::new(), held: 0 }
    }

    /// One more socket listens.
    pub fn listen(&mut self) {
        self.listening += 1;
    }

    /// A socket listens no more, because it has a connection to `peer` or for another reason.
    pub fn take(&mut self, peer: Option<Peer>) {
        self.listening = self.listening.saturating_sub(1);
        self.opening.retain(|&(other, _)| Some(other) != peer);
    }

    /// SYNs that were held back.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// Whether the stack should see an Ethernet frame: all but a SYN for which no socket would be left.
    #[must_use]
    pub fn admits(&mut self, frame: &[u8], now_us: u64) -> bool {
        let Some(segment) = Segment::read(frame).filter(|segment| segment.port == self.port) else {
            return true;
        };
        if segment.flags & RST != 0 {
            // The socket that answered its SYN listens again.
            self.opening.retain(|&(peer, _)| peer != segment.peer);
        }
        if segment.flags & (SYN | ACK) != SYN {
            return true;
        }
        self.opening.retain(|&(_, until)| now_us < until);
        if self.opening.iter().any(|&(peer, _)| peer == segment.peer) {
            return true;
        }
        if self.opening.len() >= self.listening {
            self.held += 1;
            return false;
        }
        self.opening.push((segment.peer, now_us.saturating_add(OPENING_US)));
        true
    }
}

const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// What of a TCP segment matters here.
struct Segment {
    peer: Peer,
    port: u16,
    flags: u8,
}

impl Segment {
    /// Reads an Ethernet frame; `None` if it is no first fragment of TCP over IPv4.
    fn read(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(12..)?.strip_prefix(&[0x08, 0x00])?;
        let [version_length, _, _, _, _, _, fragment, more, _, protocol, ..] = *packet else { return None };
        if version_length >> 4 != 4 || protocol != 6 || (fragment & 0x1f, more) != (0, 0) {
            return None;
        }
        let address = packet.get(12..)?.first_chunk()?;
        let segment = packet.get(usize::from(version_length & 0xf) * 4..)?;
        let [source, source_low, target, target_low, ..] = *segment else { return None };
        Some(Self {
            peer: (*address, u16::from_be_bytes([source, source_low])),
            port: u16::from_be_bytes([target, target_low]),
            flags: *segment.get(13)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(peer: u16, port: u16, flags: u8) -> Vec<u8> {
        let mut frame = std::vec![0; 14 + 20 + 20];
        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[14 + 9] = 6;
        frame[14 + 12..14 + 16].copy_from_slice(&[10, 16, 0, 2]);
        frame[34..36].copy_from_slice(&peer.to_be_bytes());
        frame[36..38].copy_from_slice(&port.to_be_bytes());
        frame[34 + 13] = flags;
        frame
    }

    const ADDRESS: [u8; 4] = [10, 16, 0, 2];

    #[test]
    fn a_syn_without_a_listening_socket_waits_until_one_listens() {
        let mut backlog = Backlog::new(80);
        assert!(!backlog.admits(&frame(1, 80, SYN), 0));
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 1));
        assert!(!backlog.admits(&frame(2, 80, SYN), 1));
        assert_eq!(backlog.held(), 2);
        backlog.take(Some((ADDRESS, 1)));
        assert!(!backlog.admits(&frame(2, 80, SYN), 2));
        backlog.listen();
        assert!(backlog.admits(&frame(2, 80, SYN), 3));
    }

    #[test]
    fn a_syn_that_is_sent_again_counts_once() {
        let mut backlog = Backlog::new(80);
        backlog.listen();
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 0));
        assert!(backlog.admits(&frame(1, 80, SYN), 1));
        assert!(backlog.admits(&frame(2, 80, SYN), 2));
        assert!(!backlog.admits(&frame(3, 80, SYN), 2));
    }

    #[test]
    fn a_client_that_gives_up_or_goes_silent_makes_room() {
        let mut backlog = Backlog::new(80);
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 0));
        assert!(backlog.admits(&frame(1, 80, RST), 1));
        assert!(backlog.admits(&frame(2, 80, SYN), 2));
        assert!(!backlog.admits(&frame(3, 80, SYN), 3));
        assert!(backlog.admits(&frame(3, 80, SYN), 2 + OPENING_US));
    }

    #[test]
    fn everything_else_passes() {
        let mut backlog = Backlog::new(80);
        assert!(backlog.admits(&frame(1, 81, SYN), 0));
        assert!(backlog.admits(&frame(1, 80, ACK), 0));
        assert!(backlog.admits(&frame(1, 80, SYN | ACK), 0));
        assert!(backlog.admits(&[], 0));
        let mut arp = frame(1, 80, SYN);
        arp[13] = 6;
        assert!(backlog.admits(&arp, 0));
        for cut in 0..54 {
            let _ = backlog.admits(&frame(1, 80, SYN)[..cut], 0);
        }
        assert!(!backlog.admits(&frame(1, 80, SYN)[..48], 0), "flags are all that is needed");
    }
}
