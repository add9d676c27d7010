//! The ring's handshake under every order that the memory model allows: no wakeup is lost.
//! loom tries them all; the same ring without its fence fails, which shows that the test can.

use hypercall_abi::netif::{Transmit, TxRequest, TxResponse};
use hypercall_abi::ring::{BackRing, FrontRing, Notify, SharedPage};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

/// The first words of a page, as loom's atomics; enough for the indices and a few slots.
#[derive(Clone)]
struct LoomPage {
    words: Arc<Vec<AtomicU32>>,
    fenced: bool,
}

impl LoomPage {
    fn new(fenced: bool) -> Self {
        Self { words: Arc::new((0..24).map(|_| AtomicU32::new(0)).collect()), fenced }
    }
}

impl SharedPage for LoomPage {
    fn load(&self, offset: usize) -> u32 {
        self.words[offset / 4].load(Ordering::Relaxed)
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        self.words[offset / 4].load(Ordering::Acquire)
    }
    fn store(&self, offset: usize, value: u32) {
        self.words[offset / 4].store(value, Ordering::Relaxed);
    }
    fn store_release(&self, offset: usize, value: u32) {
        self.words[offset / 4].store(value, Ordering::Release);
    }
    fn store_wide(&self, _offset: usize, _value: u64) {
        unreachable!("rings have no wide words")
    }
    fn fence(&self) {
        if self.fenced {
            fence(Ordering::SeqCst);
        }
    }
    fn copy_out(&self, _offset: usize, _into: &mut [u8]) {
        unreachable!("rings are words")
    }
    fn copy_in(&self, _offset: usize, _from: &[u8]) {
        unreachable!("rings are words")
    }
}

/// An event channel: stays raised until it is waited for.
type Event = Arc<loom::sync::Notify>;

fn request(id: u16) -> TxRequest {
    TxRequest { gref: u32::from(id) + 100, offset: 0, flags: 0, id, size: 60 }
}

/// A front end asks `count` times, publishing each; a back end sleeps whenever it is told that it may.
fn ask(count: u16, fenced: bool) {
    let page = LoomPage::new(fenced);
    let mut front = FrontRing::<_, Transmit>::new(page.clone());
    let event = Event::new(loom::sync::Notify::new());
    let raised = event.clone();
    let asker = thread::spawn(move || {
        for id in 0..count {
            front.push(&request(id)).unwrap();
            if front.publish() == Notify::Needed {
                raised.notify();
            }
        }
    });
    let mut back = BackRing::<_, Transmit>::attach(page);
    for id in 0..count {
        let taken = loop {
            if let Some(taken) = back.pop().unwrap() {
                break taken;
            }
            if !back.arm().unwrap() {
                event.wait();
            }
        };
        assert_eq!(taken, request(id), "what is published has been written");
    }
    asker.join().unwrap();
}

/// A back end answers what it finds; the front end sleeps whenever it is told that it may.
fn answer(fenced: bool) {
    let page = LoomPage::new(fenced);
    let mut front = FrontRing::<_, Transmit>::new(page.clone());
    for id in 0..2 {
        front.push(&request(id)).unwrap();
    }
    let _ = front.publish();
    let event = Event::new(loom::sync::Notify::new());
    let raised = event.clone();
    let answerer = thread::spawn(move || {
        let mut back = BackRing::<_, Transmit>::attach(page);
        while let Some(taken) = back.pop().unwrap() {
            back.push(&TxResponse { id: taken.id, status: 0 }).unwrap();
            if back.publish() == Notify::Needed {
                raised.notify();
            }
        }
    });
    for id in 0..2 {
        let taken = loop {
            if let Some(taken) = front.pop().unwrap() {
                break taken;
            }
            if !front.arm(1).unwrap() {
                event.wait();
            }
        };
        assert_eq!(taken.id, id);
    }
    answerer.join().unwrap();
}

#[test]
fn no_request_is_left_asleep() {
    loom::model(|| ask(2, true));
}

#[test]
fn no_response_is_left_asleep() {
    loom::model(|| answer(true));
}

/// One side publishes while the other is about to sleep; whether one of both noticed.
fn handshake(fenced: bool) {
    let page = LoomPage::new(fenced);
    let mut front = FrontRing::<_, Transmit>::new(page.clone());
    let mut back = BackRing::<_, Transmit>::attach(page);
    front.push(&request(0)).unwrap();
    let _ = front.publish();
    back.pop().unwrap().unwrap();
    let asker = thread::spawn(move || {
        front.push(&request(1)).unwrap();
        front.publish()
    });
    let seen = back.arm().unwrap();
    let told = asker.join().unwrap() == Notify::Needed;
    assert!(seen || told, "the back end sleeps on a request that nobody tells it of");
}

#[test]
fn whoever_sleeps_has_seen_the_request_or_is_told() {
    loom::model(|| handshake(true));
}

#[test]
#[should_panic(expected = "sleeps on a request")]
fn without_the_fence_a_request_is_left_asleep() {
    loom::model(|| handshake(false));
}
