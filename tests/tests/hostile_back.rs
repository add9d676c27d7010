//! Back ends that corrupt rings and states, against a front end that must survive.
//! Whatever is written, the front end reads nothing outside its pages, accepts no frame that is not one, and never hangs.

use drivers_frontend::{FakePlatform, FrontConfig, NetFront, TransmitError};
use hypercall_abi::device::{NetError, NetPage, XenbusState};
use hypercall_abi::netif::{Receive, RxResponse, Transmit, TxResponse};
use hypercall_abi::ring::{BackRing, FakePage, SharedPage, index};
use hypercall_abi::{DomId, GrantRef, Port};

/// A front end with its kernel, and the half of the device page from which a test plays the back end.
struct Bench {
    platform: FakePlatform,
    front: NetFront<FakePlatform, FakePage>,
    device: FakePage,
    half: NetPage<FakePage>,
}

impl Bench {
    fn new() -> Self {
        let platform = FakePlatform::new(64);
        let device = FakePage::default();
        let config = FrontConfig {
            peer: Some(DomId(1)),
            state_port: Port(900),
            suppress: true,
            receive_pages: 8,
            transmit_pages: 4,
        };
        let front = NetFront::new(platform.clone(), device.clone(), config);
        let half = NetPage::back(device.clone());
        Self { platform, front, device, half }
    }

    fn connected() -> (Self, FakePage, FakePage) {
        let mut bench = Self::new();
        bench.enter(XenbusState::InitWait);
        let (tx, rx) = bench.rings();
        bench.enter(XenbusState::Connected);
        assert!(bench.front.is_up());
        (bench, tx, rx)
    }

    fn enter(&mut self, state: XenbusState) {
        self.half.set_state(state);
        self.front.step();
    }

    fn page(&self, reference: GrantRef) -> FakePage {
        self.platform.grant_at(reference.0).expect("it is granted").page
    }

    /// Plays an honest back end that finds the device in whatever state it is.
    fn take_over(&mut self) -> (FakePage, FakePage) {
        self.half.set_error(NetError::None);
        self.enter(XenbusState::Closed);
        self.front.reconnect();
        self.enter(XenbusState::InitWait);
        let rings = self.rings();
        self.enter(XenbusState::Connected);
        rings
    }

    fn rings(&self) -> (FakePage, FakePage) {
        let (tx, rx, _) = self.half.offered();
        (self.page(tx), self.page(rx))
    }
}

#[test]
fn an_answer_to_nothing_closes_the_device() {
    let (mut bench, _, rx) = Bench::connected();
    let mut back = BackRing::<_, Receive>::attach(rx);
    let request = back.pop().unwrap().unwrap();
    back.push(&RxResponse { id: request.id, offset: 0, flags: 0, status: 60 }).unwrap();
    back.pop().unwrap().unwrap();
    back.push(&RxResponse { id: 500, offset: 0, flags: 0, status: 60 }).unwrap();
    let _ = back.publish();
    let mut frame = [0; 1514];
    assert_eq!(bench.front.receive(&mut frame), Some(60));
    assert_eq!(bench.front.receive(&mut frame), None);
    assert_eq!(bench.front.reason(), NetError::Unasked.raw());
    assert_eq!(bench.half.other_state(), XenbusState::Closing);
    assert!(bench.platform.grants() > 0, "nothing is taken back before the back end has let go");
    bench.enter(XenbusState::Closed);
    assert!(bench.front.is_closed());
    assert_eq!(bench.platform.grants(), 0);
}

#[test]
fn a_frame_outside_its_page_is_dropped() {
    let (mut bench, _, rx) = Bench::connected();
    let mut back = BackRing::<_, Receive>::attach(rx);
    let lies = [(4095, 2), (3000, 1200), (0, 1515), (0, 0), (0, -1), (0, i16::MIN), (65535, i16::MAX)];
    for (offset, status) in lies {
        let id = back.pop().unwrap().unwrap().id;
        back.push(&RxResponse { id, offset, flags: 0, status }).unwrap();
    }
    let _ = back.publish();
    let mut frame = [0; 1514];
    assert_eq!(bench.front.receive(&mut frame), None);
    assert_eq!(bench.front.counters().dropped, lies.len() as u64);
    assert!(bench.front.is_up());
    assert_eq!(back.ready(), Ok(8), "each page is posted again");
}

#[test]
fn a_back_end_that_takes_nothing_fills_the_ring_and_no_more() {
    let (mut bench, tx, _) = Bench::connected();
    let mut sent = 0;
    while bench.front.transmit(&[0; 60]).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 8, "two frames a page");
    assert_eq!(bench.front.transmit(&[0; 60]), Err(TransmitError::Full));
    let mut back = BackRing::<_, Transmit>::attach(tx);
    let id = back.pop().unwrap().unwrap().id;
    back.push(&TxResponse { id, status: 0 }).unwrap();
    assert_eq!(back.publish(), hypercall_abi::ring::Notify::Needed, "who waits for room asked to be told");
    assert_eq!(bench.front.transmit(&[0; 60]), Ok(()));
}

#[test]
fn pages_that_the_back_end_holds_are_kept_from_reuse() {
    let (mut bench, _, _) = Bench::connected();
    let (tx, rx, _) = bench.half.offered();
    bench.platform.set_mapped(tx.0, true);
    bench.front.close();
    bench.enter(XenbusState::Closed);
    assert!(bench.front.is_closed());
    assert_eq!(bench.platform.grants(), 1, "the page that is still mapped");
    bench.front.reconnect();
    bench.enter(XenbusState::InitWait);
    bench.enter(XenbusState::Connected);
    assert!(bench.front.is_up());
    assert_eq!(bench.platform.grants(), 1 + 2 + 8 + 4);
    bench.platform.set_mapped(tx.0, false);
    bench.front.close();
    bench.enter(XenbusState::Closed);
    bench.front.reconnect();
    bench.enter(XenbusState::InitWait);
    assert_eq!(bench.platform.grants(), 2 + 8 + 4, "the held page has come back");
    assert_ne!(tx, rx);
}

#[test]
fn over_a_hundred_seeds_of_corruption_leave_the_front_end_alive() {
    let mut closed = 0;
    let mut frames = 0;
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut bench, mut tx, mut rx) = Bench::connected();
        for _ in 0..400 {
            match random.u32(0..10) {
                0 => tx.store(index::RSP_PROD, tx.load(index::REQ_PROD).wrapping_sub(random.u32(0..4))),
                1 => rx.store(index::RSP_PROD, rx.load(index::RSP_PROD).wrapping_add(random.u32(0..3))),
                2 | 3 => tx.store(random.usize(0..1024) * 4, random.u32(..)),
                4 | 5 => rx.store(64 + random.usize(0..32) * 4, random.u32(0..8) | random.u32(0..3000) << 16),
                6 => bench.device.store(2048 + random.usize(0..8) * 4, random.u32(0..9)),
                7 => {
                    bench.front.step();
                }
                8 => {
                    let _ = bench.front.transmit(&vec![1; random.usize(0..1600)]);
                    bench.front.flush();
                }
                _ => {
                    let mut frame = [0; 1514];
                    while let Some(bytes) = bench.front.receive(&mut frame) {
                        assert!((1..=1514).contains(&bytes));
                        frames += 1;
                    }
                }
            }
            assert!(bench.platform.grants() <= 64);
            if !bench.front.is_up() && random.u32(0..4) == 0 {
                closed += 1;
                (tx, rx) = bench.take_over();
            }
        }
        (tx, rx) = bench.take_over();
        assert!(bench.front.is_up(), "seed {seed}");
        bench.front.transmit(&[9; 100]).unwrap();
        bench.front.flush();
        let mut back = BackRing::<_, Transmit>::attach(tx);
        assert_eq!(back.pop().unwrap().unwrap().size, 100);
        assert_eq!(BackRing::<_, Receive>::attach(rx).ready(), Ok(8));
    }
    assert!(
        closed > 100 && frames > 100,
        "the corruption reached both ends: {closed} closed, {frames} frames"
    );
}
