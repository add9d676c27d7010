//! Statistics of a few records.

use hypercall_abi::{DomId, Hypercall};
use hypervisor_core::trace::reader::Entry;
use hypervisor_core::trace::records::Counted;
use hypervisor_core::trace::{Category, Record};

use super::gather::Gather;
use super::{Ring, Stats};
use crate::cli;
use crate::trace::filter::Filter;
use crate::trace::follow::tests::{begin, end, two_domains};
use crate::trace::names::Names;

const SCHED: u8 = Hypercall::SchedOp.raw() as u8;

fn trace(entries: &[(u64, u16, Record)]) -> Stats {
    asked(entries, Filter::default())
}

fn asked(entries: &[(u64, u16, Record)], filter: Filter) -> Stats {
    let mut gather = Gather::new(filter);
    for &(time_ns, id, record) in entries {
        gather.see(&Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record });
    }
    gather.finish();
    gather.stats(&Names::default(), true, None)
}

#[test]
fn a_hypercall_has_its_count_its_durations_and_its_errors() {
    let stats =
        trace(&[(100, 1, begin()), (350, 1, end(0)), (400, 2, begin()), (500, 2, end(u64::MAX - 21))]);
    let call = &stats.hypercalls["sched_op"];
    assert_eq!(
        (call.count, call.mean_ns, call.min_ns, call.max_ns, call.errors),
        (2, Some(175.0), Some(100), Some(250), 1)
    );
    let of: Vec<_> =
        stats.calls.iter().map(|of| (of.domain.as_str(), of.call.count, of.call.max_ns)).collect();
    assert_eq!(of, [("d1", 1, Some(250)), ("d2", 1, Some(100))]);
}

#[test]
fn domains_that_run_at_once_are_told_of() {
    let runs = |time, id, state| (time, id, Record::RunState { state, reason: 0 });
    let overlap =
        |first_ends| trace(&[runs(0, 1, 0), runs(first_ends, 1, 1), runs(100, 2, 0), runs(200, 2, 2)]);
    assert_eq!(overlap(100).processor.unwrap().overlap_ns, 0);
    assert_eq!(trace(&[runs(0, 1, 0), runs(100, 2, 0), runs(200, 2, 2)]).processor.unwrap().overlap_ns, 100);
}

#[test]
fn an_exit_whose_entry_is_lost_gives_no_duration() {
    let stats = trace(&[(100, 1, end(0)), (200, 1, begin())]);
    let call = &stats.hypercalls["sched_op"];
    assert_eq!((call.count, call.paired, call.mean_ns), (1, 0, None));
}

#[test]
fn counts_are_held_against_the_hypervisor_s_counters() {
    let counter = |count| Record::Counter { number: SCHED, count };
    let calls = [(2, 1, begin()), (3, 1, end(0))];
    let with = |last| {
        let records = [&[(1, 1, counter(70))], &calls[..], &[(4, 1, counter(last))]].concat();
        trace(&records).counters.unwrap()
    };
    assert!(with(71).differing.is_empty());
    assert_eq!(with(72).differing, ["sched_op of d1: 2 counted, 1 in the trace"]);
}

#[test]
fn events_and_run_states_are_held_against_them_too() {
    let tally = |count| Record::Tally { what: Counted::Merged.raw(), count };
    let state = |state, spent| Record::StateTime { state, spent, present: 0 };
    let on = |categories| (0, 1, Record::State { on: 1, categories });
    let raised = |time| (time, 1, Record::EventRaised { port: 3, from: 2, merged: 1 });
    let with = |categories, last, blocked| {
        trace(&[
            on(categories),
            (1, 1, tally(70)),
            (2, 1, state(0, 500)),
            (3, 1, state(2, 10)),
            raised(9),
            (100_000_001, 1, tally(last)),
            (100_000_002, 1, state(0, 600)),
            (100_000_003, 1, state(2, blocked)),
        ])
        .counters
    };
    let good = with(u32::MAX, 71, 99_999_911).unwrap();
    assert_eq!((good.compared, good.vcpus, good.states_off_ns, good.differing.len()), (2, 1, 1, 1));
    assert_eq!(good.differing, ["raised of d1: 0 counted, 1 in the trace"]);
    let bad = with(u32::MAX, 74, 80_000_000).unwrap().differing;
    assert_eq!(bad[1], "merged of d1: 4 counted, 1 in the trace");
    assert_eq!(bad[2], "run states of d1: 80000090 ns in 100000000 ns");
    // What was not recorded is not missed.
    assert!(with(Category::Hypercall.bit(), 74, 0).is_none());
}

#[test]
fn events_are_counted_for_their_target_and_between_domains() {
    let raised = |merged| Record::EventRaised { port: 3, from: 2, merged };
    let stats = trace(&[(1, 1, raised(0)), (2, 1, raised(1)), (3, 1, Record::Upcall { selector: 1 })]);
    let domain = &stats.domains[0];
    assert_eq!((domain.raised, domain.merged, domain.upcalls), (Some(2), Some(1), Some(1)));
    let [pair] = &stats.interrupts.as_ref().unwrap()[..] else { panic!("{:?}", stats.interrupts) };
    assert_eq!((pair.from.as_str(), pair.to.as_str(), pair.raised, pair.merged), ("d2", "d1", 2, 1));
    assert_eq!(stats.batches, Some([(2, 1)].into()));
}

#[test]
fn run_states_add_up_to_the_trace_s_time() {
    let stats = trace(&two_domains());
    for domain in &stats.domains {
        let states = [domain.running_ns, domain.runnable_ns, domain.blocked_ns].map(Option::unwrap);
        let sum: u64 = states.iter().sum();
        assert_eq!((sum, domain.unknown_ns), (stats.span_ns, Some(0)), "{domain:?}");
    }
}

#[test]
fn rings_are_counted_by_the_side_that_tells_of_them() {
    let stats = trace(&[
        (1, 1, Record::RingProduced { ring: 4, peer: 2, index: 5, count: 5, waiting: 5 }),
        (2, 1, Record::RingNotified { ring: 4, peer: 2 }),
        (3, 1, Record::RingProduced { ring: 4, peer: 3, index: 1, count: 1, waiting: 1 }),
        (4, 1, Record::RingSuppressed { ring: 4, peer: 3 }),
        (5, 1, Record::RingConsumed { ring: 4, peer: 2, index: 5, count: 5, waiting: 0 }),
        // The first look after a pause tells of what went before.
        (6, 2, Record::RingConsumed { ring: 5, peer: 1, index: 9000, count: 9000, waiting: 1 }),
        (7, 2, Record::RingConsumed { ring: 5, peer: 1, index: 9005, count: 5, waiting: 2 }),
    ]);
    let [front, back] = &stats.rings.as_ref().unwrap()[..] else { panic!("{:?}", stats.rings) };
    let expected = Ring {
        domain: "d1".to_owned(),
        ring: "FrontBlock".to_owned(),
        produced: 6,
        consumed: 5,
        batch: Some(3.0),
        waiting_max: 5,
        notified: 1,
        suppressed: 1,
    };
    assert_eq!(*front, expected);
    assert_eq!((back.ring.as_str(), back.consumed, back.batch), ("BackBlock", 5, None));
}

/// The same, of which these categories were recorded.
fn recorded(categories: u32) -> Vec<(u64, u16, Record)> {
    let mut records = vec![(0, 1, Record::State { on: 1, categories })];
    records.extend(two_domains());
    records
}

#[test]
fn what_was_not_recorded_is_left_out_and_said() {
    let all = trace(&recorded(u32::MAX));
    assert!(all.processor.is_some() && all.left_out.is_empty(), "{:?}", all.left_out);
    let calls = trace(&recorded(Category::Hypercall.bit()));
    assert!(calls.processor.is_none() && calls.delays.is_none() && calls.batches.is_none());
    assert_eq!((calls.domains[0].running_ns, calls.domains[0].raised), (None, None));
    assert_eq!(calls.domains[0].hypercalls, Some(1));
    assert_eq!((calls.hypercalls["sched_op"].count, calls.hypercalls["sched_op"].mean_ns), (1, None));
    assert!(
        calls.left_out.contains(&"run states: run-state was not recorded".to_owned()),
        "{:?}",
        calls.left_out
    );
    let states = trace(&recorded(Category::RunState.bit()));
    assert!(states.processor.is_none() && states.domains[0].running_ns.is_some());
}

#[test]
fn a_part_of_the_time_has_that_part_of_each_figure() {
    let names = Names::default();
    let window = |from, to| {
        let options =
            cli::Filter { from: Some(cli::Ns(from)), to: Some(cli::Ns(to)), ..cli::Filter::default() };
        Filter::new(&options, &names).unwrap()
    };
    let stats = asked(&recorded(u32::MAX), window(200, 420));
    assert_eq!(stats.span_ns, 220);
    for domain in &stats.domains {
        let states = [domain.running_ns, domain.runnable_ns, domain.blocked_ns].map(Option::unwrap);
        assert_eq!(states.iter().sum::<u64>(), 220, "{domain:?}");
    }
    // No record lies in it, but somebody has the processor.
    assert_eq!(asked(&recorded(u32::MAX), window(310, 320)).span_ns, 10);
    let reach = stats.reach;
    window(500, 900).must_meet(reach).unwrap();
    let late = window(501, 900).must_meet(reach).unwrap_err().0;
    assert_eq!(
        late,
        "nothing is recorded from 0.000000501 s on; the trace goes from 0.000000000 s to 0.000000500 s"
    );
}

#[test]
fn of_one_domain_the_processor_s_time_is_not_told() {
    let names = Names::default();
    let options = cli::Filter { domain: vec!["1".to_owned()], ..cli::Filter::default() };
    let stats = asked(&recorded(u32::MAX), Filter::new(&options, &names).unwrap());
    let whole = trace(&recorded(u32::MAX));
    assert!(stats.processor.is_none());
    assert_eq!(stats.domains.len(), 1);
    assert_eq!(stats.domains[0].running_ns, whole.domains[0].running_ns);
}
