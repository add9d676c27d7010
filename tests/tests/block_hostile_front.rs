//! A front end that corrupts its ring, names pages that it did not grant, or takes them back: it harms itself alone.

use bad_ends::BadFront;
use drivers_backend::block::{Access, DiskId, Share, VbdId};
use drivers_frontend::{Access as PageAccess, Platform, StillInUse};
use hypercall_abi::blkif::{Block, BlockOp, BlockRequest, BlockSegment};
use hypercall_abi::device::{BlockError, BlockPage, XenbusState, block_features};
use hypercall_abi::ring::{FakePage, FrontRing, SharedPage};
use hypercall_abi::{DomId, GrantRef, Port};
use tests::{DRIVER, Device, Disks, FrontPlatform, TestDisk};

/// A front end that does as it likes.
struct Hostile {
    device: Device,
    half: BlockPage<FakePage>,
    ring: FakePage,
    platform: FrontPlatform,
    reference: GrantRef,
    port: Port,
    /// A page that may be written, one that may be read, and one that was taken back.
    grefs: [u32; 3],
    writable: FakePage,
    /// What it promises, and does not keep.
    promise: u32,
}

const AT: usize = 1;

fn share(first: u64) -> Share {
    Share { disk: DiskId(0), first, sectors: 512, access: Access::Write }
}

/// An honest front end on the first half of a disk, and a hostile one on the other.
fn world(seed: u64) -> (Disks, Hostile) {
    lending(seed, if seed.is_multiple_of(2) { block_features::PERSISTENT } else { 0 })
}

/// The same with what the hostile one promises.
fn lending(seed: u64, promise: u32) -> (Disks, Hostile) {
    let mut disks = Disks::new(vec![TestDisk::new(1024, seed)], true);
    disks.join(share(0), 20);
    let device = disks.attach(AT, share(512)).unwrap();
    let mut platform = FrontPlatform { world: disks.world.clone(), domain: Disks::domain(AT) };
    let mut granted = |access| {
        let page = platform.allocate().unwrap();
        let reference = platform.grant(&page, DRIVER, access).unwrap();
        (page, reference)
    };
    let (ring, reference) = granted(PageAccess::ReadWrite);
    let (writable, first) = granted(PageAccess::ReadWrite);
    let (_, second) = granted(PageAccess::ReadOnly);
    let (_, third) = granted(PageAccess::ReadWrite);
    platform.revoke(third).unwrap();
    let port = platform.open_port(DRIVER).unwrap();
    let half = BlockPage::front(device.page.clone());
    let grefs = [first.0, second.0, third.0];
    let mut hostile = Hostile { device, half, ring, platform, reference, port, grefs, writable, promise };
    hostile.connect();
    disks.run_back();
    assert!(disks.back().is_connected(VbdId(1)));
    (disks, hostile)
}

impl Hostile {
    fn connect(&mut self) {
        self.half.offer(self.reference, self.port, self.promise);
        self.enter(XenbusState::Initialised);
    }

    fn enter(&mut self, state: XenbusState) {
        self.half.set_state(state);
        self.platform.notify(self.device.front_port);
    }

    fn ring(&mut self) {
        self.platform.notify(self.port);
    }
}

/// The same with a front end that does whatever its seed says.
fn beside_bad(seed: u64) -> (Disks, BadFront<FrontPlatform, FakePage>, Port) {
    let mut disks = Disks::new(vec![TestDisk::new(1024, seed)], true);
    disks.join(share(0), 20);
    let device = disks.attach(AT, share(512)).unwrap();
    let platform = FrontPlatform { world: disks.world.clone(), domain: Disks::domain(AT) };
    let bad = BadFront::new(platform, device.page, DRIVER, device.front_port, seed).unwrap();
    (disks, bad, device.front_port)
}

/// Moments in which the honest front end does a fixed piece of work, beside whatever `each` does.
fn honest(disks: &mut Disks, mut each: impl FnMut(&mut Disks)) -> u32 {
    let mut moments = 0;
    for round in 0..12_u8 {
        let sector = u64::from(round) * 8;
        let write = disks.fronts[0].begin_write(sector, &[round; 4096]).unwrap();
        let flush = disks.fronts[0].begin_flush().unwrap();
        let mut left = vec![write, flush];
        while !left.is_empty() {
            each(disks);
            disks.moment();
            moments += 1;
            assert!(moments < 20_000, "the honest front end stands still");
            left.retain(|ticket| match disks.result(0, *ticket, &mut []) {
                Some(result) => {
                    assert_eq!(result, Ok(()));
                    false
                }
                None => true,
            });
        }
    }
    moments
}

/// What the honest front end wrote is there.
fn intact(disks: &mut Disks, seed: u64) {
    for round in 0..12_u8 {
        let read = disks.read(0, u64::from(round) * 8, 4096);
        assert_eq!(read, Ok(vec![round; 4096]), "seed {seed}");
    }
}

#[test]
fn over_a_hundred_seeds_of_corruption_harm_only_the_culprit() {
    let mut reasons = std::collections::BTreeSet::new();
    let (mut alone, mut beside, mut answered, mut requests) = (0, 0, 0, 0);
    for seed in 0..120 {
        let (mut disks, _hostile) = world(seed);
        alone += honest(&mut disks, |_| {});
        let (mut disks, mut bad, port) = beside_bad(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        beside += honest(&mut disks, |disks| {
            (0..random.u32(1..6)).for_each(|_| bad.act());
            reasons.insert(disks.back().error(VbdId(1)).unwrap().raw());
        });
        requests += bad.lies().requests;
        intact(&mut disks, seed);
        assert!(disks.back().is_connected(VbdId(0)));
        answered += disks.back().totals().answered;
        let ended = bad.lies().ended;
        let told: Vec<_> = std::iter::from_fn(|| disks.back().take_offence()).collect();
        assert!(
            told.iter().all(|offence| offence.vbd == VbdId(1)) && told.len() <= 1,
            "seed {seed}: {told:?}"
        );
        assert!(ended == 0 || told.len() == 1, "seed {seed}: {ended} connections ended and nobody was told");
        goes_on(&mut disks, bad, port, seed);
        disks.back().remove(VbdId(1));
        disks.run();
        assert_eq!(disks.world.state().mapped_of(DomId(11)), 0, "seed {seed}: nothing of it stays mapped");
        assert_eq!(disks.back().free_pages(), tests::BACK_PAGES, "seed {seed}: no page is lost");
        assert_eq!(disks.back().under_way(), 0, "seed {seed}");
    }
    assert!(beside < 3 * alone, "{beside} moments beside an attacker, {alone} alone");
    assert!(answered > 5_000, "only {answered} of {requests} requests were judged");
    for reason in [BlockError::Overrun, BlockError::Requests, BlockError::Ring, BlockError::Port] {
        assert!(reasons.contains(&reason.raw()), "{reason:?} was never found: {reasons:?}");
    }
}

/// Whoever was bad and closes in good order gets everything back, and is served when it begins again.
fn goes_on(disks: &mut Disks, mut bad: BadFront<FrontPlatform, FakePage>, port: Port, seed: u64) {
    let settled = (0..100).any(|_| {
        let settled = bad.settle();
        disks.run_back();
        settled
    });
    assert!(settled, "seed {seed}: the back end never lets go");
    let device = bad.end().unwrap_or_else(|_| panic!("seed {seed}: a page stays with the back end"));
    assert_eq!(
        disks.world.state().grants_of(DomId(11)),
        1,
        "seed {seed}: the device page is all that is granted"
    );
    let half = BlockPage::front(device);
    half.set_state(XenbusState::Initialising);
    FrontPlatform { world: disks.world.clone(), domain: Disks::domain(AT) }.notify(port);
    disks.run();
    assert_eq!(half.other_state(), XenbusState::InitWait, "seed {seed}");
}

#[test]
fn wrong_requests_are_refused_and_too_many_end_the_connection() {
    for promise in [0, block_features::PERSISTENT] {
        refuses_wrong_requests(promise);
    }
}

fn refuses_wrong_requests(promise: u32) {
    let (mut disks, mut hostile) = lending(1, promise);
    let mut ring = FrontRing::<_, Block>::new(hostile.ring.clone());
    let [writable, read_only, gone] = hostile.grefs;
    let one = |operation: BlockOp, id, sector, gref, first, last| {
        let mut request =
            BlockRequest { operation: operation.raw(), segments: 1, id, sector, ..BlockRequest::zeroed() };
        request.segment[0] = BlockSegment { gref, first_sector: first, last_sector: last, pad: 0 };
        request
    };
    let requests = [
        (one(BlockOp::Read, 1, 0, writable, 0, 7), 0),
        (one(BlockOp::Write, 2, 0, read_only, 0, 7), 0),
        (one(BlockOp::Read, 3, 0, read_only, 0, 7), -1),
        (one(BlockOp::Read, 4, 0, gone, 0, 7), -1),
        (one(BlockOp::Write, 5, 0, gone, 0, 7), -1),
        (one(BlockOp::Write, 6, 0, 99_999, 0, 7), -1),
        (one(BlockOp::Read, 7, 505, writable, 0, 7), -1),
        (one(BlockOp::Read, 8, u64::MAX, writable, 0, 0), -1),
        (one(BlockOp::Read, 9, 0, writable, 3, 2), -1),
        (one(BlockOp::Read, 10, 0, writable, 0, 8), -1),
        (BlockRequest { operation: 77, id: 11, ..BlockRequest::zeroed() }, -2),
        (one(BlockOp::WriteBarrier, 12, 9, read_only, 0, 7), 0),
        (BlockRequest { operation: 3, id: 13, ..BlockRequest::zeroed() }, 0),
    ];
    for (request, _) in &requests {
        ring.push(request).unwrap();
    }
    let _ = ring.publish();
    hostile.ring();
    disks.run();
    let mut answers: Vec<_> =
        std::iter::from_fn(|| ring.pop().unwrap()).map(|one| (one.id, one.status)).collect();
    answers.sort_unstable();
    let expected: Vec<_> = requests.iter().map(|(request, status)| (request.id, *status)).collect();
    assert_eq!(answers, expected);
    assert!(disks.back().is_connected(VbdId(1)));
    for _ in 0..10 {
        for id in 0..20 {
            let _ = ring.push(&one(BlockOp::Read, id, 600, writable, 0, 7));
        }
        let _ = ring.publish();
        hostile.ring();
        disks.run();
        while let Ok(Some(_)) = ring.pop() {}
    }
    assert_eq!(disks.back().error(VbdId(1)), Some(BlockError::Requests));
    assert_eq!(disks.world.state().mapped_of(DomId(11)), 1, "only the device page stays mapped");
}

/// What becomes of requests with numbers by chance, mostly nearly right, each after one that is right; and pages used in place.
fn judged(promise: u32) -> (Vec<i16>, u64) {
    let (mut disks, mut hostile) = lending(1, promise);
    let mut ring = FrontRing::<_, Block>::new(hostile.ring.clone());
    let mut random = fastrand::Rng::with_seed(7);
    let mut statuses = Vec::new();
    let right = BlockSegment { gref: hostile.grefs[0], first_sector: 0, last_sector: 7, pad: 0 };
    for at in 0..2000_u64 {
        let mut request = BlockRequest { segments: 1, id: at, ..BlockRequest::zeroed() };
        request.segment = [right; 11];
        if at % 2 == 1 {
            request.operation = random.u8(0..4);
            request.segments = random.u8(0..13);
            request.sector =
                random.choice([0, 1, 424, 425, 504, 505, 511, 512, u64::MAX - 7, u64::MAX]).unwrap();
            for segment in &mut request.segment {
                if random.u8(0..20) == 0 {
                    segment.gref =
                        random.choice([hostile.grefs[1], hostile.grefs[2], 9_999, u32::MAX]).unwrap();
                }
                if random.u8(0..10) == 0 {
                    (segment.first_sector, segment.last_sector) = (random.u8(0..9), random.u8(0..9));
                }
            }
        }
        ring.push(&request).unwrap();
        let _ = ring.publish();
        hostile.ring();
        disks.run();
        let answer = ring.pop().unwrap().expect("each is answered");
        assert_eq!(answer.id, at);
        statuses.push(answer.status);
    }
    (statuses, disks.back().totals().in_place)
}

#[test]
fn the_short_way_of_usual_requests_judges_as_the_long_one() {
    let ((short, in_place), (long, nowhere)) = (judged(block_features::PERSISTENT), judged(0));
    assert!(in_place > 1000 && nowhere == 0, "{in_place} pages were used in place, {nowhere}");
    assert_eq!(short, long);
    let refused = long.iter().filter(|status| **status != 0).count();
    assert!((200..900).contains(&refused), "{refused} were refused");
}

/// Asks for a page of the disk to be read into the first granted page, which holds 77.
fn ask_for_page(hostile: &mut Hostile, ring: &mut FrontRing<FakePage, Block>) {
    let mut request = BlockRequest { operation: 0, segments: 1, id: 5, ..BlockRequest::zeroed() };
    request.segment[0] = BlockSegment { gref: hostile.grefs[0], first_sector: 0, last_sector: 7, pad: 0 };
    hostile.writable.store(0, 77);
    ring.push(&request).unwrap();
    let _ = ring.publish();
    hostile.ring();
}

#[test]
fn a_page_that_is_lent_cannot_be_taken_back_before_the_disk_has_done_with_it() {
    let (mut disks, mut hostile) = lending(1, block_features::PERSISTENT);
    disks.disks[0].medium.borrow_mut().stuck = true;
    let mut ring = FrontRing::<_, Block>::new(hostile.ring.clone());
    ask_for_page(&mut hostile, &mut ring);
    disks.moment();
    assert_eq!(hostile.platform.revoke(GrantRef(hostile.grefs[0])), Err(StillInUse));
    // It goes, breaks its promise or dies: the page stays mapped for as long as the disk has it, and no longer.
    disks.back().remove(VbdId(1));
    disks.run_back();
    assert_eq!(disks.world.state().mapped_of(DomId(11)), 1, "the page that the disk has");
    assert_eq!(hostile.platform.revoke(GrantRef(hostile.grefs[0])), Err(StillInUse));
    disks.disks[0].medium.borrow_mut().stuck = false;
    disks.run();
    assert_eq!(hostile.platform.revoke(GrantRef(hostile.grefs[0])), Ok(()));
    assert_eq!((disks.back().mapped_pages(), disks.back().under_way()), (0, 0));
    assert_eq!(disks.world.state().mapped_of(DomId(11)), 0);
}

#[test]
fn a_broken_promise_costs_no_more_than_copies() {
    let (mut disks, hostile) = lending(1, block_features::PERSISTENT);
    let mut ring = FrontRing::<_, Block>::new(hostile.ring.clone());
    let mut hostile = hostile;
    // The page for reading cannot be mapped as promised; the copy of it is judged by itself, and what comes later too.
    for (id, gref, operation, status) in [
        (1, 1, BlockOp::Write, 0),
        (2, 1, BlockOp::Read, -1),
        (3, 0, BlockOp::Read, 0),
        (4, 2, BlockOp::Write, -1),
    ] {
        let mut request =
            BlockRequest { operation: operation.raw(), segments: 1, id, ..BlockRequest::zeroed() };
        request.segment[0] =
            BlockSegment { gref: hostile.grefs[gref], first_sector: 0, last_sector: 7, pad: 0 };
        ring.push(&request).unwrap();
        let _ = ring.publish();
        hostile.ring();
        disks.run();
        assert_eq!(ring.pop().unwrap().map(|one| (one.id, one.status)), Some((id, status)));
    }
    assert_eq!(disks.back().mapped_pages(), 0);
}

#[test]
fn a_request_whose_page_is_taken_back_meanwhile_is_an_error() {
    let (mut disks, mut hostile) = world(1);
    disks.disks[0].medium.borrow_mut().stuck = true;
    let mut ring = FrontRing::<_, Block>::new(hostile.ring.clone());
    ask_for_page(&mut hostile, &mut ring);
    disks.moment();
    hostile.platform.revoke(GrantRef(hostile.grefs[0])).unwrap();
    disks.disks[0].medium.borrow_mut().stuck = false;
    disks.run();
    assert_eq!(ring.pop().unwrap().map(|one| (one.id, one.status)), Some((5, -1)));
    assert_eq!(hostile.writable.load(0), 77, "nothing is written to a page that was taken back");
}

#[test]
fn pages_that_change_before_each_read_harm_only_their_owner() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..120 {
        let (mut disks, mut bad, _) = beside_bad(seed);
        disks.back().platform().fickle = Some((DomId(11), seed));
        honest(&mut disks, |disks| {
            bad.act();
            ends.insert(disks.back().error(VbdId(1)).unwrap().raw());
        });
        intact(&mut disks, seed);
        disks.back().remove(VbdId(1));
        disks.run();
        assert_eq!(disks.world.state().mapped_of(DomId(11)), 0, "seed {seed}: nothing of it stays mapped");
        assert_eq!(disks.back().free_pages(), tests::BACK_PAGES, "seed {seed}: no page is lost");
    }
    assert!(ends.len() > 1, "connections ended for different reasons: {ends:?}");
}

#[test]
fn an_offer_of_what_was_not_granted_is_refused_with_a_reason() {
    for (reference, port, reason) in
        [(Some(4_000_000), None, BlockError::Ring), (None, Some(6_000_000), BlockError::Port)]
    {
        let (mut disks, mut hostile) = world(1);
        hostile.enter(XenbusState::Initialising);
        disks.run_back();
        disks.run_back();
        let port = port.map_or(hostile.port, Port);
        hostile.half.offer(reference.map_or(hostile.reference, GrantRef), port, 0);
        hostile.enter(XenbusState::Initialised);
        disks.run_back();
        assert_eq!(hostile.half.other_state(), XenbusState::Closed);
        assert_eq!(hostile.half.other_error(), reason.raw());
        assert_eq!(disks.world.state().mapped_of(DomId(11)), 1, "only the device page stays mapped");
    }
}
