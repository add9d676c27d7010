//! The streaming reader: it keeps up with a trace that is still written, and passes over what it does not know.

use alloc::vec::Vec;

use hypercall_abi::DomId;
use proptest::prelude::*;

use crate::testing::{Fixture, TRACE_WORDS};
use crate::trace::layout::{BLOCK_HEADER, BLOCKS_START};
use crate::trace::reader::{Reader, Source};
use crate::trace::{Record, set_on};

/// Storage that is written between two reads.
pub(super) struct Shared<'a>(pub(super) &'a core::cell::RefCell<Vec<u64>>);

impl Source for Shared<'_> {
    fn read(&mut self, first: usize, into: &mut [u64]) -> usize {
        let words = self.0.borrow();
        let words = words.get(first..).unwrap_or_default();
        into.iter_mut().zip(words).for_each(|(to, from)| *to = *from);
        words.len().min(into.len())
    }
}

/// The number of a record, or nothing for the one that says that the trace goes on.
fn ordinal(record: &Record) -> Option<u64> {
    match record {
        Record::Guest { a, .. } => Some(*a),
        Record::State { .. } => None,
        _ => panic!("{record:?} was never written"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_reader_keeps_up_or_counts_what_it_missed(bursts in prop::collection::vec(0u64..1500, 1..8)) {
        let Fixture { mut machine, .. } = Fixture::new(32);
        let mut world = Fixture::new(32).world;
        world.trace.begin(&mut machine, 1_000_000);
        set_on(&mut world, &mut machine, true);
        let storage = core::cell::RefCell::new(machine.traced());
        let mut reader = Reader::new(Shared(&storage)).unwrap();
        let (mut written, mut last) = (0, None);
        for burst in bursts {
            for _ in 0..burst {
                world.trace.put(&machine, DomId(1), &Record::Guest { a: written, b: 0, c: 0 });
                written += 1;
            }
            *storage.borrow_mut() = machine.traced();
            reader.refresh().unwrap();
            for ordinal in reader.by_ref().filter_map(|entry| ordinal(&entry.record)) {
                prop_assert!(last.is_none_or(|last| ordinal > last));
                last = Some(ordinal);
            }
            let tally = reader.tally();
            prop_assert_eq!(tally.records + tally.lost, written + 1);
            prop_assert_eq!((tally.damaged_blocks, tally.truncated), (0, false));
            prop_assert!(burst == 0 || last == Some(written - 1));
        }
    }
}

#[test]
fn a_record_of_an_unknown_kind_is_passed_over_and_counted() {
    let Fixture { mut machine, .. } = Fixture::new(32);
    let mut world = Fixture::new(32).world;
    world.trace.begin(&mut machine, 1_000_000);
    set_on(&mut world, &mut machine, true);
    for a in 0..3 {
        world.trace.put(&machine, DomId(1), &Record::Guest { a, b: 0, c: 0 });
    }
    let mut words = machine.traced();
    assert!(words.len() == TRACE_WORDS);
    // The second of them becomes one of a kind that nobody knows; two words are before them, and three are the first.
    words[BLOCKS_START + BLOCK_HEADER + 5] |= 0x6a;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let found: Vec<_> = reader.by_ref().filter_map(|entry| ordinal(&entry.record)).collect();
    assert_eq!(found, [0, 2]);
    assert_eq!((reader.tally().unknown, reader.tally().lost, reader.tally().damaged_blocks), (1, 1, 0));
}
