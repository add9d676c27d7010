//! Front ends that corrupt, flood, hang and lie, beside honest ones that must not notice.
//! Each seed is another course of misdeeds; the honest pair transfers data throughout.

use drivers_backend::VifId;
use drivers_frontend::{Access, Platform};
use hypercall_abi::device::{NetError, NetPage, XenbusState};
use hypercall_abi::netif::{Receive, RxRequest, Transmit, TxRequest};
use hypercall_abi::ring::{FakePage, FrontRing, SharedPage, index};
use hypercall_abi::{DomId, GrantRef, Port};
use smoltcp::time::Duration;
use tests::{DRIVER, Device, FrontPlatform, Net};

/// A front end that keeps the rules only as far as it likes.
struct Hostile {
    platform: FrontPlatform,
    device: Device,
    half: NetPage<FakePage>,
    tx: FakePage,
    rx: FakePage,
    data: GrantRef,
    port: Port,
}

impl Hostile {
    /// Takes guest `at`'s place in the net and connects in good order.
    fn join(net: &mut Net, at: u16) -> Self {
        let device = net.attach(at, true);
        let mut platform = FrontPlatform { world: net.world.clone(), domain: Net::domain(at) };
        let mut page = |access| {
            let page = platform.allocate().unwrap();
            let reference = platform.grant(&page, DRIVER, access).unwrap();
            (page, reference)
        };
        let (tx, tx_ref) = page(Access::ReadWrite);
        let (rx, rx_ref) = page(Access::ReadWrite);
        let (_, data) = page(Access::ReadWrite);
        FrontRing::<_, Transmit>::new(tx.clone());
        FrontRing::<_, Receive>::new(rx.clone());
        let port = platform.open_port(DRIVER).unwrap();
        let half = NetPage::front(device.page.clone());
        half.offer(tx_ref, rx_ref, port);
        let mut hostile = Self { platform, device, half, tx, rx, data, port };
        hostile.enter(XenbusState::Initialised);
        net.run_back();
        hostile.enter(XenbusState::Connected);
        net.run_back();
        hostile
    }

    fn enter(&mut self, state: XenbusState) {
        self.half.set_state(state);
        self.platform.notify(self.device.front_port);
    }

    fn ring(&mut self) {
        self.platform.notify(self.port);
    }
}

/// Runs an honest transfer for a while with one misdeed at each moment; says how many bytes arrived.
fn honest_bytes(net: &mut Net, moments: u32, mut misdeed: impl FnMut(&mut Net, u32)) -> usize {
    let server = net.guests[1].stack.listen(80);
    let client = net.guests[0].stack.connect(Net::ipv4(1), 80, 40_000);
    let mut received = 0;
    for moment in 0..moments {
        misdeed(net, moment);
        net.run(Duration::from_millis(1));
        let socket = net.guests[0].stack.tcp(client);
        if socket.can_send() {
            socket.send_slice(&[7; 1400]).unwrap();
        }
        let socket = net.guests[1].stack.tcp(server);
        if socket.can_recv() {
            received += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
        }
    }
    received
}

#[test]
fn over_a_hundred_seeds_of_corruption_harm_only_the_culprit() {
    let clean = honest_bytes(&mut Net::new(2, 0, 0, true), 120, |_, _| {});
    assert!(clean > 100_000, "{clean}");
    let mut reasons = std::collections::BTreeSet::new();
    for seed in 0..130 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut net = Net::new(2, seed, 0, true);
        let mut hostile = Hostile::join(&mut net, 2);
        assert!(net.back.is_connected(VifId(2)));
        let received = honest_bytes(&mut net, 120, |net, _| {
            for _ in 0..random.u32(1..6) {
                match random.u32(0..12) {
                    0 => hostile.tx.store(index::REQ_PROD, random.u32(..)),
                    1 => hostile.rx.store(index::REQ_PROD, random.u32(..)),
                    2..=4 => {
                        let page = if random.bool() { &hostile.tx } else { &hostile.rx };
                        page.store(random.usize(0..1024) * 4, random.u32(..));
                    }
                    5 => {
                        let prod = hostile.tx.load(index::REQ_PROD);
                        hostile.tx.store(index::REQ_PROD, prod.wrapping_add(random.u32(0..300)));
                    }
                    6 => {
                        let prod = hostile.rx.load(index::REQ_PROD);
                        hostile.rx.store(index::REQ_PROD, prod.wrapping_add(random.u32(0..300)));
                    }
                    7 => hostile.device.page.store(random.usize(0..32) * 4, random.u32(0..8)),
                    8 => {
                        let state = random.u32(0..8);
                        hostile.device.page.store(0, state);
                        hostile.platform.notify(hostile.device.front_port);
                    }
                    9 => hostile.enter(XenbusState::Initialising),
                    10 => {
                        hostile.enter(XenbusState::Initialised);
                    }
                    _ => hostile.ring(),
                }
            }
            net.run_back();
        });
        assert_eq!(received, clean, "seed {seed}: the honest pair is as fast as alone");
        assert!(net.back.is_connected(VifId(0)) && net.back.is_connected(VifId(1)));
        reasons.insert(net.back.error(VifId(2)).unwrap().raw());
        net.back.remove(VifId(2));
        assert_eq!(net.world.state().mapped_of(Net::domain(2)), 0, "seed {seed}: nothing of it stays mapped");
    }
    assert!(reasons.contains(&NetError::Overrun.raw()), "the corruptions reached the check: {reasons:?}");
}

#[test]
fn an_index_that_runs_away_closes_the_device_with_a_reason() {
    for (ring, claimed) in [(0, 257), (1, 257), (0, u32::MAX), (1, 0x8000_0000)] {
        let mut net = Net::new(2, 0, 0, true);
        let mut hostile = Hostile::join(&mut net, 2);
        let page = if ring == 0 { &hostile.tx } else { &hostile.rx };
        page.store(index::REQ_PROD, claimed);
        // A packet for it makes the back end look at the receive ring.
        net.guests[0].stack.connect(Net::ipv4(2), 80, 40_000);
        hostile.ring();
        net.run(Duration::from_millis(5));
        assert_eq!(net.back.error(VifId(2)), Some(NetError::Overrun), "ring {ring}, index {claimed:#x}");
        assert_eq!(hostile.half.other_state(), XenbusState::Closed);
        assert_eq!(hostile.half.other_error(), NetError::Overrun.raw());
        assert_eq!(net.world.state().mapped_of(Net::domain(2)), 1, "only the device page stays mapped");
    }
}

#[test]
fn wrong_requests_are_refused_and_too_many_end_the_connection() {
    let mut net = Net::new(2, 0, 0, true);
    let mut hostile = Hostile::join(&mut net, 2);
    let mut ring = FrontRing::<_, Transmit>::new(hostile.tx.clone());
    let wrong = [
        TxRequest { gref: hostile.data.0, offset: 4000, flags: 0, id: 1, size: 100 },
        TxRequest { gref: hostile.data.0, offset: 0, flags: 0, id: 2, size: 13 },
        TxRequest { gref: hostile.data.0, offset: 0, flags: 0, id: 3, size: 1515 },
        TxRequest { gref: hostile.data.0, offset: 0, flags: 4, id: 4, size: 100 },
        TxRequest { gref: 9_999, offset: 0, flags: 0, id: 5, size: 100 },
    ];
    for request in &wrong {
        ring.push(request).unwrap();
    }
    let _ = ring.publish();
    hostile.ring();
    net.run_back();
    let mut answers: Vec<_> =
        std::iter::from_fn(|| ring.pop().unwrap()).map(|one| (one.id, one.status)).collect();
    answers.sort_unstable();
    assert_eq!(answers, [(1, -1), (2, -1), (3, -1), (4, -1), (5, -1)]);
    assert!(net.back.is_connected(VifId(2)));
    for _ in 0..20 {
        for request in &wrong {
            let _ = ring.push(request);
        }
        let _ = ring.publish();
        hostile.ring();
        net.run_back();
        while let Ok(Some(_)) = ring.pop() {}
    }
    assert_eq!(net.back.error(VifId(2)), Some(NetError::Requests));
}

#[test]
fn a_flood_gets_its_share_and_no_more() {
    let clean = honest_bytes(&mut Net::new(2, 0, 0, true), 120, |_, _| {});
    let mut net = Net::new(2, 0, 0, true);
    let mut hostile = Hostile::join(&mut net, 2);
    let mut ring = FrontRing::<_, Transmit>::new(hostile.tx.clone());
    let frame = [&Net::mac(1)[..], &Net::mac(2), &[8, 0], &[0; 86]].concat();
    let grant = hostile.platform.allocate().unwrap();
    grant.copy_in(0, &frame);
    let reference = hostile.platform.grant(&grant, DRIVER, Access::ReadOnly).unwrap();
    let received = honest_bytes(&mut net, 120, |_, _| {
        while let Ok(Some(_)) = ring.pop() {}
        while ring.push(&TxRequest { gref: reference.0, offset: 0, flags: 0, id: 0, size: 100 }).is_ok() {}
        let _ = ring.publish();
        hostile.ring();
    });
    assert!(received * 4 > clean, "{received} of {clean} bytes beside a flood of the receiver's own queue");
    assert!(net.back.is_connected(VifId(2)), "a flood of right requests is no error");
}

#[test]
fn a_guest_that_takes_nothing_holds_a_bounded_share_of_the_pool() {
    let mut net = Net::new(2, 0, 0, true);
    // Thirty guests that post no page and never answer.
    let hung: Vec<_> = (2..32).map(|at| Hostile::join(&mut net, at)).collect();
    for round in 0..200_u32 {
        for at in 2..32 {
            let frame =
                [&Net::mac(at)[..], &tests::HOST_MAC, &[8, 0], &round.to_be_bytes(), &[0; 60]].concat();
            net.wire.inject(&frame);
        }
        net.run_back();
    }
    let received = honest_bytes(&mut net, 120, |_, _| {});
    let clean = honest_bytes(&mut Net::new(2, 0, 0, true), 120, |_, _| {});
    assert_eq!(received, clean);
    assert_eq!(hung.len(), 30);
    assert!(net.back.vif_counters(VifId(2)).unwrap().dropped > 0);
}

#[test]
fn pages_that_are_not_for_writing_are_refused_for_receiving() {
    let mut net = Net::new(2, 0, 0, true);
    let mut hostile = Hostile::join(&mut net, 2);
    let page = hostile.platform.allocate().unwrap();
    let read_only = hostile.platform.grant(&page, DRIVER, Access::ReadOnly).unwrap();
    let mut ring = FrontRing::<_, Receive>::new(hostile.rx.clone());
    for gref in [read_only.0, 77_777, hostile.data.0] {
        ring.push(&RxRequest { id: gref as u16, pad: 0, gref }).unwrap();
    }
    let _ = ring.publish();
    for _ in 0..3 {
        net.wire.inject(&[&Net::mac(2)[..], &tests::HOST_MAC, &[8, 0], &[5; 50]].concat());
    }
    hostile.ring();
    net.run_back();
    let statuses: Vec<i16> = std::iter::from_fn(|| ring.pop().unwrap()).map(|one| one.status).collect();
    assert_eq!(statuses, [-1, -1, 64]);
}

#[test]
fn an_offer_of_what_was_not_granted_is_refused_with_a_reason() {
    let offers = [
        (GrantRef(4_000_000), true, true, NetError::TransmitRing),
        (GrantRef(0), false, true, NetError::ReceiveRing),
        (GrantRef(0), true, false, NetError::Port),
    ];
    for (wrong_tx, right_rx, right_port, reason) in offers {
        let mut net = Net::new(1, 0, 0, true);
        let device = net.attach(1, true);
        let mut platform = FrontPlatform { world: net.world.clone(), domain: Net::domain(1) };
        let mut ring = || {
            let page = platform.allocate().unwrap();
            platform.grant(&page, DRIVER, Access::ReadWrite).unwrap()
        };
        let (tx, rx) = (ring(), ring());
        let port = platform.open_port(DRIVER).unwrap();
        let half = NetPage::front(device.page.clone());
        half.offer(
            if wrong_tx.0 != 0 { wrong_tx } else { tx },
            if right_rx { rx } else { GrantRef(5_000_000) },
            if right_port { port } else { Port(6_000_000) },
        );
        half.set_state(XenbusState::Initialised);
        platform.notify(device.front_port);
        net.run_back();
        assert_eq!(half.other_state(), XenbusState::Closed);
        assert_eq!(half.other_error(), reason.raw());
        assert_eq!(net.world.state().mapped_of(Net::domain(1)), 1, "only the device page stays mapped");
        assert_eq!(DomId(11), Net::domain(1));
    }
}

#[test]
fn pages_that_change_before_each_read_harm_only_their_owner() {
    let clean = honest_bytes(&mut Net::new(2, 0, 0, true), 120, |_, _| {});
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..120 {
        let mut net = Net::new(2, seed, 0, true);
        net.back.platform().fickle = Some((Net::domain(2), seed));
        let mut hostile = Hostile::join(&mut net, 2);
        let received = honest_bytes(&mut net, 120, |net, moment| {
            match moment % 8 {
                0 => hostile.enter(XenbusState::Initialising),
                1 => hostile.enter(XenbusState::Initialised),
                _ => hostile.ring(),
            }
            net.wire.inject(&[&Net::mac(2)[..], &tests::HOST_MAC, &[8, 0], &[5; 50]].concat());
        });
        assert_eq!(received, clean, "seed {seed}: the honest pair is as fast as alone");
        ends.insert(net.back.error(VifId(2)).unwrap().raw());
        net.back.remove(VifId(2));
        assert_eq!(net.world.state().mapped_of(Net::domain(2)), 0, "seed {seed}: nothing of it stays mapped");
    }
    assert!(ends.len() > 1, "connections ended for different reasons: {ends:?}");
}
