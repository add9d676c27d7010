//! Records that guests make in their shared pages.

use alloc::vec::Vec;

use hypercall_abi::extension::{ExtensionOp, GuestRecord};
use hypercall_abi::sched::SchedOp;
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET};
use hypercall_abi::{DomId, Hypercall};
use proptest::prelude::*;

use super::system::{System, domain};
use super::trace::{bytes, command, read};
use crate::trace::category::Category;
use crate::trace::reader::Reader;
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

const fn first(ticks: u64, record: GuestRecord) -> u64 {
    (ticks << 12) | (record.raw() as u64 + 1)
}

#[test]
fn each_kind_in_the_page_becomes_the_record_that_a_hypercall_makes() {
    let (a, b) = (0x0123_4567_0007_0002, 0x89ab_cdef_0123_4567);
    let mut by_page = system();
    let mut by_call = system();
    for system in [&mut by_page, &mut by_call] {
        command(system, "trace on");
    }
    for (at, record) in GuestRecord::ALL.iter().enumerate() {
        // In the page a ring's side is in the first word.
        let (side, a_in_page) = match record {
            GuestRecord::RingProduced
            | GuestRecord::RingConsumed
            | GuestRecord::RingNotified
            | GuestRecord::RingSuppressed => (a & 0xff, (a & !0xffff_ffff) | 7),
            _ => (0, a),
        };
        make(&mut by_page, at, first(0, *record) | (side << 4), a_in_page, b);
        let op = u64::from(ExtensionOp::TraceRecord.raw());
        by_call.hypercall(Hypercall::Extension, [op, u64::from(record.raw()), a, b, 0]).unwrap();
    }
    give_way(&mut by_page);
    let records = |system: &System| made(system).iter().map(|(_, _, record)| *record).collect::<Vec<_>>();
    assert_eq!(records(&by_page), records(&by_call));
    assert_eq!(records(&by_page).len(), GuestRecord::ALL.len());
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
    make(&mut system, 2, first(0, GuestRecord::RingNotified) | 1 << 4, 5, 0);
    command(&mut system, "trace off");
    let records: Vec<_> = made(&system).iter().map(|(_, _, record)| *record).collect();
    assert_eq!(records, [Record::RingNotified { ring: 1, peer: 5 }]);
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
            let record = if ring { GuestRecord::RingSuppressed } else { GuestRecord::SpanEnd };
            make(&mut system, spans + rings, first(0, record), 1, 2);
            (rings, spans) = if ring { (rings + 1, spans) } else { (rings, spans + 1) };
        }
        flush(&mut system);
    }
    command(&mut system, "trace off");
    let bytes = bytes(&system.machine.traced());
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let found: Vec<_> = reader.by_ref().map(|entry| entry.record.category()).collect();
    let header = reader.header();
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
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_page_full_of_anything_makes_no_more_records_than_it_has_places_and_time_goes_on(
        pages in prop::collection::vec(
            prop::collection::vec((prop_oneof![any::<u64>(), (any::<u64>(), 0u64..12).prop_map(|(ticks, kind)| (ticks << 12) | kind)], any::<u64>(), any::<u64>()), RECORDS),
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
        prop_assert!(made.len() <= 2 * pages.len() * RECORDS);
        prop_assert!(made.iter().all(|(time, _, _)| *time <= system.machine.now.0));
        prop_assert!(decoded.entries.is_sorted_by_key(|entry| entry.time_ns));
    }
}
