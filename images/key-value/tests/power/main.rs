//! The power is cut at every write: what was promised is there, what was not is there as a whole or not at all.

mod client;
mod platter;

use client::{Client, content};
use embassy_futures::block_on;
use key_value::{Batch, CommitError, Layout, OpenError, ReadError, Refusal, Store};
use platter::Platter;

const SECTORS: usize = Layout::sectors_min() as usize;

/// A run of changes from an empty disk until the power is cut or so many are made.
fn run(platter: &Platter, client: &mut Client, seed: u64, changes: u32) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let Some(mut store) = client.open(platter, "the first time") else { return 0 };
    for _ in 0..changes {
        if !client.change(&mut store, &mut random) {
            break;
        }
    }
    store.superblock().generation
}

#[test]
fn every_write_of_a_run_may_be_the_last() {
    let whole = Platter::new(SECTORS);
    let generations = run(&whole, &mut Client::default(), 1, 120);
    assert!(generations > 3, "only {} moves to the other area", generations - 1);
    for fuse in 0..whole.events.get() {
        let (platter, mut client) = (Platter::new(SECTORS), Client::default());
        platter.fuse.set(fuse);
        run(&platter, &mut client, 1, 120);
        platter.cut(&mut fastrand::Rng::with_seed(fuse));
        let why = format!("cut after {fuse}");
        let mut store = client.open(&platter, &why).expect("there is power");
        // It goes on, and what it does then is there the next time.
        let mut random = fastrand::Rng::with_seed(!fuse);
        for _ in 0..3 {
            assert!(client.change(&mut store, &mut random));
        }
        client.open(&platter, &why).expect("there is power");
    }
}

#[test]
fn a_disk_whose_power_is_cut_again_and_again_keeps_what_was_promised() {
    let (mut cuts, mut moves) = (0, 0);
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let platter = Platter::new(SECTORS + random.usize(..40));
        let mut client = Client::default();
        let mut generation = 1;
        for life in 0..20 {
            // One in four guests ends by itself, while the disk goes on: what it wrote last may come out of the cache.
            if random.u32(..4) > 0 {
                // Half of the lives are so short that what one left is met by the next.
                let most = if random.bool() { 12 } else { 160 };
                platter.fuse.set(platter.events.get() + random.u64(..most));
            }
            if let Some(mut store) = client.open(&platter, &format!("seed {seed}, life {life}")) {
                for _ in 0..random.u32(1..30) {
                    if !client.change(&mut store, &mut random) {
                        break;
                    }
                }
                generation = store.superblock().generation;
            }
            if platter.fuse.get() != u64::MAX {
                platter.cut(&mut random);
                cuts += 1;
            }
        }
        moves += generation - 1;
    }
    assert!(cuts > 2000 && moves > 500, "{cuts} cuts, {moves} moves");
}

#[test]
fn a_guest_that_ends_while_it_opens_a_store_leaves_one_to_the_next() {
    for seed in 0..4000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (platter, mut client) = (Platter::new(SECTORS), Client::default());
        run(&platter, &mut client, seed, 1);
        // The first ends, and the disk goes on; the second is there when the power is cut.
        for _ in 0..2 {
            platter.fuse.set(platter.events.get() + random.u64(..4));
            let _ = block_on(Store::open(&platter));
        }
        platter.cut(&mut random);
        client.open(&platter, &format!("seed {seed}")).expect("there is power");
    }
}

#[test]
fn parts_of_two_records_make_none() {
    // Both have three sectors, from the same place on.
    for kept in 0..64_u32 {
        let platter = Platter::new(SECTORS);
        for (kept, value) in [(kept & 7, [1; 1000]), (kept >> 3, [2; 1000])] {
            let mut store = block_on(Store::open(&platter)).unwrap();
            if !store.is_empty() {
                break;
            }
            platter.fuse.set(platter.events.get() + 3);
            let mut batch = Batch::default();
            store.admit(&mut batch, b"key", Some(&value)).unwrap();
            assert!(block_on(store.commit(batch)).is_err(), "it was not flushed");
            platter.cut_to(|sector| kept & (1 << (sector - 16)) != 0);
        }
        let found = content(&mut block_on(Store::open(&platter)).unwrap());
        let expected = [(7, 1), (7 << 3, 2)].iter().find(|(whole, _)| kept & whole == *whole);
        let value = expected.map(|(_, byte)| vec![*byte; 1000]);
        assert_eq!(found.get(&b"key"[..]), value.as_ref(), "kept {kept:#b}");
    }
}

#[test]
fn what_a_move_left_that_came_to_nothing_is_no_part_of_a_later_one() {
    let changed = |store: &mut Store<&Platter>, key: u8, value: Option<&[u8]>| {
        let mut batch = Batch::default();
        store.admit(&mut batch, &[key], value).unwrap();
        block_on(store.commit(batch)).is_ok()
    };
    for fuse in 1..40 {
        let platter = Platter::new(SECTORS);
        let mut store = block_on(Store::open(&platter)).unwrap();
        // Up to a log that is full but for three sectors, the last record before a move.
        while platter.events.get() < 128 - 7 + 43 {
            assert!(changed(&mut store, 1, Some(&[1; 1000])));
        }
        assert_eq!(store.superblock().generation, 1);
        platter.fuse.set(platter.events.get() + 5);
        assert!(!changed(&mut store, 2, Some(&[2; 3000])), "the move is cut short after its first record");
        platter.cut(&mut fastrand::Rng::with_seed(fuse));
        // Nothing is left to be moved, and again the power is cut at some point.
        let mut store = block_on(Store::open(&platter)).unwrap();
        assert!(changed(&mut store, 1, None));
        platter.fuse.set(platter.events.get() + fuse);
        let done = changed(&mut store, 3, Some(&[3; 3000]));
        platter.cut(&mut fastrand::Rng::with_seed(fuse));
        let store = block_on(Store::open(&platter)).unwrap();
        assert!(!store.contains(&[1]), "fuse {fuse}: what was deleted is back");
        assert!(store.contains(&[3]) || !done);
        assert!(fuse < 12 || store.superblock().generation == 2);
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    let platter = Platter::new(SECTORS);
    let mut store = block_on(Store::open(&platter)).unwrap();
    let value = vec![7; 1000];
    let mut keys = 0_u32;
    let full = loop {
        let mut batch = Batch::default();
        match store.admit(&mut batch, &keys.to_le_bytes(), Some(&value)) {
            Ok(()) => block_on(store.commit(batch)).unwrap(),
            Err(refusal) => break refusal,
        }
        keys += 1;
    };
    assert_eq!(full, Refusal::Full);
    assert!(keys > 40, "only {keys} keys fit");
    // What takes no more room goes on for ever, a full disk or not.
    for round in 0..200_u32 {
        let mut batch = Batch::default();
        store.admit(&mut batch, &(round % keys).to_le_bytes(), Some(&vec![round as u8; 1000])).unwrap();
        block_on(store.commit(batch)).unwrap();
    }
    assert_eq!(store.len(), keys as usize);
    let before = content(&mut store);
    let mut store = block_on(Store::open(&platter)).unwrap();
    assert_eq!(content(&mut store), before);
    let mut batch = Batch::default();
    store.admit(&mut batch, &0_u32.to_le_bytes(), None).unwrap();
    store.admit(&mut batch, b"new", Some(&value)).unwrap();
    block_on(store.commit(batch)).unwrap();
    assert_eq!((store.len(), store.contains(b"new")), (keys as usize, true));
}

#[test]
fn keys_and_values_that_are_too_long_are_refused_and_change_nothing() {
    let platter = Platter::new(SECTORS);
    let store = block_on(Store::open(&platter)).unwrap();
    let (mut batch, most) = (Batch::default(), store.value_max());
    assert_eq!(store.admit(&mut batch, b"", Some(b"v")), Err(Refusal::Key));
    assert_eq!(store.admit(&mut batch, &[b'k'; 251], Some(b"v")), Err(Refusal::Key));
    assert_eq!(store.admit(&mut batch, b"k", Some(&vec![0; most + 1])), Err(Refusal::Value(most)));
    assert_eq!(store.admit(&mut batch, b"k", None), Ok(()));
    assert!(batch.is_empty());
    for key in 0..2 {
        assert_eq!(store.admit(&mut batch, &[key; 250], Some(&vec![1; most])), Ok(()));
    }
    assert_eq!(store.admit(&mut batch, b"k", Some(b"v")), Err(Refusal::Batch));
}

#[test]
fn what_a_disk_lost_after_its_flush_is_reported_and_not_passed_over() {
    let platter = Platter::new(SECTORS);
    let mut store = block_on(Store::open(&platter)).unwrap();
    for key in 0..4 {
        let mut batch = Batch::default();
        store.admit(&mut batch, &[key], Some(&[key; 1000])).unwrap();
        block_on(store.commit(batch)).unwrap();
    }
    // Records of three sectors, from sector 16 on.
    for sector in 16..25 {
        let kept = platter.durable.borrow()[sector];
        platter.durable.borrow_mut()[sector][100] ^= 1;
        let record = 16 + (sector as u64 - 16) / 3 * 3;
        assert_eq!(block_on(Store::open(&platter)).err(), Some(OpenError::Damaged(record)));
        platter.durable.borrow_mut()[sector] = kept;
    }
    assert_eq!(block_on(Store::open(&platter)).unwrap().len(), 4);
}

#[test]
fn a_disk_that_holds_something_else_is_left_alone() {
    let foreign = Platter::new(SECTORS);
    foreign.durable.borrow_mut()[0][0x1b] = 1;
    assert_eq!(block_on(Store::open(&foreign)).err(), Some(OpenError::NoStore));
    assert_eq!(foreign.events.get(), 0);
    assert_eq!(block_on(Store::open(&Platter::new(SECTORS - 1))).err(), Some(OpenError::Small(271)));
    let grown = Platter::new(SECTORS);
    drop(block_on(Store::open(&grown)).unwrap());
    grown.durable.borrow_mut().push([0; 512]);
    assert_eq!(block_on(Store::open(&grown)).err(), Some(OpenError::Size(272)));
}

#[test]
fn a_disk_with_one_byte_of_something_else_anywhere_is_left_alone() {
    // Larger than what is read at once, and with a sector at its end that belongs to no area.
    let sectors = 3 * 256 + 33;
    let mut random = fastrand::Rng::with_seed(1);
    for sector in 0..sectors {
        let foreign = Platter::new(sectors);
        let (at, byte) = (random.usize(..512), random.u8(1..));
        foreign.durable.borrow_mut()[sector][at] = byte;
        let why = format!("byte {at} of sector {sector} is {byte}");
        assert_eq!(block_on(Store::examine(&foreign)).err(), Some(OpenError::NoStore), "{why}");
        assert_eq!(block_on(Store::open(&foreign)).err(), Some(OpenError::NoStore), "{why}");
        assert_eq!(foreign.events.get(), 0, "{why}");
    }
    assert!(block_on(Store::open(&Platter::new(sectors))).is_ok());
}

#[test]
fn what_the_first_write_left_of_a_superblock_is_a_new_store_only_on_zeros() {
    let whole = Platter::new(SECTORS);
    drop(block_on(Store::open(&whole)).unwrap());
    let first = whole.durable.borrow()[8];
    for length in 0..=first.len() {
        for foreign in [None, Some(SECTORS - 1)] {
            let torn = Platter::new(SECTORS);
            torn.durable.borrow_mut()[8][..length].copy_from_slice(&first[..length]);
            if let Some(sector) = foreign {
                torn.durable.borrow_mut()[sector][511] = 1;
            }
            let opened = block_on(Store::open(&torn)).err();
            // With its checksum whole it is a store, whose areas may hold anything.
            let expected = (foreign.is_some() && length < 60).then_some(OpenError::NoStore);
            assert_eq!(opened, expected, "{length} bytes of it, foreign: {foreign:?}");
        }
    }
}

#[test]
fn a_superblock_among_what_was_put_over_its_store_makes_none() {
    for sector in (0..16).filter(|sector| ![0, 8].contains(sector)) {
        let platter = Platter::new(SECTORS);
        drop(block_on(Store::open(&platter)).unwrap());
        platter.durable.borrow_mut()[sector][200] = 0x53;
        let events = platter.events.get();
        assert_eq!(block_on(Store::open(&platter)).err(), Some(OpenError::NoStore));
        assert_eq!(platter.events.get(), events);
    }
}

#[test]
fn to_examine_a_store_writes_nothing() {
    let platter = Platter::new(SECTORS);
    assert!(block_on(Store::examine(&platter)).unwrap().is_empty());
    let mut store = block_on(Store::open(&platter)).unwrap();
    let mut batch = Batch::default();
    store.admit(&mut batch, b"key", Some(b"value")).unwrap();
    block_on(store.commit(batch)).unwrap();
    let events = platter.events.get();
    assert_eq!(content(&mut block_on(Store::examine(&platter)).unwrap()), content(&mut store));
    assert_eq!(platter.events.get(), events);
}

#[test]
fn a_store_whose_disk_has_lost_what_was_durable_promises_nothing_more() {
    let platter = Platter::new(SECTORS);
    let mut store = block_on(Store::open(&platter)).unwrap();
    let mut batch = Batch::default();
    store.admit(&mut batch, b"old", Some(b"value")).unwrap();
    block_on(store.commit(batch)).unwrap();
    // As a disk in memory does whose driver domain came back.
    platter.durable.borrow_mut().iter_mut().for_each(|sector| sector.fill(0));

    assert_eq!(block_on(store.get(b"absent")), Ok(None));
    assert_eq!(block_on(store.get(b"old")), Err(ReadError::Damaged));
    let events = platter.events.get();
    let mut batch = Batch::default();
    store.admit(&mut batch, b"new", Some(b"value")).unwrap();
    assert_eq!(block_on(store.commit(batch)), Err(CommitError::Broken));
    assert_eq!(platter.events.get(), events, "nothing is written any more");
}

/// A base with a few changes in it, as a disk is under an overlay; `lives` of a guest on the base before.
fn base(lives: u64) -> Vec<[u8; 512]> {
    let (platter, mut client) = (Platter::new(SECTORS), Client::default());
    for life in 0..lives {
        run(&platter, &mut client, life, 3);
    }
    platter.durable.take()
}

#[test]
fn a_store_whose_disk_begins_anew_at_any_write_acknowledges_nothing_more() {
    for lives in 0..4 {
        let base = base(lives);
        let whole = Platter::new(SECTORS);
        *whole.durable.borrow_mut() = base.clone();
        let mut store = block_on(Store::open(&whole)).unwrap();
        let change = |store: &mut Store<&Platter>, number: u32| {
            let mut batch = Batch::default();
            store.admit(&mut batch, &[(number % 5) as u8], Some(&vec![number as u8; 1500])).unwrap();
            block_on(store.commit(batch))
        };
        let opened = whole.events.get();
        (0..100).for_each(|number| change(&mut store, number).unwrap());
        assert!(store.superblock().generation > 2, "the log is moved twice");
        for at in opened..whole.events.get() {
            let platter = Platter::new(SECTORS);
            *platter.durable.borrow_mut() = base.clone();
            *platter.anew.borrow_mut() = Some((at, base.clone()));
            let mut store = block_on(Store::open(&platter)).unwrap();
            for number in 0..100 {
                let done = change(&mut store, number);
                let gone = platter.life.get() > 0;
                assert_eq!(
                    done.is_err(),
                    gone,
                    "event {at}, change {number}, {lives} lives before: {done:?}"
                );
            }
        }
    }
}

#[test]
fn a_disk_whose_driver_comes_back_with_all_that_was_written_is_served_on() {
    let platter = Platter::new(SECTORS);
    let mut client = Client::default();
    let mut store = client.open(&platter, "at first").unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for change in 0..200 {
        platter.life.set(platter.life.get() + u64::from(change % 3 == 0));
        assert!(client.change(&mut store, &mut random));
    }
    assert!(store.superblock().generation > 3);
}
