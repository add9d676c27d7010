//! New connections for which no socket listens: they wait until one does.
//!
//! The TCP stack below has no queue of its own. It answers a SYN that finds no listening socket with a reset, and a
//! client that opens many connections at once would see refusals. Here such SYNs are kept until a socket listens, so
//! that a server can begin with few sockets and make more when they are wanted.

extern crate alloc;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

/// A client's end of a connection: address and port.
pub type Peer = ([u8; 4], u16);

/// How long a connection may take from its SYN until it is taken, and a SYN may wait.
const OPENING_US: u64 = 30_000_000;
/// How long a connection that its client reset may still count.
const RESET_US: u64 = 100_000;
/// How long after a connection was taken its SYN may arrive once more.
const TAKEN_US: u64 = 5_000_000;
/// The most connections of which that is remembered.
const TAKEN_MAX: usize = 256;
/// The most SYNs that wait; further ones are dropped, and their clients send them again.
const WAITING_MAX: usize = 128;
/// The longest frame that is kept: a SYN carries no data.
const SYN_BYTES_MAX: usize = 128;

/// A connection whose SYN was let through and that has not been taken.
#[derive(Clone, Copy, Debug)]
struct Opening {
    peer: Peer,
    /// Until when it counts.
    until_us: u64,
    /// Its SYN was answered at least once.
    answered: bool,
}

/// The listening sockets of one port, counted, and who waits for one.
#[derive(Debug)]
pub struct Backlog {
    port: u16,
    listening: usize,
    /// Sockets that will listen soon, because their connections make room.
    leaving: usize,
    opening: Vec<Opening>,
    /// Connections that were just taken, with the time until which a SYN of theirs is one that was sent again: another
    /// listening socket would take it for a new connection and break the first.
    taken: Vec<(Peer, u64)>,
    /// SYNs that wait for a listening socket, with the time until which they do.
    waiting: VecDeque<(Peer, u64, Vec<u8>)>,
    stack: Option<Waker>,
    server: Option<Waker>,
}

impl Backlog {
    /// A port that nobody listens on yet.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        Self {
            port,
            listening: 0,
            leaving: 0,
            opening: Vec::new(),
            taken: Vec::new(),
            waiting: VecDeque::new(),
            stack: None,
            server: None,
        }
    }

    /// One more socket listens.
    pub fn listen(&mut self) {
        self.listening += 1;
        if !self.waiting.is_empty()
            && let Some(waker) = self.stack.take()
        {
            waker.wake();
        }
    }

    /// A socket listens no more, because it has a connection to `peer` or for another reason.
    pub fn take(&mut self, peer: Option<Peer>, now_us: u64) {
        self.listening = self.listening.saturating_sub(1);
        self.opening.retain(|opening| Some(opening.peer) != peer);
        self.taken.retain(|&(_, until)| now_us < until);
        if let Some(peer) = peer.filter(|_| self.taken.len() < TAKEN_MAX) {
            self.taken.push((peer, now_us.saturating_add(TAKEN_US)));
        }
    }

    /// Polls for connections that wait: ready when another listening socket is wanted.
    pub fn poll_wanted(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_wanted() {
            return Poll::Ready(());
        }
        self.server = Some(context.waker().clone());
        Poll::Pending
    }

    /// Whether connections wait that no listening socket is there for.
    fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() && self.opening.len() >= self.listening
    }

    /// Whether a connection that could be spared should make room: one waits for which no other does so. If so it counts
    /// as leaving until [`Self::has_left`].
    #[must_use]
    pub fn makes_room(&mut self) -> bool {
        let free = (self.listening + self.leaving).saturating_sub(self.opening.len());
        let wanted = self.waiting.len() > free;
        self.leaving += usize::from(wanted);
        wanted
    }

    /// A connection that made room has ended; its socket listens next.
    pub fn has_left(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }

    /// Whether connections wait.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next SYN that waited and for which a socket listens now. Without one, `stack` is woken when there may be.
    pub fn next_frame(&mut self, now_us: u64, stack: &Waker) -> Option<Vec<u8>> {
        self.waiting.retain(|&(_, until, _)| now_us < until);
        if self.waiting.is_empty() {
            return None;
        }
        if self.opening.len() >= self.listening {
            self.stack = Some(stack.clone());
            self.wake_server();
            return None;
        }
        let (peer, _, frame) = self.waiting.pop_front()?;
        self.open(peer, now_us);
        Some(frame)
    }

    /// Whether the stack should see an Ethernet frame now: all but a SYN for which no socket would be left. Such a SYN
    /// is kept for [`Self::next_frame`].
    #[must_use]
    pub fn admits(&mut self, frame: &[u8], now_us: u64) -> bool {
        let Some(segment) = Segment::read(frame).filter(|segment| segment.port == self.port) else {
            return true;
        };
        let peer = segment.peer;
        if segment.flags & (RST | FIN) != 0 {
            self.taken.retain(|&(other, _)| other != peer);
        }
        if segment.flags & RST != 0 {
            // The socket that answered its SYN listens again, unless it had become a connection and is about to be taken.
            for opening in self.opening.iter_mut().filter(|opening| opening.peer == peer) {
                *opening = Opening { peer, until_us: now_us.saturating_add(RESET_US), answered: false };
            }
            self.waiting.retain(|&(other, _, _)| other != peer);
        }
        if segment.flags & (SYN | ACK) != SYN {
            return true;
        }
        if self.taken.iter().any(|&(other, until)| other == peer && now_us < until) {
            return false;
        }
        self.opening.retain(|opening| now_us < opening.until_us);
        if self.opening.iter().any(|opening| opening.peer == peer) {
            return true;
        }
        if self.opening.len() < self.listening && self.waiting.is_empty() {
            self.open(peer, now_us);
            return true;
        }
        self.keep(peer, frame, now_us);
        false
    }

    /// Looks at an IP packet that is to be sent. The answer to a SYN says how large segments may be; one that is sent
    /// again leaves that out, as it may: QEMU's user network takes the word for a reason to make its buffers anew, and so
    /// forgets a request that it has sent meanwhile and that was lost.
    pub fn sends(&mut self, packet: &mut [u8]) {
        if self.opening.is_empty() {
            return;
        }
        let Some(segment) = Segment::sent(packet).filter(|segment| segment.port == self.port) else { return };
        if segment.flags & (SYN | ACK) != SYN | ACK {
            return;
        }
        let opening = self.opening.iter_mut().find(|opening| opening.peer == segment.peer);
        if opening.is_some_and(|opening| core::mem::replace(&mut opening.answered, true)) {
            let _struck = strike_segment_size(packet);
        }
    }

    fn open(&mut self, peer: Peer, now_us: u64) {
        self.opening.push(Opening { peer, until_us: now_us.saturating_add(OPENING_US), answered: false });
    }

    fn keep(&mut self, peer: Peer, frame: &[u8], now_us: u64) {
        let known = self.waiting.iter().any(|&(other, _, _)| other == peer);
        if !known && self.waiting.len() < WAITING_MAX && frame.len() <= SYN_BYTES_MAX {
            self.waiting.push_back((peer, now_us.saturating_add(OPENING_US), frame.to_vec()));
        }
        self.wake_server();
    }

    fn wake_server(&mut self) {
        if let Some(waker) = self.server.take() {
            waker.wake();
        }
    }
}

const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// What of a TCP segment matters here.
struct Segment {
    peer: Peer,
    /// Ours.
    port: u16,
    flags: u8,
}

impl Segment {
    /// Reads a received Ethernet frame; `None` if it is no first fragment of TCP over IPv4.
    fn read(frame: &[u8]) -> Option<Self> {
        let (packet, segment) = split(frame.get(12..)?.strip_prefix(&[0x08, 0x00])?)?;
        let [source, source_low, target, target_low, ..] = *segment else { return None };
        Some(Self {
            peer: (*packet.get(12..)?.first_chunk()?, u16::from_be_bytes([source, source_low])),
            port: u16::from_be_bytes([target, target_low]),
            flags: *segment.get(13)?,
        })
    }

    /// Reads an IP packet of ours; `None` as above.
    fn sent(packet: &[u8]) -> Option<Self> {
        let (packet, segment) = split(packet)?;
        let [source, source_low, target, target_low, ..] = *segment else { return None };
        Some(Self {
            peer: (*packet.get(16..)?.first_chunk()?, u16::from_be_bytes([target, target_low])),
            port: u16::from_be_bytes([source, source_low]),
            flags: *segment.get(13)?,
        })
    }
}

/// The header and the segment of an IPv4 packet that is a first fragment of TCP.
fn split(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let [version_length, _, _, _, _, _, fragment, more, _, protocol, ..] = *packet else { return None };
    if version_length >> 4 != 4 || protocol != 6 || (fragment & 0x1f, more) != (0, 0) {
        return None;
    }
    packet.split_at_checked(usize::from(version_length & 0xf) * 4)
}

/// Writes no operations over a TCP segment's option on its size, if that comes first, and mends the checksum as RFC 1624
/// has it. `None` without such an option.
fn strike_segment_size(packet: &mut [u8]) -> Option<()> {
    const NO_OPERATIONS: [u8; 4] = [1; 4];
    let header = usize::from(packet.first()? & 0xf) * 4;
    let segment = packet.get_mut(header..)?;
    if segment.get(12)? >> 4 < 6 {
        return None;
    }
    let option: &mut [u8; 4] = segment.get_mut(20..)?.first_chunk_mut()?;
    let [2, 4, high, low] = *option else { return None };
    *option = NO_OPERATIONS;
    let checksum: &mut [u8; 2] = segment.get_mut(16..)?.first_chunk_mut()?;
    let mut sum = u32::from(!u16::from_be_bytes(*checksum));
    for word in [[2, 4], [high, low]] {
        sum += u32::from(!u16::from_be_bytes(word)) + u32::from(u16::from_be_bytes([1, 1]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    *checksum = (!(sum as u16)).to_be_bytes();
    Some(())
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

    fn next(backlog: &mut Backlog, now_us: u64) -> Option<u16> {
        let frame = backlog.next_frame(now_us, Waker::noop())?;
        Some(u16::from_be_bytes([frame[34], frame[35]]))
    }

    fn wanted(backlog: &mut Backlog) -> bool {
        backlog.poll_wanted(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_syn_without_a_listening_socket_waits_until_one_listens() {
        let mut backlog = Backlog::new(80);
        assert!(!wanted(&mut backlog));
        assert!(!backlog.admits(&frame(1, 80, SYN), 0));
        assert!(!backlog.admits(&frame(2, 80, SYN), 0));
        assert!(wanted(&mut backlog));
        assert_eq!(next(&mut backlog, 1), None);
        backlog.listen();
        assert_eq!(next(&mut backlog, 1), Some(1));
        assert_eq!(next(&mut backlog, 1), None);
        backlog.take(Some((ADDRESS, 1)), 1);
        assert_eq!(next(&mut backlog, 2), None);
        backlog.listen();
        assert_eq!(next(&mut backlog, 3), Some(2));
        assert!(!wanted(&mut backlog));
    }

    #[test]
    fn a_server_that_adds_one_socket_at_a_time_is_asked_until_nobody_waits() {
        struct Asked(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Asked {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let asked = std::sync::Arc::new(Asked(true.into()));
        let waker = Waker::from(asked.clone());
        let mut backlog = Backlog::new(80);
        assert!(backlog.poll_wanted(&mut Context::from_waker(&waker)).is_pending());
        for peer in 1..=12 {
            assert!(!backlog.admits(&frame(peer, 80, SYN), 0));
        }
        for peer in 1..=12 {
            assert!(
                asked.0.swap(false, std::sync::atomic::Ordering::SeqCst),
                "asked for the socket of {peer}"
            );
            assert!(backlog.poll_wanted(&mut Context::from_waker(&waker)).is_ready());
            backlog.listen();
            assert!(backlog.poll_wanted(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(next(&mut backlog, 1), Some(peer));
            assert_eq!(next(&mut backlog, 1), None);
        }
        assert!(!wanted(&mut backlog));
    }

    #[test]
    fn as_many_make_room_as_wait() {
        let mut backlog = Backlog::new(80);
        assert!(!backlog.makes_room());
        assert!(!backlog.admits(&frame(1, 80, SYN), 0));
        assert!(!backlog.admits(&frame(2, 80, SYN), 0));
        assert_eq!([(); 4].map(|()| backlog.makes_room()), [true, true, false, false]);
        backlog.has_left();
        backlog.listen();
        assert_eq!(next(&mut backlog, 1), Some(1));
        assert!(!backlog.makes_room(), "the other leaves for the second");
        backlog.has_left();
        backlog.listen();
        assert_eq!(next(&mut backlog, 1), Some(2));
        assert!(!backlog.makes_room());
    }

    #[test]
    fn whoever_waits_goes_before_newcomers() {
        let mut backlog = Backlog::new(80);
        assert!(!backlog.admits(&frame(1, 80, SYN), 0));
        backlog.listen();
        assert!(!backlog.admits(&frame(2, 80, SYN), 1));
        assert_eq!(next(&mut backlog, 1), Some(1));
    }

    #[test]
    fn a_syn_that_is_sent_again_counts_once() {
        let mut backlog = Backlog::new(80);
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 0));
        assert!(backlog.admits(&frame(1, 80, SYN), 1));
        assert!(!backlog.admits(&frame(2, 80, SYN), 2));
        assert!(!backlog.admits(&frame(2, 80, SYN), 2));
        assert_eq!(backlog.waiting.len(), 1);
    }

    #[test]
    fn a_syn_that_comes_once_more_does_not_break_its_connection() {
        let mut backlog = Backlog::new(80);
        backlog.listen();
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 0));
        backlog.take(Some((ADDRESS, 1)), 1);
        assert!(!backlog.admits(&frame(1, 80, SYN), 2));
        assert!(!backlog.has_waiting());
        assert!(backlog.admits(&frame(1, 80, FIN | ACK), 3));
        assert!(backlog.admits(&frame(1, 80, SYN), 4), "the client's next connection");
    }

    #[test]
    fn a_client_that_gives_up_or_goes_silent_makes_room() {
        let mut backlog = Backlog::new(80);
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 0));
        assert!(backlog.admits(&frame(1, 80, RST), 1));
        assert!(!backlog.admits(&frame(2, 80, SYN), 2), "its socket may have been about to be taken");
        assert!(backlog.admits(&frame(2, 80, RST), 3));
        assert!(backlog.admits(&frame(3, 80, SYN), 1 + RESET_US));
        assert!(backlog.admits(&frame(4, 80, SYN), 1 + RESET_US + OPENING_US));
        assert!(!backlog.admits(&frame(5, 80, SYN), 1 + RESET_US + OPENING_US));
        assert_eq!(next(&mut backlog, 2 + 3 * OPENING_US), None, "it has waited too long");
    }

    /// A SYN's answer, with an option on the size of segments first and another one behind it.
    fn answer(peer: u16) -> Vec<u8> {
        let mut packet = std::vec![0; 20 + 20 + 8];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&[10, 16, 1, 1]);
        packet[16..20].copy_from_slice(&ADDRESS);
        packet[20..22].copy_from_slice(&80_u16.to_be_bytes());
        packet[22..24].copy_from_slice(&peer.to_be_bytes());
        packet[20 + 12] = 7 << 4;
        packet[20 + 13] = SYN | ACK;
        packet[40..48].copy_from_slice(&[2, 4, 0x05, 0xb4, 1, 3, 3, 0]);
        let sum = !sum_of(&packet[12..]);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// The sum of a segment and of what a checksum covers of its packet's header, but for two constants.
    fn sum_of(covered: &[u8]) -> u16 {
        let words = covered.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        words.fold(0, |sum, word| (sum + word) % 0xffff) as u16
    }

    #[test]
    fn an_answer_that_is_sent_again_says_nothing_of_the_size_of_segments() {
        let mut backlog = Backlog::new(80);
        backlog.listen();
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 0));
        assert!(backlog.admits(&frame(2, 80, SYN), 0));
        for peer in [1, 2] {
            let mut packet = answer(peer);
            backlog.sends(&mut packet);
            assert_eq!(packet, answer(peer), "the first says it");
            backlog.sends(&mut packet);
            assert_eq!(packet[40..], [1, 1, 1, 1, 1, 3, 3, 0]);
            assert_eq!(sum_of(&packet[12..]), 0, "the checksum holds");
            let struck = packet.clone();
            backlog.sends(&mut packet);
            assert_eq!(packet, struck);
        }
        assert!(backlog.admits(&frame(1, 80, RST), 1));
        let mut packet = answer(1);
        backlog.sends(&mut packet);
        assert_eq!(packet, answer(1), "the client's next connection");
    }

    #[test]
    fn what_is_sent_and_answers_no_syn_stays_as_it_is() {
        let mut backlog = Backlog::new(80);
        backlog.listen();
        assert!(backlog.admits(&frame(1, 80, SYN), 0));
        backlog.sends(&mut answer(1));
        let unchanged = |backlog: &mut Backlog, packet: &[u8]| {
            let mut sent = packet.to_vec();
            backlog.sends(&mut sent);
            sent == packet
        };
        assert!(unchanged(&mut backlog, &answer(2)), "nobody known");
        let mut data = answer(1);
        data[20 + 13] = ACK;
        assert!(unchanged(&mut backlog, &data));
        let mut other_first = answer(1);
        other_first[40..48].copy_from_slice(&[1, 3, 3, 0, 2, 4, 0x05, 0xb4]);
        assert!(unchanged(&mut backlog, &other_first));
        let mut no_options = answer(1);
        no_options[20 + 12] = 5 << 4;
        assert!(unchanged(&mut backlog, &no_options));
        for cut in 0..44 {
            assert!(unchanged(&mut backlog, &answer(1)[..cut]));
        }
        backlog.take(Some((ADDRESS, 1)), 1);
        assert!(unchanged(&mut backlog, &answer(1)));
    }

    #[test]
    fn a_flood_of_syns_takes_bounded_memory() {
        let mut backlog = Backlog::new(80);
        for peer in 0..1000 {
            assert!(!backlog.admits(&frame(peer, 80, SYN), 0));
        }
        assert_eq!(backlog.waiting.len(), WAITING_MAX);
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
