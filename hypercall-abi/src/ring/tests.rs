//! The ring's rules as tests, friendly and hostile.
//! A plain queue stands beside the ring as what it must be equal to.

extern crate std;

use core::cell::RefCell;
use std::collections::VecDeque;
use std::vec::Vec;

use super::*;
use crate::netif::{Receive, RxRequest, RxResponse, Transmit, TxRequest, TxResponse};

fn request(id: u32) -> TxRequest {
    TxRequest { gref: id, offset: id as u16, flags: 3, id: !(id as u16), size: 60 }
}

/// A small generator, so that the seeds mean the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

#[test]
fn slots_are_a_power_of_two_that_fits() {
    assert_eq!(slots(12), 256);
    assert_eq!(slots(8), 256);
    assert_eq!(slots(112), 32);
    for bytes in 1..2000 {
        let count = slots(bytes) as usize;
        assert!(count.is_power_of_two() && HEADER_BYTES + count * bytes <= crate::PAGE_SIZE);
        assert!(HEADER_BYTES + 2 * count * bytes > crate::PAGE_SIZE);
    }
}

#[test]
fn whoever_asked_for_an_index_is_notified_exactly_when_it_is_published() {
    for old in [0, 1, 500, u32::MAX - 2, u32::MAX] {
        for count in 1..5 {
            let new = old.wrapping_add(count);
            for event in 0..12_u32 {
                let event = old.wrapping_sub(4).wrapping_add(event);
                let published = (1..=count).any(|step| old.wrapping_add(step) == event);
                assert_eq!(must_notify(old, new, event), published, "{old} to {new}, event {event}");
            }
        }
    }
}

#[test]
fn a_full_ring_never_overwrites() {
    let page = FakePage::default();
    let mut front = FrontRing::<_, Transmit>::new(page.clone());
    for id in 0..Transmit::SLOTS {
        front.push(&request(id)).unwrap();
    }
    assert_eq!(front.push(&request(999)), Err(Full));
    assert_eq!(front.publish(), Notify::Needed);
    let mut back = BackRing::<_, Transmit>::attach(page);
    for id in 0..Transmit::SLOTS {
        assert_eq!(back.pop(), Ok(Some(request(id))));
    }
    assert_eq!(back.pop(), Ok(None));
    assert_eq!(front.push(&request(999)), Err(Full), "an answer has to be taken first");
}

#[test]
fn a_back_end_answers_no_more_than_it_was_asked() {
    let page = FakePage::default();
    let mut front = FrontRing::<_, Transmit>::new(page.clone());
    let mut back = BackRing::<_, Transmit>::attach(page);
    let answer = TxResponse { id: 1, status: 0 };
    assert_eq!(back.push(&answer), Err(Full));
    front.push(&request(1)).unwrap();
    assert_eq!(front.publish(), Notify::Needed);
    back.pop().unwrap();
    assert_eq!(back.push(&answer), Ok(()));
    assert_eq!(back.push(&answer), Err(Full));
}

#[test]
fn an_index_beyond_what_can_be_is_an_overrun() {
    let page = FakePage::default();
    let mut front = FrontRing::<_, Receive>::new(page.clone());
    let mut back = BackRing::<_, Receive>::attach(page.clone());
    for claimed in [Receive::SLOTS + 1, u32::MAX, 1 << 31] {
        page.store(index::REQ_PROD, claimed);
        assert_eq!(back.pop(), Err(Overrun { claimed, limit: Receive::SLOTS }));
        assert_eq!(back.arm(), Err(Overrun { claimed, limit: Receive::SLOTS }));
    }
    front.push(&RxRequest { id: 0, pad: 0, gref: 9 }).unwrap();
    assert_eq!(front.publish(), Notify::Needed);
    for claimed in [2, u32::MAX] {
        page.store(index::RSP_PROD, claimed);
        assert_eq!(front.pop(), Err(Overrun { claimed, limit: 1 }));
    }
}

#[test]
fn a_ring_is_a_queue_in_both_directions_wherever_its_indices_are() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let page = FakePage::default();
        let mut front = FrontRing::<_, Receive>::new(page.clone());
        let mut back = BackRing::<_, Receive>::attach(page.clone());
        let (mut asked, mut taken, mut answered) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let mut hidden = Vec::new();
        for step in 0..2000_u32 {
            match random.next() % 5 {
                0 => {
                    let one = RxRequest { id: step as u16, pad: 7, gref: step };
                    let room = asked.len() + taken.len() + answered.len() + hidden.len() < 256;
                    assert_eq!(front.push(&one).is_ok(), room, "seed {seed}");
                    if room {
                        asked.push_back(one);
                    }
                    let _ = front.publish();
                }
                1 => {
                    let one = back.pop().unwrap();
                    assert_eq!(one, asked.pop_front(), "seed {seed}");
                    taken.extend(one);
                }
                2 => {
                    if let Some(one) = taken.pop_front() {
                        let answer = RxResponse { id: one.id, offset: 1, flags: 2, status: 3 };
                        back.push(&answer).unwrap();
                        hidden.push(answer);
                    }
                }
                3 => {
                    let _ = back.publish();
                    answered.extend(hidden.drain(..));
                }
                _ => assert_eq!(front.pop().unwrap(), answered.pop_front(), "seed {seed}"),
            }
        }
    }
}

/// A page whose words another rewrites before each read.
struct FickleMemory {
    page: FakePage,
    random: RefCell<Random>,
}

impl FickleMemory {
    fn spoil(&self, offset: usize) {
        let mut random = self.random.borrow_mut();
        let value = match random.next() % 3 {
            0 => random.next(),
            1 => random.next() % 300,
            _ => return,
        };
        self.page.store(offset, value);
    }
}

impl SharedPage for FickleMemory {
    fn load(&self, offset: usize) -> u32 {
        self.spoil(offset);
        self.page.load(offset)
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        self.spoil(offset);
        self.page.load_acquire(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        self.page.store(offset, value);
    }
    fn store_release(&self, offset: usize, value: u32) {
        self.page.store_release(offset, value);
    }
    fn store_wide(&self, offset: usize, value: u64) {
        self.page.store_wide(offset, value);
    }
    fn fence(&self) {}
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        self.page.copy_out(offset, into);
    }
    fn copy_in(&self, offset: usize, from: &[u8]) {
        self.page.copy_in(offset, from);
    }
}

#[test]
fn memory_that_changes_before_each_read_breaks_no_bound() {
    let mut overruns = 0;
    for seed in 0..150 {
        let fickle = || FickleMemory { page: FakePage::default(), random: RefCell::new(Random(seed)) };
        let mut front = FrontRing::<_, Transmit>::new(fickle());
        let mut back = BackRing::<_, Transmit>::attach(fickle());
        for _ in 0..500 {
            let _ = front.push(&request(1));
            let _ = front.publish();
            overruns += u32::from(front.pop().is_err()) + u32::from(back.pop().is_err());
            let _ = front.arm(1);
            let _ = back.arm();
            let _ = back.push(&TxResponse { id: 0, status: 0 });
            let _ = back.publish();
            assert!(front.outstanding() <= Transmit::SLOTS);
            assert!(back.unanswered() <= Transmit::SLOTS);
        }
    }
    assert!(overruns > 1000);
}

#[test]
fn a_request_written_word_by_word_is_the_request() {
    use crate::blkif::{Block, BlockOp, BlockRequest, BlockSegment, SEGMENTS_MAX};
    use zerocopy::FromZeros;
    for count in 0..=SEGMENTS_MAX {
        let mut request = BlockRequest {
            operation: BlockOp::Write.raw(),
            segments: count as u8,
            id: 0x1234_5678_9abc_def0,
            sector: 77,
            ..BlockRequest::new_zeroed()
        };
        for (at, segment) in request.segment.iter_mut().enumerate().take(count) {
            *segment = BlockSegment { gref: 100 + at as u32, first_sector: 1, last_sector: 6, pad: 0 };
        }
        let page = FakePage::default();
        let mut front = FrontRing::<_, Block>::new(page.clone());
        let mut back = BackRing::<_, Block>::attach(page);
        for _ in 0..Block::SLOTS {
            let words: [u64; 14] = zerocopy::transmute!(request);
            let (head, rest) = words.split_first_chunk::<4>().unwrap();
            front.push_words(*head, rest.iter().take(count.saturating_sub(1)).copied()).unwrap();
        }
        assert_eq!(front.push_words([0; 4], []), Err(Full));
        let _ = front.publish();
        for _ in 0..Block::SLOTS {
            let mut seen = BlockRequest::new_zeroed();
            assert_eq!(back.pop_into(&mut seen), Ok(true));
            assert_eq!(seen.as_bytes(), request.as_bytes());
        }
    }
}
