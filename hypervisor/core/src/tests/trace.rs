//! The trace: what was written is read, what is missing is counted, damage stops at its block.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hypercall_abi::event_channel::{BindIpi, EventChannelOp, PortArgument};
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantTableOp, copy_flags};
use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::{DomId, Hypercall};
use proptest::prelude::*;

use super::system::{SCRATCH, System, domain};
use crate::control;
use crate::memory::MachineMemory;
use crate::testing::{Fixture, TRACE_WORDS};
use crate::time::Time;
use crate::trace::decode::{Decoded, Entry, NoTrace, decode};
use crate::trace::layout::{BLOCK_WORDS, BLOCKS_START, NAMES_START};
use crate::trace::{Record, Trace, records};

pub(super) fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn command(system: &mut System, text: &str) {
    control::command(&mut system.world, &mut system.machine, text);
}

pub(super) fn read(system: &System) -> Decoded {
    decode(&bytes(&system.machine.traced())).unwrap()
}

#[test]
fn the_trace_agrees_with_the_counters() {
    let mut system = System::new(alloc::vec![domain("web-1"), domain("driver")]);
    let a = system.id("web-1");
    command(&mut system, "trace on");
    let bind = BindIpi { vcpu: 0, port: 0 };
    let port = system.with(Hypercall::EventChannelOp, EventChannelOp::BindIpi.raw(), &bind).unwrap().port;
    for _ in 0..5 {
        let send = PortArgument { port };
        system.with(Hypercall::EventChannelOp, EventChannelOp::Send.raw(), &send).unwrap();
    }
    let _ = system.raw_hypercall(63, [0; 5]);
    let _ = system.raw_hypercall(1 << 40, [0; 5]);
    let entry = |op: u64| MulticallEntry { op, ..MulticallEntry::zeroed() };
    system.poke(a, SCRATCH + 0x1000 - 0x100, &[entry(17), entry(17), entry(99)]);
    system.hypercall(Hypercall::Multicall, [SCRATCH + 0x1000 - 0x100, 3, 0, 0, 0]).unwrap();
    command(&mut system, "trace off");
    let decoded = read(&system);
    assert_eq!((decoded.lost, decoded.damaged_blocks), (0, 0));
    assert_eq!(decoded.names[&a], "web-1");
    let mut counted: BTreeMap<u8, u64> = BTreeMap::new();
    let mut change: BTreeMap<u8, i64> = BTreeMap::new();
    let mut before = true;
    for entry in decoded.entries.iter().filter(|entry| entry.domain == a) {
        match entry.record {
            Record::Counter { number, count } => {
                *change.entry(number).or_default() += if before { -(count as i64) } else { count as i64 };
            }
            Record::HypercallEntry { number, .. } | Record::PartEntry { number, .. } => {
                before = false;
                *counted.entry(number).or_default() += 1;
            }
            _ => {}
        }
    }
    for (number, count) in &counted {
        assert_eq!(change[number], *count as i64, "hypercall {number}");
    }
    assert_eq!(counted[&32], 6);
    assert_eq!(counted[&17], 2);
    assert_eq!(counted[&u8::MAX], 2);
    let raised = decoded.entries.iter().filter(|entry| matches!(entry.record, Record::EventRaised { .. }));
    assert_eq!(raised.count(), 5);
}

#[test]
fn a_trace_that_is_on_at_the_end_has_its_last_counters() {
    let mut system = System::new(alloc::vec![domain("web-1")]);
    let a = system.id("web-1");
    command(&mut system, "trace on");
    system.hypercall(Hypercall::XenVersion, [0; 5]).unwrap();
    command(&mut system, "poweroff");
    let decoded = read(&system);
    let is_last = |entry: &&Entry| entry.domain == a && matches!(entry.record, Record::Counter { .. });
    let last = decoded.entries.iter().rfind(is_last).unwrap();
    assert!(matches!(last.record, Record::Counter { number: 17, count: 1.. }), "{last:?}");
}

#[test]
fn each_entry_has_its_exit_with_the_result() {
    let mut system = System::new(alloc::vec![domain("a")]);
    command(&mut system, "trace on");
    system.hypercall(Hypercall::XenVersion, [0; 5]).unwrap();
    let decoded = read(&system);
    let [.., entry, exit] = decoded.entries.as_slice() else { panic!("too few") };
    assert_eq!(
        entry.record,
        Record::HypercallEntry { number: 17, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }
    );
    assert_eq!(exit.record, Record::HypercallExit { number: 17, result: 4 << 16 | 17 });
}

#[test]
fn a_copy_is_recorded_by_its_granted_side_with_its_status() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let (a, b) = (system.id("a"), system.id("b"));
    command(&mut system, "trace on");
    let side = |domid: DomId, frame_or_ref| CopySide { frame_or_ref, domid: domid.0, offset: 8, pad: 0 };
    // The second lies across two pages, for which there is another way.
    let asked = [
        (SCRATCH, side(b, 7), side(a, 1), copy_flags::SOURCE_GREF, 24),
        (SCRATCH + 0x1000 - 16, side(a, 1), side(b, 0xffff_fff0), copy_flags::DEST_GREF, 4000),
    ];
    let mut statuses = Vec::new();
    for (at, source, dest, flags, len) in asked {
        let request = CopyGrant { source, dest, len, flags, status: 99, pad: 0 };
        system.poke(a, at, &request);
        system.hypercall(Hypercall::GrantTableOp, [GrantTableOp::Copy.raw().into(), at, 1, 0, 0]).unwrap();
        statuses.push(system.peek::<CopyGrant>(a, at).status.unsigned_abs() as u8);
    }
    command(&mut system, "trace off");
    let decoded = read(&system);
    let copies: Vec<_> = decoded
        .entries
        .iter()
        .filter(|entry| matches!(entry.record, Record::GrantCopy { .. }))
        .map(|entry| (entry.domain, entry.record))
        .collect();
    let (peer, [first, second]) = (b.0, [statuses[0], statuses[1]]);
    assert!(first != 0 && second != 0, "nothing is granted");
    assert_eq!(
        copies,
        [
            (a, Record::GrantCopy { status: first, peer, bytes: 24, reference: 7 }),
            (a, Record::GrantCopy { status: second, peer, bytes: 4000, reference: 0xffff_fff0 }),
        ]
    );
}

#[test]
fn numbers_and_names_of_records_are_unique() {
    let mut kinds: Vec<_> = records::DESCRIPTIONS.iter().map(|description| description.kind).collect();
    let mut names: Vec<_> = records::DESCRIPTIONS.iter().map(|description| description.name).collect();
    kinds.dedup();
    names.sort_unstable();
    names.dedup();
    assert_eq!((kinds.len(), names.len()), (records::DESCRIPTIONS.len(), records::DESCRIPTIONS.len()));
    for about in records::DESCRIPTIONS {
        assert_eq!(records::description(about.kind).map(|found| found.name), Some(about.name));
    }
    assert!(kinds.is_sorted());
}

#[test]
fn a_file_that_is_no_trace_is_named_so() {
    assert!(matches!(decode(b"").unwrap_err(), NoTrace::TooShort));
    assert!(matches!(decode(&[0; 64]).unwrap_err(), NoTrace::Magic(0)));
}

/// ns from one numbered record to the next: a point of time is due now and then.
const APART: u64 = 70_000;

/// A trace of `count` records, each with its ordinal, [`APART`]. What says that it goes on counts as one more.
fn numbered(count: u64) -> (Vec<u64>, Trace) {
    let Fixture { mut machine, .. } = Fixture::new(32);
    let mut system = Fixture::new(32).world;
    system.trace.begin(&mut machine, 1_000_000);
    crate::trace::set_on(&mut system, &mut machine, true);
    for ordinal in 0..count {
        machine.now = Time(ordinal * APART);
        let record = match ordinal % 3 {
            0 => Record::Guest { a: ordinal, b: u64::MAX, c: 0 },
            1 => Record::Upcall { selector: ordinal },
            _ => Record::HypercallExit { number: 7, result: ordinal },
        };
        system.trace.put(&machine, DomId((ordinal % 5) as u16), &record);
    }
    let _ = machine.load(crate::memory::MachineAddress(0));
    (machine.traced(), system.trace)
}

fn ordinal(record: &Record) -> u64 {
    match record {
        Record::Guest { a, .. } => *a,
        Record::Upcall { selector } => *selector,
        Record::HypercallExit { result, .. } => *result,
        Record::State { .. } => u64::MAX,
        _ => panic!("{record:?} was never written"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn lost_and_found_records_add_up(count in 0u64..6000) {
        let (words, trace) = numbered(count);
        let decoded = decode(&bytes(&words)).unwrap();
        let all = count + 1;
        prop_assert_eq!(decoded.lost + decoded.entries.len() as u64, all);
        prop_assert_eq!((trace.written(), trace.lost(), decoded.overwritten), (all, decoded.lost, decoded.lost));
        let begins = usize::from(decoded.lost == 0);
        for (entry, expected) in decoded.entries.iter().skip(begins).zip(decoded.lost.max(1) - 1..) {
            prop_assert_eq!(ordinal(&entry.record), expected);
            prop_assert_eq!(entry.time_ns, expected * APART);
            prop_assert_eq!(u64::from(entry.domain.0), expected % 5);
        }
    }

    #[test]
    fn a_truncated_file_is_read_as_far_as_it_goes(count in 1u64..6000, keep in NAMES_START * 8..TRACE_WORDS * 8) {
        let (words, _) = numbered(count);
        let whole = decode(&bytes(&words)).unwrap();
        let mut file = bytes(&words);
        file.truncate(keep);
        let decoded = decode(&file).unwrap();
        prop_assert!(decoded.entries.len() <= whole.entries.len());
        let mut all: Vec<_> = whole.entries.iter().map(|entry| ordinal(&entry.record)).collect();
        all.sort_unstable();
        for entry in &decoded.entries {
            prop_assert!(all.binary_search(&ordinal(&entry.record)).is_ok());
        }
        let blocks = keep.saturating_sub(BLOCKS_START * 8) / (BLOCK_WORDS * 8);
        prop_assert!(blocks == 0 || !decoded.entries.is_empty());
    }

    #[test]
    fn damage_never_stops_the_reader(
        count in 1u64..6000,
        damage in prop::collection::vec((0usize..TRACE_WORDS, any::<u64>()), 1..200)
    ) {
        let (mut words, _) = numbered(count);
        for (at, word) in damage {
            words[at] = word;
        }
        words[0] = crate::trace::layout::MAGIC;
        words[1] = crate::trace::layout::VERSION;
        let _ = decode(&bytes(&words)).unwrap();
    }
}
