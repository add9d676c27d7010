//! Pages: nobody holds more than a share of the back end's, nothing is lost when there are none, all come back, and whoever
//! waits for the front end's is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use drivers_backend::block::{Access, BlockBack, DiskId, SEGMENTS_MAX, Share};
use drivers_frontend::block::{BeginError, Ticket};
use hypercall_abi::Errno;
use tests::{BACK_PAGES, BackPlatform, DRIVER, Disks, TestDisk, World};

/// Sectors of a front end's part of the disk.
const PART: u64 = 4096;
/// Bytes of the longest operation, and its pages.
const LONG: usize = 64 * 4096;
const LONG_PAGES: usize = 64;

/// So many front ends, each with a part of one disk and pages for four long operations.
fn system(fronts: u64) -> Disks {
    let mut disks = Disks::new(vec![TestDisk::new(PART * fronts, 5)], true);
    for at in 0..fronts {
        let share = Share { disk: DiskId(0), first: at * PART, sectors: PART, access: Access::Write };
        disks.join(share, 4 * LONG_PAGES as u16 + 4);
    }
    disks
}

/// Begins so many long writes, and lets the back end take what it will while the disk does nothing.
fn begin(disks: &mut Disks, at: usize, count: u64) -> Vec<Ticket> {
    let data = vec![at as u8 + 1; LONG];
    let write = |place| disks.fronts[at].begin_write(place * (LONG / 512) as u64, &data).unwrap();
    let tickets = (0..count).map(write).collect();
    disks.fronts[at].push();
    (0..8).for_each(|_| {
        disks.run_back();
    });
    tickets
}

fn stick(disks: &Disks, stuck: bool) {
    disks.disks[0].medium.borrow_mut().stuck = stuck;
}

#[test]
fn a_flood_leaves_pages_for_its_neighbours_first_request() {
    let mut disks = system(3);
    stick(&disks, true);
    let flood = begin(&mut disks, 0, 4);
    let left = disks.back().free_pages();
    assert!(left >= BACK_PAGES / 2, "a flood holds {} of {BACK_PAGES} pages", BACK_PAGES - left);
    assert!(disks.back().under_way() >= 1, "and gets on itself");
    let others = [1, 2].map(|at| {
        let before = disks.back().under_way();
        let ticket = disks.fronts[at].begin_write(0, &[7; 4096]).unwrap();
        disks.fronts[at].push();
        disks.run_back();
        assert_eq!(disks.back().under_way(), before + 1, "front end {at} waits for nobody");
        (at, ticket)
    });
    stick(&disks, false);
    disks.run();
    others.into_iter().for_each(|(at, ticket)| assert_eq!(disks.result(at, ticket, &mut []), Some(Ok(()))));
    flood.into_iter().for_each(|ticket| assert_eq!(disks.result(0, ticket, &mut []), Some(Ok(()))));
    assert_eq!(disks.back().free_pages(), BACK_PAGES, "all come back");
}

#[test]
fn when_no_page_is_left_everybody_waits_and_nothing_is_lost() {
    let mut disks = system(8);
    stick(&disks, true);
    let mut open = Vec::new();
    for at in 0..8 {
        open.extend(begin(&mut disks, at, 4).into_iter().map(|ticket| (at, ticket)));
    }
    let wanted = open.len() * LONG_PAGES;
    assert!(wanted > 10 * BACK_PAGES, "much more is wanted than there is: {wanted}");
    let left = disks.back().free_pages();
    assert!(left < LONG_PAGES, "what there is is used: {left} are left");
    // Those that have none are not forgotten: whatever comes back goes on to somebody.
    stick(&disks, false);
    disks.run();
    for (at, ticket) in open {
        assert_eq!(disks.result(at, ticket, &mut []), Some(Ok(())), "front end {at}");
    }
    for at in 0..8 {
        assert_eq!(disks.read(at, 3 * (LONG / 512) as u64, LONG), Ok(vec![at as u8 + 1; LONG]));
    }
    assert_eq!(disks.back().free_pages(), BACK_PAGES, "all come back");
}

#[test]
fn front_ends_that_end_with_pages_in_use_give_them_back() {
    let mut disks = system(2);
    stick(&disks, true);
    let tickets = [begin(&mut disks, 0, 2), begin(&mut disks, 1, 2)].concat();
    disks.fronts.iter_mut().for_each(|front| front.close());
    (0..8).for_each(|_| {
        disks.run_back();
    });
    assert!(disks.back().free_pages() < BACK_PAGES, "the disk still has them");
    stick(&disks, false);
    disks.run();
    assert_eq!(disks.back().free_pages(), BACK_PAGES, "all come back");
    disks.fronts.iter_mut().for_each(|front| front.reconnect());
    disks.run();
    for (ticket, at) in tickets.into_iter().zip([0, 0, 1, 1]) {
        assert_eq!(disks.result(at, ticket, &mut []), Some(Ok(())), "sent again");
    }
}

#[test]
fn a_back_end_with_fewer_pages_than_one_request_takes_does_not_begin() {
    let platform = || BackPlatform { world: World::default(), domain: DRIVER, fickle: None };
    assert_eq!(BlockBack::new(platform(), SEGMENTS_MAX - 1).err(), Some(Errno::NoMem));
    assert!(BlockBack::new(platform(), SEGMENTS_MAX).is_ok());
}

#[test]
fn whoever_waits_for_pages_is_woken_in_order_and_nobody_is_forgotten() {
    let mut disks = Disks::new(vec![TestDisk::new(4096, 1)], true);
    disks.join(Disks::whole(0, Access::Write), 9);
    let held: Vec<_> = (0..4).map(|at| disks.fronts[0].begin_read(at, 2 * 4096).unwrap()).collect();
    assert_eq!(disks.fronts[0].begin_read(0, 512), Err(BeginError::Full));
    let flags: Vec<_> = (0..4).map(|_| Arc::new(Woken::default())).collect();
    for (flag, bytes) in flags.iter().zip([4 * 4096, 4096, 4096, 6 * 4096]) {
        disks.fronts[0].wake_for_room(bytes, &Waker::from(flag.clone()));
    }
    let woken = || flags.iter().map(|flag| flag.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
    disks.run();
    assert_eq!(disks.result(0, held[0], &mut []), Some(Ok(())));
    assert_eq!(woken(), [false; 4], "there is no room for the first");
    assert_eq!(disks.result(0, held[1], &mut []), Some(Ok(())));
    assert_eq!(woken(), [true, false, false, false]);
    assert_eq!(disks.result(0, held[2], &mut []), Some(Ok(())));
    assert_eq!(woken(), [true, true, true, false], "the first has not come");
    assert_eq!(disks.result(0, held[3], &mut []), Some(Ok(())));
    assert_eq!(woken(), [true; 4], "and nothing is under way that could wake the last");
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
