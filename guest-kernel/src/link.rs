//! From IP packets to Ethernet frames and back: who has which hardware address.
//!
//! The TCP/IP stack could do it, but it asks for one neighbour a second and remembers eight, which is too little for a
//! guest that talks to hundreds. Here a packet waits for its neighbour's answer, all are asked for at once, and as many
//! are remembered as there is room for. Only an answer that was asked for is believed.

extern crate alloc;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// An IPv4 address.
pub type Ip = [u8; 4];
/// A hardware address.
pub type Mac = [u8; 6];

/// Bytes of an Ethernet header.
pub const HEADER_BYTES: usize = 14;
/// The most neighbours that are remembered.
const NEIGHBOURS_MAX: usize = 1024;
/// The most packets that wait for a neighbour's answer.
const WAITING_MAX: usize = 256;
/// When a neighbour that does not answer is asked again.
const ASK_AGAIN_US: u64 = 200_000;
/// When a neighbour that answered is asked again, its old answer being used meanwhile.
const REFRESH_US: u64 = 60_000_000;

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
/// ARP for IPv4 over Ethernet: kinds and lengths of addresses.
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_REPLY: [u8; 2] = [0, 2];
const ARP_BYTES: usize = 28;
const BROADCAST: Mac = [0xff; 6];

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    mac: Option<Mac>,
    asked_us: u64,
}

/// One network interface's addresses and neighbours.
#[derive(Debug)]
pub struct Link {
    mac: Mac,
    ip: Ip,
    mask: u32,
    gateway: Option<Ip>,
    neighbours: BTreeMap<Ip, Neighbour>,
    waiting: VecDeque<(Ip, Vec<u8>)>,
    outbox: VecDeque<Vec<u8>>,
}

impl Link {
    /// An interface with an address in a subnet of `prefix` bits.
    #[must_use]
    pub fn new(mac: Mac, ip: Ip, prefix: u8, gateway: Option<Ip>) -> Self {
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
        Self {
            mac,
            ip,
            mask,
            gateway,
            neighbours: BTreeMap::new(),
            waiting: VecDeque::new(),
            outbox: VecDeque::new(),
        }
    }

    /// A frame that is to be sent now, made by what came in or went out before.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    /// Puts the header before an IP packet: `frame` is room for it, then the packet. False if the frame is not to be
    /// sent now: the packet waits for its neighbour, or leads nowhere and is dropped.
    #[must_use]
    pub fn outgoing(&mut self, frame: &mut [u8], now_us: u64) -> bool {
        let Some(&target) = frame.get(HEADER_BYTES + 16..).and_then(<[u8]>::first_chunk) else {
            return false;
        };
        let Some(hop) = self.next_hop(target) else { return false };
        match self.find(hop, now_us) {
            Some(mac) => {
                self.head(frame, mac, IPV4);
                true
            }
            None => {
                if self.waiting.len() == WAITING_MAX {
                    self.waiting.pop_front();
                }
                self.waiting.push_back((hop, frame.to_vec()));
                false
            }
        }
    }

    /// Looks at a received frame. True if it holds an IP packet, which begins behind the header; what concerns
    /// neighbours is dealt with here.
    #[must_use]
    pub fn incoming(&mut self, frame: &[u8], now_us: u64) -> bool {
        match frame.get(12..HEADER_BYTES) {
            Some(kind) if kind == IPV4 => true,
            Some(kind) if kind == ARP => {
                self.arp(frame.get(HEADER_BYTES..).unwrap_or_default(), now_us);
                false
            }
            _ => false,
        }
    }

    /// The neighbour to which a packet for `target` goes.
    fn next_hop(&self, target: Ip) -> Option<Ip> {
        let near = (u32::from_be_bytes(target) ^ u32::from_be_bytes(self.ip)) & self.mask == 0;
        if near { Some(target) } else { self.gateway }
    }

    /// A neighbour's hardware address; asks for it if it is unknown or old.
    fn find(&mut self, hop: Ip, now_us: u64) -> Option<Mac> {
        let known = self.neighbours.get(&hop).copied();
        let patience = if known.is_some_and(|known| known.mac.is_some()) { REFRESH_US } else { ASK_AGAIN_US };
        let mac = known.and_then(|known| known.mac);
        if known.is_none_or(|known| now_us.saturating_sub(known.asked_us) >= patience) {
            if known.is_none() && self.neighbours.len() == NEIGHBOURS_MAX {
                self.forget_one();
            }
            self.neighbours.insert(hop, Neighbour { mac, asked_us: now_us });
            self.tell(BROADCAST, ARP_REQUEST, [0; 6], hop);
        }
        mac
    }

    /// Forgets the neighbour that was asked longest ago.
    fn forget_one(&mut self) {
        let oldest = self.neighbours.iter().min_by_key(|(_, neighbour)| neighbour.asked_us);
        if let Some(ip) = oldest.map(|(&ip, _)| ip) {
            self.neighbours.remove(&ip);
            self.waiting.retain(|&(hop, _)| hop != ip);
        }
    }

    /// Takes an ARP packet.
    fn arp(&mut self, packet: &[u8], now_us: u64) {
        let Some(body) = packet.strip_prefix(&ARP_HEAD) else { return };
        let (Some(&operation), Some(&sender), Some(&sender_ip), Some(&target_ip)) =
            (field(body, 0), field(body, 2), field(body, 8), field::<4>(body, 18))
        else {
            return;
        };
        if operation == ARP_REQUEST && target_ip == self.ip {
            self.tell(sender, ARP_REPLY, sender, sender_ip);
        } else if operation == ARP_REPLY
            && sender[0] & 1 == 0
            && let Some(neighbour) = self.neighbours.get_mut(&sender_ip)
        {
            *neighbour = Neighbour { mac: Some(sender), asked_us: now_us };
            self.release(sender_ip, sender);
        }
    }

    /// Sends what waited for a neighbour.
    fn release(&mut self, hop: Ip, mac: Mac) {
        for (target, mut frame) in core::mem::take(&mut self.waiting) {
            if target == hop {
                self.head(&mut frame, mac, IPV4);
                self.outbox.push_back(frame);
            } else {
                self.waiting.push_back((target, frame));
            }
        }
    }

    /// Sends an ARP packet of ours.
    fn tell(&mut self, to: Mac, operation: [u8; 2], target: Mac, target_ip: Ip) {
        let mut frame = Vec::with_capacity(HEADER_BYTES + ARP_BYTES);
        frame.resize(HEADER_BYTES, 0);
        self.head(&mut frame, to, ARP);
        frame.extend(ARP_HEAD);
        frame.extend(operation);
        frame.extend(self.mac);
        frame.extend(self.ip);
        frame.extend(target);
        frame.extend(target_ip);
        self.outbox.push_back(frame);
    }

    /// Writes an Ethernet header.
    fn head(&self, frame: &mut [u8], to: Mac, kind: [u8; 2]) {
        for (place, byte) in frame.iter_mut().zip(to.into_iter().chain(self.mac).chain(kind)) {
            *place = byte;
        }
    }
}

/// The bytes of a fixed-size field.
fn field<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<&[u8; BYTES]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const OURS: (Mac, Ip) = ([2, 0, 0, 0, 0, 1], [10, 16, 1, 1]);
    const THEIRS: (Mac, Ip) = ([2, 0, 0, 0, 0, 2], [10, 16, 1, 2]);
    const GATEWAY: Ip = [10, 16, 0, 2];

    fn link() -> Link {
        Link::new(OURS.0, OURS.1, 16, Some(GATEWAY))
    }

    fn packet(to: Ip) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES + 20];
        frame[HEADER_BYTES] = 0x45;
        frame[HEADER_BYTES + 16..].copy_from_slice(&to);
        frame
    }

    /// An ARP packet from another to us.
    fn arp(operation: [u8; 2], sender: (Mac, Ip), target: Ip) -> Vec<u8> {
        let mut other = Link::new(sender.0, sender.1, 16, None);
        other.tell(OURS.0, operation, OURS.0, target);
        other.next_frame().unwrap()
    }

    #[test]
    fn a_packet_waits_for_its_neighbour_and_is_sent_when_it_answers() {
        let mut link = link();
        assert!(!link.outgoing(&mut packet(THEIRS.1), 0));
        let question = link.next_frame().unwrap();
        assert_eq!(question[..6], BROADCAST);
        assert_eq!(question[38..42], THEIRS.1);
        assert_eq!(link.next_frame(), None);
        assert!(!link.incoming(&arp(ARP_REPLY, THEIRS, OURS.1), 1));
        let sent = link.next_frame().unwrap();
        assert_eq!((&sent[..6], &sent[6..12], &sent[12..14]), (&THEIRS.0[..], &OURS.0[..], &IPV4[..]));
        let mut next = packet(THEIRS.1);
        assert!(link.outgoing(&mut next, 2));
        assert_eq!(next[..6], THEIRS.0);
    }

    #[test]
    fn many_neighbours_are_asked_at_once() {
        let mut link = link();
        for last in 1..=200 {
            assert!(!link.outgoing(&mut packet([10, 16, 7, last]), 0));
        }
        assert_eq!(core::iter::from_fn(|| link.next_frame()).count(), 200);
    }

    #[test]
    fn a_silent_neighbour_is_asked_again_but_not_for_each_packet() {
        let mut link = link();
        for _ in 0..5 {
            assert!(!link.outgoing(&mut packet(THEIRS.1), 0));
        }
        assert_eq!(core::iter::from_fn(|| link.next_frame()).count(), 1);
        assert!(!link.outgoing(&mut packet(THEIRS.1), ASK_AGAIN_US));
        assert_eq!(core::iter::from_fn(|| link.next_frame()).count(), 1);
    }

    #[test]
    fn packets_for_elsewhere_go_to_the_gateway() {
        let mut near = link();
        assert!(!near.outgoing(&mut packet([192, 168, 1, 1]), 0));
        assert_eq!(near.next_frame().unwrap()[38..42], GATEWAY);
        let mut alone = Link::new(OURS.0, OURS.1, 16, None);
        assert!(!alone.outgoing(&mut packet([192, 168, 1, 1]), 0));
        assert_eq!(alone.next_frame(), None);
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_not_believed() {
        let mut link = link();
        assert!(!link.incoming(&arp(ARP_REPLY, THEIRS, OURS.1), 0));
        assert!(!link.outgoing(&mut packet(THEIRS.1), 1), "it is asked for as if nothing had been said");
        assert_eq!(link.next_frame().unwrap()[..6], BROADCAST);
    }

    #[test]
    fn a_question_for_us_is_answered_and_one_for_others_is_not() {
        let mut link = link();
        assert!(!link.incoming(&arp(ARP_REQUEST, THEIRS, OURS.1), 0));
        let answer = link.next_frame().unwrap();
        assert_eq!((&answer[..6], &answer[22..28]), (&THEIRS.0[..], &OURS.0[..]));
        assert!(!link.incoming(&arp(ARP_REQUEST, THEIRS, GATEWAY), 0));
        assert_eq!(link.next_frame(), None);
    }

    #[test]
    fn an_old_answer_is_used_while_it_is_refreshed() {
        let mut link = link();
        assert!(!link.outgoing(&mut packet(THEIRS.1), 0));
        assert!(!link.incoming(&arp(ARP_REPLY, THEIRS, OURS.1), 0));
        while link.next_frame().is_some() {}
        assert!(link.outgoing(&mut packet(THEIRS.1), REFRESH_US));
        assert_eq!(link.next_frame().unwrap()[..6], BROADCAST);
    }

    #[test]
    fn neither_neighbours_nor_waiting_packets_grow_without_bound() {
        let mut link = link();
        for index in 0..5000_u16 {
            let [high, low] = index.to_be_bytes();
            assert!(!link.outgoing(&mut packet([10, 16, high, low]), index.into()));
            while link.next_frame().is_some() {}
        }
        assert_eq!((link.neighbours.len(), link.waiting.len()), (NEIGHBOURS_MAX, WAITING_MAX));
    }

    #[test]
    fn damaged_frames_are_dropped() {
        let mut link = link();
        let whole = arp(ARP_REQUEST, THEIRS, OURS.1);
        for cut in 0..whole.len() {
            assert!(!link.incoming(&whole[..cut], 0));
            assert_eq!(link.next_frame(), None);
        }
        for cut in 0..HEADER_BYTES + 20 {
            assert!(!link.outgoing(&mut packet(THEIRS.1)[..cut], 0));
        }
    }
}
