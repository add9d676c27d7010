//! Two block drivers and a disk joined in one process: what was read, written and flushed is what a disk would hold.

use drivers_backend::block::{Access, AddError, DiskId, NoRoom, RamDisk, Share, VbdId};
use drivers_frontend::block::{BeginError, DiskFault};
use hypercall_abi::device::{BlockError, BlockPage, XenbusState, block_features};
use tests::{Disks, TestDisk};

fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..bytes).map(|_| random.u8(..)).collect()
}

/// One disk with one writer.
fn single(seed: u64, suppress: bool) -> Disks {
    let mut disks = Disks::new(vec![TestDisk::new(4096, seed)], suppress);
    disks.join(Disks::whole(0, Access::Write), 80);
    disks
}

#[test]
fn what_is_written_is_read_at_every_size() {
    for suppress in [true, false] {
        let mut disks = single(1, suppress);
        let most = disks.fronts[0].bytes_max();
        assert_eq!(most, 64 * 4096, "indirect requests are used");
        // Below and above what fits in a page, and in a request without indirect segments.
        for (at, bytes) in [512, 1024, 4096, 4608, 11 * 4096, 11 * 4096 + 512, most].into_iter().enumerate() {
            let data = pattern(at as u64, bytes);
            assert_eq!(disks.write(0, 3, &data), Ok(()), "{bytes} bytes");
            assert_eq!(disks.read(0, 3, bytes), Ok(data), "{bytes} bytes");
        }
        assert_eq!(disks.flush(0), Ok(()));
        assert_eq!(disks.back().totals().failed, 0);
        assert_eq!(disks.back().free_pages(), tests::BACK_PAGES, "no page is lost");
        assert_eq!(disks.fronts[0].free_pages(), 80, "no page is lost");
    }
}

#[test]
fn many_requests_are_under_way_at_once_and_save_notifications() {
    let raised = [true, false].map(|suppress| {
        let mut disks = single(7, suppress);
        let before = disks.world.state().raised;
        let mut begin = |at| {
            let ticket = disks.fronts[0].begin_write(at * 8, &pattern(at, 4096)).unwrap();
            // Told of the first, the back end needs no word of the next until it has looked.
            disks.fronts[0].push();
            ticket
        };
        let mut open: Vec<_> = (0..60).map(&mut begin).collect();
        disks.run();
        for ticket in open.drain(..) {
            assert_eq!(disks.result(0, ticket, &mut []), Some(Ok(())));
        }
        for at in 0..60 {
            assert_eq!(disks.read(0, at * 8, 4096), Ok(pattern(at, 4096)));
        }
        assert_eq!(disks.fronts[0].counters().suppressed > 0, suppress);
        disks.world.state().raised - before
    });
    assert!(raised[0] < raised[1], "with suppression {} and without {}", raised[0], raised[1]);
}

#[test]
fn a_request_costs_a_copy_a_page_and_one_for_segments_that_do_not_fit_in_it() {
    let mut disks = Disks::new(vec![TestDisk::new(4096, 3)], true);
    disks.lend = false;
    disks.join(Disks::whole(0, Access::Write), 80);
    for (pages, copies) in [(1, 1), (11, 11), (12, 13), (64, 65)] {
        let before = disks.back().totals().copies;
        assert_eq!(disks.write(0, 0, &pattern(1, pages * 4096)), Ok(()));
        assert_eq!(disks.back().totals().copies - before, copies, "written, {pages} pages");
        disks.read(0, 0, pages * 4096).unwrap();
        assert_eq!(disks.back().totals().copies - before, 2 * copies, "read, {pages} pages");
    }
    assert_eq!((disks.back().totals().in_place, disks.back().mapped_pages()), (0, 0));
}

#[test]
fn pages_that_are_lent_are_mapped_once_and_used_where_they_are() {
    let mut disks = single(3, true);
    for pages in [1, 11, 12, 64] {
        let before = disks.back().totals().in_place;
        for round in 0..4 {
            assert_eq!(disks.write(0, 0, &pattern(round, pages * 4096)), Ok(()));
            assert_eq!(disks.read(0, 0, pages * 4096), Ok(pattern(round, pages * 4096)));
        }
        assert_eq!(disks.back().totals().in_place - before, 8 * pages as u64);
    }
    assert_eq!(disks.back().totals().copies, 0);
    assert!(disks.back().mapped_pages() <= 80);
    disks.fronts[0].close();
    disks.run();
    assert_eq!(disks.back().mapped_pages(), 0);
    assert_eq!(disks.world.state().mapped_of(Disks::domain(0)), 1, "only the device page stays mapped");
}

#[test]
fn more_pages_than_can_be_mapped_are_copied() {
    let mut disks = Disks::new(vec![TestDisk { read_only: true, ..TestDisk::new(4096, 3) }], true);
    for at in 0..6 {
        disks.join(Disks::whole(0, Access::Read), 400);
        let tickets: Vec<_> =
            (0..6).map(|_| disks.fronts[at].begin_read(0, 64 * 4096).expect("a read begins")).collect();
        disks.run();
        for ticket in tickets {
            assert_eq!(disks.result(at, ticket, &mut []), Some(Ok(())));
        }
    }
    let totals = *disks.back().totals();
    assert!(totals.copies > 0 && totals.in_place > 1000, "{totals:?}");
    assert!((1000..=1536).contains(&disks.back().mapped_pages()), "{}", disks.back().mapped_pages());
}

#[test]
fn what_does_not_fit_the_disk_is_refused_before_it_is_sent() {
    let mut disks = single(1, true);
    let front = &mut disks.fronts[0];
    assert_eq!(front.begin_read(0, 0), Err(BeginError::Length(0)));
    assert_eq!(front.begin_read(0, 513), Err(BeginError::Length(513)));
    assert_eq!(front.begin_read(0, 65 * 4096), Err(BeginError::Length(65 * 4096)));
    assert_eq!(front.begin_read(4096, 512), Err(BeginError::Range));
    assert_eq!(front.begin_write(4095, &[0; 1024]), Err(BeginError::Range));
    assert_eq!(front.begin_write(u64::MAX, &[0; 512]), Err(BeginError::Range));
    assert_eq!(front.begin_discard(4000, 97), Err(BeginError::Range));
    assert!(front.begin_read(4095, 512).is_ok());
}

#[test]
fn a_reader_cannot_write_and_sees_its_range_only() {
    let disk = TestDisk::new(100, 1);
    (0..100).for_each(|sector| disk.medium.borrow_mut().preset(sector, [sector as u8; 512]));
    let mut disks = Disks::new(vec![disk], true);
    let share = Share { disk: DiskId(0), first: 40, sectors: 10, access: Access::Read };
    disks.join(share, 16);
    let facts = disks.fronts[0].facts().unwrap();
    assert_eq!(facts.sectors, 10);
    assert_eq!(facts.features, block_features::READ_ONLY | block_features::PERSISTENT);
    assert_eq!(disks.read(0, 9, 512), Ok(vec![49; 512]));
    assert_eq!(disks.fronts[0].begin_write(0, &[0; 512]), Err(BeginError::ReadOnly));
    assert_eq!(disks.fronts[0].begin_discard(0, 1), Err(BeginError::ReadOnly));
    assert_eq!(disks.flush(0), Err(DiskFault::NotSupported));
}

#[test]
fn shares_that_cannot_be_are_refused() {
    let read_only = TestDisk { read_only: true, ..TestDisk::new(100, 1) };
    let mut disks = Disks::new(vec![TestDisk::new(100, 1), read_only], true);
    let share = |first, sectors, access| Share { disk: DiskId(0), first, sectors, access };
    let over = Access::Overlay { memory_bytes: 4096 };
    assert_eq!(disks.attach(0, Disks::whole(2, Access::Read)).unwrap_err(), AddError::NoDisk(DiskId(2)));
    assert_eq!(disks.attach(0, share(90, 11, Access::Read)).unwrap_err(), AddError::Range);
    assert_eq!(disks.attach(0, Disks::whole(1, Access::Write)).unwrap_err(), AddError::ReadOnly);
    disks.attach(0, share(10, 10, Access::Write)).unwrap();
    for access in [Access::Write, Access::Read, over] {
        assert_eq!(disks.attach(1, share(19, 2, access)).unwrap_err(), AddError::Shared(VbdId(0)));
    }
    disks.attach(1, share(20, 10, over)).unwrap();
    disks.attach(2, share(20, 10, Access::Read)).unwrap();
    assert_eq!(disks.attach(3, share(25, 1, Access::Write)).unwrap_err(), AddError::Shared(VbdId(1)));
    assert_eq!(disks.attach(1, share(50, 10, over)).unwrap_err(), AddError::Exists);
}

#[test]
fn two_hundred_and_fifty_six_overlays_leave_their_base_alone_and_take_what_was_written() {
    let base = TestDisk { read_only: true, ..TestDisk::new(256, 3) };
    let image = pattern(5, 256 * 512);
    for (sector, bytes) in (0..).zip(image.chunks_exact(512)) {
        base.medium.borrow_mut().preset(sector, bytes.try_into().unwrap());
    }
    let mut disks = Disks::new(vec![base.clone()], true);
    for at in 0..256 {
        disks.join(Disks::whole(0, Access::Overlay { memory_bytes: 64 << 10 }), 12);
        let mine = pattern(1000 + at as u64, 3 * 512);
        // A write that begins and ends within blocks of the overlay.
        assert_eq!(disks.write(at, 6, &mine), Ok(()));
        let mut expected = image[4 * 512..12 * 512].to_vec();
        expected[2 * 512..5 * 512].copy_from_slice(&mine);
        assert_eq!(disks.read(at, 4, 8 * 512), Ok(expected), "a read joins both");
        assert_eq!(disks.flush(at), Ok(()));
        assert_eq!(disks.back().overlay_bytes(VbdId(at as u16)), Some(2 * 4096));
    }
    for (sector, bytes) in (0..).zip(image.chunks_exact(512)) {
        assert_eq!(base.medium.borrow().read(sector), *bytes, "the base is as it was");
    }
}

#[test]
fn a_full_overlay_refuses_and_loses_nothing() {
    let mut disks = Disks::new(vec![TestDisk { read_only: true, ..TestDisk::new(256, 3) }], true);
    disks.join(Disks::whole(0, Access::Overlay { memory_bytes: 3 * 4096 }), 16);
    assert_eq!(disks.write(0, 0, &pattern(1, 8192)), Ok(()));
    assert_eq!(disks.back().take_full(), None);
    // Two more blocks are needed and one is free: nothing of it is written.
    assert_eq!(disks.write(0, 20, &pattern(2, 4096)), Err(DiskFault::Failed));
    assert_eq!(disks.read(0, 20, 4096), Ok(vec![0; 4096]));
    assert_eq!(
        (disks.back().take_full(), disks.back().take_full()),
        (Some((VbdId(0), NoRoom::Limit)), None),
        "told once"
    );
    assert_eq!(disks.write(0, 16, &pattern(3, 4096)), Ok(()), "what fits is written");
    assert_eq!(disks.write(0, 8, &pattern(4, 4096)), Ok(()), "and what is there is overwritten");
    assert_eq!(disks.read(0, 0, 4096), Ok(pattern(1, 8192)[..4096].to_vec()));
}

#[test]
fn each_domain_whose_disk_is_full_is_told_of_once() {
    let share = Disks::whole(0, Access::Overlay { memory_bytes: 4096 });
    let mut disks = Disks::new(vec![TestDisk { read_only: true, ..TestDisk::new(256, 3) }], true);
    for life in 0..3 {
        disks.join(share, 16);
        for _ in 0..3 {
            assert_eq!(disks.write(0, 0, &pattern(life, 8192)), Err(DiskFault::Failed));
            disks.fronts[0].close();
            disks.run();
            disks.fronts[0].reconnect();
            disks.run();
        }
        let told = [disks.back().take_full(), disks.back().take_full()];
        assert_eq!(told, [Some((VbdId(0), NoRoom::Limit)), None], "life {life}");
        // Its domain is gone, and the next one in its place has the same disk.
        disks.back().remove(VbdId(0));
        disks.fronts.clear();
        disks.devices.clear();
    }
}

#[test]
fn what_an_overlay_discards_is_its_base_again_and_leaves_room() {
    let mut disks = Disks::new(vec![TestDisk { read_only: true, ..TestDisk::new(256, 3) }], true);
    disks.join(Disks::whole(0, Access::Overlay { memory_bytes: 2 * 4096 }), 16);
    let base = disks.read(0, 0, 8192).unwrap();
    assert_eq!(disks.write(0, 0, &pattern(1, 8192)), Ok(()));
    assert_eq!(disks.write(0, 16, &pattern(2, 512)), Err(DiskFault::Failed));
    assert_eq!(disks.discard(0, 4, 12), Ok(()));
    let left = [&pattern(1, 8192)[..2048], &base[2048..]].concat();
    assert_eq!(disks.read(0, 0, 8192), Ok(left));
    assert_eq!(disks.write(0, 16, &pattern(2, 512)), Ok(()), "a block is free");
}

#[test]
fn a_disk_in_memory_is_zeros_at_first_and_forgets_what_is_discarded() {
    let mut disks = Disks::new(Vec::new(), true);
    disks.back().add_disk(DiskId(0), Box::new(RamDisk::new(1000)));
    disks.join(Disks::whole(0, Access::Write), 16);
    assert_eq!(disks.read(0, 999, 512), Ok(vec![0; 512]));
    assert_eq!(disks.write(0, 8, &pattern(1, 8192)), Ok(()));
    assert_eq!(disks.flush(0), Ok(()));
    assert_eq!(disks.discard(0, 8, 8), Ok(()));
    assert_eq!(disks.read(0, 8, 8192), Ok([vec![0; 4096], pattern(1, 8192)[4096..].to_vec()].concat()));
}

#[test]
fn a_failing_disk_fails_the_operation_and_nothing_else() {
    let mut disks = single(4, true);
    disks.write(0, 0, &pattern(1, 4096)).unwrap();
    disks.disks[0].medium.borrow_mut().failures = 1000;
    assert_eq!(disks.write(0, 0, &pattern(2, 4096)), Err(DiskFault::Failed));
    assert_eq!(disks.read(0, 0, 4096), Err(DiskFault::Failed));
    assert_eq!(disks.flush(0), Err(DiskFault::Failed));
    disks.disks[0].medium.borrow_mut().failures = 0;
    assert_eq!(disks.read(0, 0, 4096), Ok(pattern(1, 4096)));
    assert_eq!(disks.fronts[0].counters().failed, 3);
}

#[test]
fn a_flood_finds_its_end_before_its_neighbour_does() {
    let mut disks = Disks::new(vec![TestDisk::new(8192, 9)], true);
    let half = |first| Share { disk: DiskId(0), first, sectors: 4096, access: Access::Write };
    disks.join(half(0), 200);
    disks.join(half(4096), 16);
    let rounds = |disks: &mut Disks, flood: bool| {
        let mut open = Vec::new();
        let mut moments = 0;
        for round in 0..20 {
            let ticket = disks.fronts[1].begin_write(round * 8, &[1; 4096]).unwrap();
            loop {
                while flood && let Ok(ticket) = disks.fronts[0].begin_write(0, &[7; 64 * 1024]) {
                    open.push(ticket);
                }
                disks.moment();
                moments += 1;
                open.retain(|ticket| disks.result(0, *ticket, &mut []).is_none());
                if let Some(result) = disks.result(1, ticket, &mut []) {
                    assert_eq!(result, Ok(()));
                    break;
                }
            }
        }
        moments
    };
    let alone = rounds(&mut disks, false);
    let beside = rounds(&mut disks, true);
    assert!(beside <= 6 * alone, "{beside} moments beside a flood, {alone} alone");
}

#[test]
fn a_front_end_without_a_disk_is_told() {
    let mut disks = single(1, true);
    assert_eq!(disks.back().error(VbdId(0)), Some(BlockError::None));
    disks.fronts[0].close();
    disks.run();
    assert!(disks.fronts[0].is_closed());
    let ticket = disks.fronts[0].begin_write(0, &[1; 512]).expect("what is begun while it is closed waits");
    disks.fronts[0].reconnect();
    disks.run();
    assert_eq!(disks.result(0, ticket, &mut []), Some(Ok(())));
}

#[test]
fn what_an_ended_connection_left_at_the_disk_is_done_before_anything_new_begins() {
    for lend in [false, true] {
        let mut disks = Disks::new(vec![TestDisk::new(4096, 1)], true);
        disks.lend = lend;
        disks.join(Disks::whole(0, Access::Write), 80);
        disks.disks[0].medium.borrow_mut().stuck = true;
        let ticket = disks.fronts[0].begin_write(0, &[1; 512]).unwrap();
        disks.moment();
        assert_eq!(disks.back().under_way(), 1);
        disks.fronts[0].close();
        disks.run();
        disks.fronts[0].reconnect();
        disks.run();
        assert_eq!(
            disks.fronts[0].is_up(),
            !lend,
            "a page that the disk has keeps the connection from ending"
        );
        assert_eq!(disks.back().under_way(), 1, "what is sent again waits for its elder");
        disks.disks[0].medium.borrow_mut().stuck = false;
        disks.run();
        disks.fronts[0].reconnect();
        disks.run();
        assert_eq!(disks.result(0, ticket, &mut []), Some(Ok(())));
        assert_eq!(disks.back().totals().orphaned, 1);
        assert_eq!(disks.write(0, 0, &[2; 512]), Ok(()));
        assert_eq!(disks.read(0, 0, 512), Ok(vec![2; 512]));
    }
}

#[test]
fn a_connection_that_ends_for_a_fault_begins_again_when_the_disk_has_let_go() {
    let mut disks = single(1, true);
    disks.disks[0].medium.borrow_mut().stuck = true;
    let ticket = disks.fronts[0].begin_write(0, &[1; 512]).unwrap();
    disks.moment();
    // The front end scribbles over its ring's index: the back end ends the connection.
    let page = disks.devices[0].page.clone();
    assert_eq!(disks.back().under_way(), 1);
    disks.spoil_ring(0);
    disks.run();
    assert!(!disks.fronts[0].is_up() && !disks.back().is_connected(VbdId(0)));
    let half = BlockPage::<_>::front(page);
    assert_eq!((half.other_state(), half.other_error()), (XenbusState::Closing, BlockError::Overrun.raw()));
    disks.disks[0].medium.borrow_mut().stuck = false;
    disks.run();
    assert!(disks.fronts[0].is_up(), "it has connected anew by itself");
    assert_eq!(disks.result(0, ticket, &mut []), Some(Ok(())), "and sent again what was not answered");
}

#[test]
fn a_queue_gives_back_what_it_was_given_and_a_back_end_that_dies_costs_it_time_alone() {
    let mut disks = single(5, true);
    assert!(disks.fronts[0].open_queue() && !disks.fronts[0].open_queue(), "a device has one queue");
    let mut written = Vec::new();
    for at in 0..20_u8 {
        let buffer = disks.fronts[0].take_buffer(3 * 4096).unwrap();
        disks.fronts[0].copy_in(&buffer, 0, &pattern(at.into(), 3 * 4096));
        written.push(disks.fronts[0].begin_queued(true, u64::from(at) * 24, buffer).unwrap());
    }
    disks.moment();
    disks.kill_back();
    assert_eq!(disks.fronts[0].take_buffer(30 * 4096).unwrap_err(), BeginError::Full);
    disks.revive_back();
    disks.run();
    let flush = disks.fronts[0].begin_queued_flush().unwrap();
    disks.run();
    let done = disks.done(0);
    assert_eq!(done.last().map(|one| (one.ticket, one.buffer.is_none())), Some((flush, true)));
    assert_eq!(done.len(), 21);
    for (at, ticket) in (0_u8..).zip(&written) {
        assert!(done.iter().any(|one| one.ticket == *ticket && one.result == Ok(())));
        assert_eq!(disks.read(0, u64::from(at) * 24, 3 * 4096), Ok(pattern(at.into(), 3 * 4096)));
    }
    for one in done {
        one.buffer.into_iter().for_each(|buffer| disks.fronts[0].give_buffer(buffer));
    }
    assert_eq!(disks.fronts[0].free_pages(), 80);
    // Into part of a page and over its end.
    let buffer = disks.fronts[0].take_buffer(2 * 4096).unwrap();
    let ticket = disks.fronts[0].begin_queued(false, 24, buffer).unwrap();
    disks.run();
    let done = disks.done(0).pop().filter(|one| one.ticket == ticket).expect("it is done");
    let (buffer, mut part) = (done.buffer.expect("with its buffer"), [0; 600]);
    disks.fronts[0].copy_out(&buffer, 4000, &mut part);
    assert_eq!(part, pattern(1, 3 * 4096)[4000..4600]);
    let refused = disks.fronts[0].begin_queued(true, 4095, buffer).unwrap_err();
    assert_eq!(refused.0, BeginError::Range);
    disks.fronts[0].give_buffer(refused.1);
    // Whoever gives up the queue gives up what is under way in it, and its pages come back.
    let buffer = disks.fronts[0].take_buffer(512).unwrap();
    disks.fronts[0].begin_queued(false, 0, buffer).unwrap();
    disks.moment();
    disks.fronts[0].close_queue();
    disks.run();
    assert!(disks.done(0).is_empty() && disks.fronts[0].open_queue());
    assert_eq!((disks.fronts[0].free_pages(), disks.fronts[0].open()), (80, 0));
    // And so does what was begun and not pushed: nobody else may come to push it.
    let notified = disks.fronts[0].counters().notified;
    let buffer = disks.fronts[0].take_buffer(512).unwrap();
    disks.fronts[0].begin_queued(false, 0, buffer).unwrap();
    disks.fronts[0].close_queue();
    assert_eq!(disks.fronts[0].counters().notified, notified + 1, "the back end hears of it");
    disks.run();
    assert_eq!((disks.fronts[0].free_pages(), disks.fronts[0].open()), (80, 0));
}
