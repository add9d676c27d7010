//! The queue of a disk, whose operations go straight into the ring and whose answers are taken from it, beside operations that do not.

use std::task::{Context, Poll, Waker};

use drivers_backend::block::Access;
use drivers_frontend::block::BeginError;
use tests::{Disks, TestDisk};

fn disks(access: Access, pages: u16) -> Disks {
    let mut disks = Disks::new(vec![TestDisk::new(4096, 3)], true);
    disks.join(Disks::whole(0, access), pages);
    assert!(disks.fronts[0].open_queue());
    disks
}

#[test]
fn more_than_the_ring_holds_is_sent_in_the_order_in_which_it_was_begun_and_nothing_overtakes() {
    let mut disks = disks(Access::Write, 80);
    let mut tickets = Vec::new();
    // One of 12 pages has its segments in another page, and goes in after those of one page.
    for at in 0..40_u64 {
        let bytes = if at == 20 { 12 * 4096 } else { 512 };
        let buffer = disks.fronts[0].take_buffer(bytes).unwrap();
        disks.fronts[0].copy_in(&buffer, 0, &[at as u8; 512]);
        // All write the same sector, but for the long one.
        let sector = if at == 20 { 100 } else { 7 };
        tickets.push(disks.fronts[0].begin_queued(true, sector, buffer).unwrap());
    }
    assert_eq!(disks.fronts[0].open(), 40);
    assert_eq!(disks.fronts[0].counters().requests, 20, "what comes after one that waits, waits too");
    disks.fronts[0].push();
    assert_eq!(disks.fronts[0].counters().requests, 32, "as many as the ring holds");
    let mut done = Vec::new();
    while done.len() < 40 {
        assert!(disks.moment(), "{} are done", done.len());
        for one in disks.done(0) {
            assert_eq!(one.result, Ok(()));
            done.push(one.ticket);
            disks.fronts[0].give_buffer(one.buffer.expect("it had one"));
        }
    }
    for ticket in tickets {
        assert_eq!(done.iter().filter(|one| **one == ticket).count(), 1, "each ends once");
    }
    assert_eq!(disks.fronts[0].counters().bytes, 39 * 512 + 12 * 4096);
    assert_eq!((disks.fronts[0].open(), disks.fronts[0].free_pages()), (0, 80));
}

#[test]
fn who_takes_answers_for_the_queue_tells_the_calls_of_theirs() {
    let mut disks = disks(Access::Write, 80);
    let call = disks.fronts[0].begin_write(9, &[5; 512]).unwrap();
    let flush = disks.fronts[0].begin_queued_flush().unwrap();
    disks.fronts[0].push();
    let buffer = disks.fronts[0].take_buffer(4096).unwrap();
    let read = disks.fronts[0].begin_queued(false, 0, buffer).unwrap();
    disks.fronts[0].push();
    let mut context = Context::from_waker(Waker::noop());
    assert!(disks.fronts[0].poll_done(&mut context).is_pending());
    assert!(!disks.fronts[0].has_answers_for_queue(), "there are none");
    for _ in 0..100 {
        disks.run_back();
    }
    assert!(disks.fronts[0].has_answers_for_queue(), "nobody has looked at them yet");
    disks.fronts[0].wake_queue();
    assert!(!disks.fronts[0].has_answers_for_queue(), "whoever waits is woken once");
    let mut ended = Vec::new();
    while let Some(done) = disks.fronts[0].take_done() {
        assert_eq!((done.result, done.buffer.is_some()), (Ok(()), done.ticket == read));
        ended.push(done.ticket);
        done.buffer.into_iter().for_each(|buffer| disks.fronts[0].give_buffer(buffer));
    }
    ended.sort_by_key(|ticket| *ticket == read);
    assert_eq!(ended, [flush, read]);
    assert_eq!(disks.result(0, call, &mut []), Some(Ok(())), "the call was told of its own");
    // A ticket of the queue that is waited for as a call is one: its buffer ends with it.
    let buffer = disks.fronts[0].take_buffer(512).unwrap();
    let ticket = disks.fronts[0].begin_queued(false, 9, buffer).unwrap();
    let mut into = [0; 512];
    assert_eq!(disks.fronts[0].poll_finish(ticket, &mut into, &mut context), Poll::Pending);
    disks.run();
    assert_eq!(disks.fronts[0].poll_finish(ticket, &mut into, &mut context), Poll::Ready(Ok(())));
    assert_eq!(into, [5; 512]);
    assert!(disks.fronts[0].take_done().is_none());
    assert_eq!((disks.fronts[0].open(), disks.fronts[0].free_pages()), (0, 80));
}

#[test]
fn what_is_refused_changes_nothing_and_leaves_its_buffer() {
    let mut disks = disks(Access::Read, 20);
    for (write, sector, why) in [
        (true, 0, BeginError::ReadOnly),
        (false, 4096, BeginError::Range),
        (false, 4089, BeginError::Range),
        (false, u64::MAX, BeginError::Range),
    ] {
        let buffer = disks.fronts[0].take_buffer(4096).unwrap();
        let (error, buffer) = disks.fronts[0].begin_queued(write, sector, buffer).unwrap_err();
        assert_eq!(error, why, "{write} {sector}");
        let ticket = disks.fronts[0].begin_queued(false, 4088, buffer).expect("the last place that there is");
        disks.run();
        let done = disks.done(0).pop().expect("it is done");
        assert_eq!((done.ticket, done.result), (ticket, Ok(())));
        disks.fronts[0].give_buffer(done.buffer.expect("it had one"));
    }
    // A buffer that nobody has.
    let (error, _) = disks.fronts[0].begin_queued(false, 0, Default::default()).unwrap_err();
    assert_eq!(error, BeginError::Length(0));
    disks.fronts[0].give_buffer(Default::default());
    assert_eq!((disks.fronts[0].open(), disks.fronts[0].free_pages()), (0, 20));
    assert_eq!(disks.fronts[0].counters().requests, 4);
}

#[test]
fn buffers_of_a_connection_that_has_ended_name_the_pages_of_the_next() {
    let mut disks = disks(Access::Write, 80);
    let buffers: Vec<_> = (0..8).map(|_| disks.fronts[0].take_buffer(2 * 4096).unwrap()).collect();
    disks.kill_back();
    let mut tickets = Vec::new();
    for (at, buffer) in (0_u8..).zip(buffers) {
        disks.fronts[0].copy_in(&buffer, 0, &[at; 8192]);
        if at == 4 {
            disks.revive_back();
            disks.run();
        }
        tickets.push(disks.fronts[0].begin_queued(true, u64::from(at) * 16, buffer).unwrap());
    }
    disks.run();
    for one in disks.done(0) {
        assert_eq!(one.result, Ok(()));
        let at = tickets.iter().position(|ticket| *ticket == one.ticket).expect("it was begun");
        assert_eq!(disks.read(0, at as u64 * 16, 8192), Ok(vec![at as u8; 8192]));
        disks.fronts[0].give_buffer(one.buffer.expect("it had one"));
    }
    assert_eq!((disks.fronts[0].open(), disks.fronts[0].free_pages()), (0, 80));
}
