//! A back end that lies: responses twice, never, out of order, to nobody, states at random. The front end survives, ends what
//! cannot be trusted, and works with the next back end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use bad_ends::{BackLies, BadBack};
use drivers_backend::Platform as _;
use drivers_frontend::block::{BeginError, BlockConfig, BlockFront, DiskFault, Ticket, Trouble};
use hypercall_abi::blkif::{Block, BlockResponse};
use hypercall_abi::device::{BlockError, BlockPage, DiskFacts, XenbusState};
use hypercall_abi::ring::{BackRing, FakePage, SharedPage, index};
use hypercall_abi::{DomId, GrantRef, Port};
use tests::{BackPlatform, DRIVER, Device, FicklePage, Front, FrontPlatform, World};

const GUEST: DomId = DomId(10);
const PAGES: u16 = 20;

/// A back end that does as it likes.
struct Hostile {
    world: World,
    device: Device,
    half: BlockPage<FakePage>,
    platform: BackPlatform,
    wire: Option<(FicklePage, Port)>,
}

fn world() -> (Hostile, Front) {
    world_of(usize::MAX)
}

/// The same of a guest that has at most so many pages.
fn world_of(pages: usize) -> (Hostile, Front) {
    let world = World::default();
    let left = world.state().pages_left;
    world.state().pages_left = left.min(pages);
    let device = world.device(GUEST, DRIVER);
    let half = BlockPage::back(device.page.clone());
    let platform = BackPlatform { world: world.clone(), domain: DRIVER, fickle: None };
    let config = BlockConfig {
        peer: Some(DRIVER),
        state_port: device.front_port,
        suppress: true,
        pages: PAGES,
        lend: true,
    };
    let kernel = FrontPlatform { world: world.clone(), domain: GUEST };
    let front = BlockFront::new(kernel, device.page.clone(), config);
    (Hostile { world, device, half, platform, wire: None }, front)
}

impl Hostile {
    fn enter(&mut self, state: XenbusState) {
        self.half.set_state(state);
        self.platform.notify(self.device.back_port);
    }

    /// Connects as an honest back end does.
    fn connect(&mut self, front: &mut Front) {
        self.let_go();
        self.half.set_facts(&DiskFacts { sectors: 1000, features: 1, segments_max: 64 });
        self.enter(XenbusState::InitWait);
        self.run(front);
        let (ring, remote) = self.half.offered();
        let ring: GrantRef = ring;
        if let (Ok(page), Ok(port)) = (self.platform.map(GUEST, ring), self.platform.bind_port(GUEST, remote))
        {
            self.wire = Some((page, port));
            self.enter(XenbusState::Connected);
            self.run(front);
        }
    }

    fn let_go(&mut self) {
        if let Some((page, port)) = self.wire.take() {
            self.platform.unmap(page);
            self.platform.close_port(port);
        }
    }

    fn run(&mut self, front: &mut Front) {
        for _ in 0..20 {
            let fired = self.world.fired(GUEST);
            if fired.is_empty() {
                break;
            }
            for port in fired {
                if port == self.device.front_port {
                    front.step();
                } else {
                    front.collect();
                }
            }
            front.push();
        }
    }

    fn notify(&mut self) {
        if let Some((_, port)) = &self.wire {
            self.platform.notify(*port);
        }
    }
}

fn result(front: &mut Front, ticket: Ticket) -> Option<Result<(), DiskFault>> {
    let mut context = Context::from_waker(Waker::noop());
    match front.poll_finish(ticket, &mut [], &mut context) {
        std::task::Poll::Ready(result) => Some(result),
        std::task::Poll::Pending => None,
    }
}

fn answer(id: u64, status: i16) -> BlockResponse {
    BlockResponse { id, operation: 0, pad: 0, status, pad2: 0 }
}

#[test]
fn responses_out_of_order_are_right_and_one_given_twice_is_not() {
    let (mut hostile, mut front) = world();
    hostile.connect(&mut front);
    assert!(front.is_up());
    let tickets: Vec<_> = (0..4).map(|at| front.begin_read(at, 512).unwrap()).collect();
    front.push();
    let page = hostile.wire.as_ref().unwrap().0.inner().clone();
    let mut ring = BackRing::<_, Block>::attach(page);
    let ids: Vec<u64> = std::iter::from_fn(|| ring.pop().unwrap()).map(|request| request.id).collect();
    for (id, status) in [(ids[2], 0), (ids[0], -1), (ids[3], 1234)] {
        ring.push(&answer(id, status)).unwrap();
    }
    let _ = ring.publish();
    hostile.notify();
    hostile.run(&mut front);
    assert_eq!(result(&mut front, tickets[2]), Some(Ok(())));
    assert_eq!(result(&mut front, tickets[0]), Some(Err(DiskFault::Failed)));
    assert_eq!(result(&mut front, tickets[3]), Some(Err(DiskFault::Failed)), "an unknown status is an error");
    assert_eq!(result(&mut front, tickets[1]), None);
    ring.push(&answer(ids[2], 0)).unwrap();
    let _ = ring.publish();
    hostile.notify();
    hostile.run(&mut front);
    assert!(!front.is_up());
    assert_eq!(front.reason(), BlockError::Unasked.raw());
    assert_eq!(result(&mut front, tickets[1]), None, "what was not answered is kept");
    hostile.connect(&mut front);
    let page = hostile.wire.as_ref().unwrap().0.inner().clone();
    let mut ring = BackRing::<_, Block>::attach(page);
    let request = ring.pop().unwrap().expect("and sent again");
    assert_eq!((request.id, request.sector), (ids[1], 1));
    ring.push(&answer(request.id, 0)).unwrap();
    let _ = ring.publish();
    hostile.notify();
    hostile.run(&mut front);
    assert_eq!(result(&mut front, tickets[1]), Some(Ok(())));
}

/// What the queue takes out of the ring by itself.
fn taken(front: &mut Front) -> Vec<(Ticket, Result<(), DiskFault>)> {
    let done = std::iter::from_fn(|| {
        let done = front.take_done()?;
        front.give_buffer(done.buffer.expect("it had one"));
        Some((done.ticket, done.result))
    });
    done.collect()
}

#[test]
fn answers_that_the_queue_takes_itself_are_judged_as_all_others() {
    let (mut hostile, mut front) = world();
    for (lie, reason) in [
        (0, BlockError::Unasked),
        (1, BlockError::Unasked),
        (2, BlockError::Unasked),
        (3, BlockError::Overrun),
    ] {
        hostile.connect(&mut front);
        let tickets = [0, 1, 2, 3].map(|at| {
            let buffer = front.take_buffer(512).unwrap();
            front.begin_queued(false, at, buffer).unwrap()
        });
        front.push();
        let page = hostile.wire.as_ref().unwrap().0.inner().clone();
        let mut ring = BackRing::<_, Block>::attach(page.clone());
        let ids: Vec<u64> = std::iter::from_fn(|| ring.pop().unwrap()).map(|request| request.id).collect();
        for (id, status) in [(ids[2], 0), (ids[0], -1), (ids[3], 1234)] {
            ring.push(&answer(id, status)).unwrap();
        }
        let lied = match lie {
            // Twice; never asked, for a place that there is and for one that there is not.
            0 => ids[2],
            1 => ids[1] + (1 << 32),
            _ => ids[1] | 0xffff_0000,
        };
        if lie < 3 {
            ring.push(&answer(lied, 0)).unwrap();
        }
        let _ = ring.publish();
        let failed = Err(DiskFault::Failed);
        let mut right = vec![(tickets[2], Ok(())), (tickets[0], failed), (tickets[3], failed)];
        if lie == 3 {
            page.store(index::RSP_PROD, 1000);
            right.clear();
        }
        assert_eq!(taken(&mut front), right, "lie {lie}: in the order in which they came");
        assert!(!front.is_up() && taken(&mut front).is_empty());
        assert_eq!(front.reason(), reason.raw());
        let kept = 4 - right.len();
        assert_eq!(front.open(), kept, "what was not answered is kept");
        hostile.connect(&mut front);
        let mut ring = BackRing::<_, Block>::attach(hostile.wire.as_ref().unwrap().0.inner().clone());
        while let Some(request) = ring.pop().unwrap() {
            ring.push(&answer(request.id, 0)).unwrap();
        }
        let _ = ring.publish();
        assert_eq!(taken(&mut front).len(), kept, "and sent again");
        assert_eq!((front.open(), front.free_pages()), (0, usize::from(PAGES)));
    }
}

#[test]
fn a_back_end_that_never_behaves_is_given_up_and_says_so_to_whoever_waits() {
    let (mut hostile, mut front) = world();
    hostile.connect(&mut front);
    let ticket = front.begin_read(0, 512).unwrap();
    for round in 0..8 {
        assert_eq!(result(&mut front, ticket), None, "round {round}");
        assert!(front.is_up(), "round {round}");
        let page = hostile.wire.as_ref().unwrap().0.inner().clone();
        page.store(index::RSP_PROD, 1000);
        hostile.notify();
        hostile.run(&mut front);
        hostile.let_go();
        hostile.enter(XenbusState::Closed);
        hostile.run(&mut front);
        hostile.connect(&mut front);
    }
    assert!(front.is_closed());
    assert_eq!(front.reason(), BlockError::Overrun.raw());
    let told = Trouble { reason: BlockError::Overrun.raw(), times: 8, given_up: true };
    assert_eq!(front.take_trouble(), Some(told));
    assert_eq!(result(&mut front, ticket), Some(Err(DiskFault::Gone)));
    assert_eq!(front.begin_read(0, 512), Err(BeginError::Gone));
    assert_eq!(front.free_pages(), usize::from(PAGES));
    front.set_peer(None);
    front.set_peer(Some(DRIVER));
    hostile.connect(&mut front);
    assert!(front.is_up(), "another back end gets its chance");
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_waits_for_a_disk_hears_that_it_is_refused() {
    let (mut hostile, mut front) = world();
    let woken = Arc::new(Woken::default());
    front.wake_for_room(0, &woken.clone().into());
    hostile.half.set_error(BlockError::Disk);
    hostile.enter(XenbusState::Closed);
    hostile.run(&mut front);
    assert!(woken.0.load(Ordering::Relaxed));
    assert_eq!(front.begin_flush(), Err(BeginError::Gone));
}

#[test]
fn a_front_end_without_memory_for_a_connection_gives_up_and_says_so() {
    let told = Trouble { reason: BlockError::Memory.raw(), times: 0, given_up: true };
    // None for the ring, one for data, none at all.
    for pages in [usize::from(PAGES), 1, 0] {
        let (mut hostile, mut front) = world_of(pages);
        let woken = Arc::new(Woken::default());
        front.wake_for_room(0, &woken.clone().into());
        hostile.connect(&mut front);
        assert!(front.is_closed() && woken.0.load(Ordering::Relaxed), "{pages} pages");
        assert_eq!(front.take_trouble(), Some(told), "{pages} pages");
        assert_eq!(front.begin_flush(), Err(BeginError::Gone));
        assert_eq!(hostile.half.other_error(), BlockError::Memory.raw());
        assert_eq!(front.free_pages(), 0, "others have use for them");
    }
    let (mut hostile, mut front) = world_of(usize::from(PAGES) + 1);
    hostile.connect(&mut front);
    assert!(front.is_up());
    let ticket = front.begin_read(0, 512).unwrap();
    hostile.world.state().pages_left = 0;
    hostile.let_go();
    hostile.enter(XenbusState::Closed);
    hostile.run(&mut front);
    hostile.world.state().pages_left = 0;
    hostile.connect(&mut front);
    assert_eq!(result(&mut front, ticket), Some(Err(DiskFault::Gone)));
    hostile.world.state().pages_left = 1;
    front.set_peer(None);
    front.set_peer(Some(DRIVER));
    hostile.connect(&mut front);
    assert!(front.is_up(), "another back end is connected to with what memory there is then");
}

#[test]
fn a_page_that_is_not_let_go_of_is_replaced_with_its_data() {
    let (mut hostile, mut front) = world();
    hostile.connect(&mut front);
    let ticket = front.begin_write(7, &[0x5a; 512]).unwrap();
    front.push();
    let page = hostile.wire.as_ref().unwrap().0.inner().clone();
    let request = BackRing::<_, Block>::attach(page).pop().unwrap().unwrap();
    let held = hostile.platform.map(GUEST, GrantRef(request.segment[0].gref)).unwrap();
    hostile.let_go();
    hostile.enter(XenbusState::Closed);
    hostile.run(&mut front);
    hostile.connect(&mut front);
    held.inner().store(0, 0xdead);
    let page = hostile.wire.as_ref().unwrap().0.inner().clone();
    let request = BackRing::<_, Block>::attach(page).pop().unwrap().unwrap();
    let fresh = hostile.platform.map(GUEST, GrantRef(request.segment[0].gref)).unwrap();
    assert!(!fresh.inner().is(held.inner()), "the held page is used for nothing else");
    let mut data = [0; 512];
    fresh.copy_out(0, &mut data);
    assert_eq!(data, [0x5a; 512], "and its data has moved");
    assert_eq!(result(&mut front, ticket), None);
}

/// Each that has ended was begun, and has not ended before.
fn end(queued: &mut Vec<Ticket>, ended: Vec<(Ticket, Result<(), DiskFault>)>) {
    for (ticket, _) in ended {
        let at = queued.iter().position(|open| *open == ticket).expect("it was open");
        queued.swap_remove(at);
    }
}

#[test]
fn over_a_hundred_seeds_of_corruption_leave_the_front_end_alive() {
    let mut reasons = std::collections::BTreeSet::new();
    let mut lies = BackLies::default();
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut hostile, mut front) = world();
        let Device { reference, back_port, .. } = hostile.device;
        let mut bad = BadBack::new(hostile.platform.clone(), seed);
        bad.add(GUEST, back_port, reference, 1000).unwrap();
        hostile.run(&mut front);
        let (mut open, mut queued) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            if let Ok(buffer) = front.take_buffer(512 * random.usize(1..12)) {
                match front.begin_queued(random.bool(), random.u64(0..1200), buffer) {
                    Ok(ticket) => queued.push(ticket),
                    Err((_, buffer)) => front.give_buffer(buffer),
                }
            }
            if let Ok(ticket) = match random.u32(0..4) {
                0 => front.begin_read(random.u64(0..1200), 512 * random.usize(0..40)),
                1 => front.begin_write(random.u64(0..1200), &vec![1; 512 * random.usize(0..40)]),
                2 => front.begin_flush(),
                _ => front.begin_discard(random.u64(0..1200), random.u64(0..9)),
            } {
                open.push(ticket);
            }
            front.push();
            bad.turn();
            if random.bool() {
                end(&mut queued, taken(&mut front));
            }
            hostile.run(&mut front);
            open.retain(|ticket| result(&mut front, *ticket).is_none());
            if random.u32(0..10) == 0 && !open.is_empty() {
                front.abandon(open.swap_remove(random.usize(0..open.len())));
            }
            reasons.insert(front.reason());
        }
        let BackLies { answers, lies: told, connections } = bad.lies();
        lies.answers += answers;
        lies.lies += told;
        lies.connections += connections;
        // It dies, and an honest back end takes its place.
        bad.end();
        front.set_peer(None);
        hostile.half.set_error(BlockError::None);
        front.set_peer(Some(DRIVER));
        hostile.connect(&mut front);
        assert!(front.is_up(), "seed {seed}");
        for _ in 0..40 {
            let page = hostile.wire.as_ref().unwrap().0.inner().clone();
            let mut ring = BackRing::<_, Block>::attach(page);
            while let Some(request) = ring.pop().unwrap() {
                ring.push(&answer(request.id, 0)).unwrap();
            }
            let _ = ring.publish();
            hostile.notify();
            hostile.run(&mut front);
            open.retain(|ticket| result(&mut front, *ticket).is_none());
            end(&mut queued, taken(&mut front));
        }
        let open = open.len() + queued.len();
        assert_eq!(open, 0, "seed {seed}: so many operations never end");
        assert_eq!(
            (front.open(), front.free_pages()),
            (0, usize::from(PAGES)),
            "seed {seed}: no page is lost"
        );
    }
    for reason in [BlockError::Unasked, BlockError::Overrun, BlockError::Requests] {
        assert!(reasons.contains(&reason.raw()), "{reason:?} was never found: {reasons:?}");
    }
    assert!(
        lies.answers > 5_000 && lies.lies > 1_000 && lies.connections > 500,
        "little was tried: {lies:?}"
    );
}
