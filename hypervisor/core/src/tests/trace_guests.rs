//! Records that guests make in their shared pages.

use alloc::vec::Vec;

use hypercall_abi::extension::{ExtensionOp, GuestRecord, RingSide};
use hypercall_abi::ring::{Notify, Progress, RingTold, Step};
use hypercall_abi::sched::SchedOp;
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET, RING_TURN};
use hypercall_abi::{DomId, Hypercall};
use proptest::prelude::*;

use super::system::{System, domain};
use super::trace::{bytes, command, read};
use super::trace_reader::Shared;
use crate::trace::category::Category;
use crate::trace::reader::{Entry, Reader};
use crate::trace::records::{Record, description};

fn system() -> System {
    System::new(alloc::vec![domain("a"), domain("b")])
}

/// Writes a record as a guest does, at one of the places.
fn make(system: &mut System, at: usize, first: u64, a: u64, b: u64) {
    let me = system.current().unwrap();
    let place = RECORDS_OFFSET + (at % RECORDS * RECORD_WORDS * 8) as u64;
    system.set_shared(me, place + 8, a);
    system.set_shared(me, place + 16, b);
    system.set_shared(me, place, first);
}

fn flush(system: &mut System) {
    let op = u64::from(ExtensionOp::TraceFlush.raw());
    system.hypercall(Hypercall::Extension, [op, 0, 0, 0, 0]).unwrap();
}

fn give_way(system: &mut System) {
    system.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Yield.raw()), 0, 0, 0, 0]).unwrap();
}

/// Records that guests made: time, domain, record.
fn made(system: &System) -> Vec<(u64, DomId, Record)> {
    let of_guests = [Category::Guest, Category::Ring];
    let is_made = |record: &Record| {
        of_guests.contains(&record.category()) || matches!(record, Record::HandlerDone { .. })
    };
    let entries = read(system).entries;
    entries
        .iter()
        .filter(|entry| is_made(&entry.record))
        .map(|entry| (entry.time_ns, entry.domain, entry.record))
        .collect()
}

/// Bits of a turn at a ring.
const PRODUCED: u64 = 1 << 4;
const NOTIFIED: u64 = 1 << 7;

const fn first(ticks: u64, record: GuestRecord) -> u64 {
    (ticks << 12) | (record.raw() as u64 + 1)
}

#[test]
fn each_kind_in_the_page_becomes_the_record_that_a_hypercall_makes() {
    let (a, b) = (0x0123_4567_0007_0002, 0x89ab_cdef_0123_4567);
    let singles = GuestRecord::ALL.iter().filter(|record| !record.is_of_ring());
    let mut by_page = system();
    let mut by_call = system();
    for system in [&mut by_page, &mut by_call] {
        command(system, "trace on");
    }
    for (at, record) in singles.clone().enumerate() {
        make(&mut by_page, at, first(0, *record), a, b);
        by_hypercall(&mut by_call, *record, a, b);
    }
    give_way(&mut by_page);
    assert_eq!(records(&by_page), records(&by_call));
    assert_eq!(records(&by_page).len(), singles.count());
}

fn by_hypercall(system: &mut System, record: GuestRecord, a: u64, b: u64) {
    let op = u64::from(ExtensionOp::TraceRecord.raw());
    system.hypercall(Hypercall::Extension, [op, u64::from(record.raw()), a, b, 0]).unwrap();
}

fn records(system: &System) -> Vec<Record> {
    made(system).iter().map(|(_, _, record)| *record).collect()
}

/// A turn at a ring as a driver tells it.
fn told((produced, consumed): (Step, Step), notify: Notify) -> RingTold {
    RingTold {
        side: RingSide::BackTransmit,
        peer: DomId(7),
        progress: Progress { produced, consumed },
        notify,
    }
}

proptest! {
    #[test]
    fn a_turn_at_a_ring_is_one_place_and_the_records_that_hypercalls_make(
        turns in prop::collection::vec((any::<(u32, u32)>(), [0u32..3, 0..4096, 0..3, 0..4096], 0usize..3), 1..RECORDS)
    ) {
        let (mut by_page, mut by_call) = (system(), system());
        for system in [&mut by_page, &mut by_call] {
            command(system, "trace on");
        }
        for (at, ((one, other), [count, waiting, of_other, wait], notify)) in turns.iter().enumerate() {
            let steps = (
                Step { index: *one, count: *count, waiting: *waiting },
                Step { index: *other, count: *of_other, waiting: *wait },
            );
            let told = told(steps, [Notify::Nothing, Notify::Suppressed, Notify::Needed][*notify]);
            let [first, indices, counts] = told.place().expect("a ring's numbers fit");
            make(&mut by_page, at, first, indices, counts);
            for record in told.records() {
                let [a, b] = record.words();
                by_hypercall(&mut by_call, record.record, a, b);
            }
        }
        give_way(&mut by_page);
        prop_assert_eq!(records(&by_page), records(&by_call));
        command(&mut by_page, "trace off");
        let bytes = bytes(&by_page.machine.traced());
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        let found: Vec<_> = reader.by_ref().map(|entry| entry.record.kind()).collect();
        let tally = reader.tally();
        prop_assert_eq!((tally.damaged_blocks, tally.lost), (0, 0));
        for (kind, written) in &reader.header().written {
            prop_assert_eq!(found.iter().filter(|found| **found == *kind).count() as u64, *written, "kind {}", kind);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_reader_that_stops_within_a_place_goes_on_there(
        turns in prop::collection::vec((1..RECORDS, 0usize..200), 1..12)
    ) {
        let mut system = system();
        command(&mut system, "trace on");
        let storage = core::cell::RefCell::new(system.machine.traced());
        let mut reader = Reader::new(Shared(&storage)).unwrap();
        let (mut at, mut expected, mut found) = (0, Vec::new(), Vec::new());
        let is_of_ring = |entry: &Entry| entry.record.category() == Category::Ring;
        for (places, entries) in turns {
            for _ in 0..places {
                let step = Step { index: at as u32, count: 1, waiting: 2 };
                let told = told((step, step), Notify::Suppressed);
                let [first, indices, counts] = told.place().unwrap();
                make(&mut system, at, first, indices, counts);
                expected.extend(told.records().map(|one| (one.record, one.step.index)));
                at += 1;
            }
            flush(&mut system);
            *storage.borrow_mut() = system.machine.traced();
            reader.refresh().unwrap();
            found.extend(reader.by_ref().take(entries).filter(is_of_ring));
        }
        found.extend(reader.by_ref().filter(is_of_ring));
        let found: Vec<_> = found.iter().map(|entry| match entry.record {
            Record::RingProduced { index, .. } => (GuestRecord::RingProduced, index),
            Record::RingConsumed { index, .. } => (GuestRecord::RingConsumed, index),
            _ => (GuestRecord::RingSuppressed, 0),
        }).collect();
        prop_assert_eq!(found, expected);
        let tally = reader.tally();
        prop_assert_eq!((tally.lost, tally.damaged_blocks), (0, 0));
    }
}

#[test]
fn more_than_a_ring_holds_has_no_room_in_a_place() {
    let none = Step::default();
    let far = Step { count: 4096, ..none };
    let behind = Step { waiting: 4096, ..none };
    for step in [far, behind] {
        assert_eq!(told((step, none), Notify::Nothing).place(), None);
        assert_eq!(told((none, step), Notify::Nothing).place(), None);
    }
}

#[test]
fn a_record_keeps_its_time_and_its_domain_and_comes_before_what_followed() {
    let mut system = system();
    let me = system.current().unwrap();
    command(&mut system, "trace on");
    system.machine.now = system.machine.now.after(5000);
    let then = system.machine.now.0;
    make(&mut system, 0, first(then, GuestRecord::Instant), 1, 2);
    system.machine.now = system.machine.now.after(5000);
    system.hypercall(Hypercall::XenVersion, [0; 5]).unwrap();
    assert_eq!(made(&system), [], "nobody has asked for it");
    flush(&mut system);
    assert_eq!(made(&system), [(then, me, Record::Instant { name: 1, value: 2 })]);
    let entries = read(&system).entries;
    let at = |wanted: fn(&Record) -> bool| entries.iter().position(|entry| wanted(&entry.record)).unwrap();
    assert!(
        at(|record| matches!(record, Record::Instant { .. }))
            < at(|record| matches!(record, Record::HypercallEntry { number: 17, .. }))
    );
    // The second place is next, round and round.
    for turn in 1..100 {
        make(&mut system, turn, first(then, GuestRecord::Instant), turn as u64, 0);
        if turn % 7 == 0 {
            give_way(&mut system);
            give_way(&mut system);
        }
    }
    flush(&mut system);
    let values: Vec<_> = made(&system).iter().skip(1).map(|(_, _, record)| *record).collect();
    let expected: Vec<_> = (1..100).map(|name| Record::Instant { name, value: 0 }).collect();
    assert_eq!(values, expected);
}

#[test]
fn what_is_not_chosen_or_came_while_the_trace_was_off_is_not_recorded() {
    let mut system = system();
    make(&mut system, 0, first(0, GuestRecord::Instant), 1, 2);
    command(&mut system, "trace categories ring");
    command(&mut system, "trace on");
    make(&mut system, 1, first(0, GuestRecord::Instant), 3, 4);
    make(&mut system, 2, RING_TURN | NOTIFIED | 1 << 8, 0, 5);
    // A record of a ring by itself has no place, and a turn in which nothing happened is none.
    make(&mut system, 3, first(0, GuestRecord::RingNotified), 6, 0);
    make(&mut system, 4, RING_TURN, 0, 7);
    command(&mut system, "trace off");
    assert_eq!(records(&system), [Record::RingNotified { ring: 1, peer: 5 }]);
}

#[test]
fn what_finds_no_room_is_counted_as_lost_by_its_category() {
    let mut system = system();
    for word in ["trace mode live", "trace buffer 4096", "trace on"] {
        command(&mut system, word);
    }
    let (mut spans, mut rings) = (0, 0);
    for turn in 0..200 {
        for at in 0..turn % 5 {
            let ring = at % 2 == 0;
            // Two records are in the place of a ring.
            let what = if ring { RING_TURN | NOTIFIED | PRODUCED } else { first(0, GuestRecord::SpanEnd) };
            make(&mut system, spans + rings / 2, what, 1, 2);
            (rings, spans) = if ring { (rings + 2, spans) } else { (rings, spans + 1) };
        }
        flush(&mut system);
    }
    command(&mut system, "trace off");
    let bytes = bytes(&system.machine.traced());
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let found: Vec<_> = reader.by_ref().map(|entry| entry.record.category()).collect();
    let header = reader.header();
    let header_dropped: u64 = header.dropped.values().sum();
    for (category, made) in [(Category::Ring, rings), (Category::Guest, spans)] {
        let found = found.iter().filter(|found| **found == category).count();
        let lost = usize::try_from(header.dropped[&category]).unwrap();
        assert!(found > 0 && lost > 0);
        assert_eq!(found + lost, made, "{category:?}");
        let of_category = |kind: &u8| description(*kind).unwrap().category == category;
        let written: u64 = header.written.iter().filter(|(kind, _)| of_category(kind)).map(|(_, n)| *n).sum();
        assert_eq!(usize::try_from(written).unwrap(), found, "{category:?}");
    }
    assert_eq!(reader.tally().damaged_blocks, 0);
    assert_eq!(reader.tally().dropped, header_dropped);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_page_full_of_anything_makes_no_more_records_than_it_has_places_and_time_goes_on(
        pages in prop::collection::vec(
            prop::collection::vec((prop_oneof![any::<u64>(), (any::<u64>(), 0u64..256).prop_map(|(ticks, kind)| (ticks << 12) | kind)], any::<u64>(), any::<u64>()), RECORDS),
            1..6
        )
    ) {
        let mut system = system();
        command(&mut system, "trace on");
        for page in &pages {
            for (at, (first, a, b)) in page.iter().enumerate() {
                make(&mut system, at, *first, *a, *b);
            }
            system.machine.now = system.machine.now.after(1000);
            give_way(&mut system);
            give_way(&mut system);
        }
        let decoded = read(&system);
        prop_assert_eq!((decoded.damaged_blocks, decoded.lost), (0, 0));
        let made = made(&system);
        prop_assert!(made.len() <= 2 * pages.len() * RECORDS * 4);
        prop_assert!(made.iter().all(|(time, _, _)| *time <= system.machine.now.0));
        prop_assert!(decoded.entries.is_sorted_by_key(|entry| entry.time_ns));
    }
}
