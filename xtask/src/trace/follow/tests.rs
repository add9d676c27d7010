//! What follows from a few records.

use super::facts::{Call, Upcall};
use super::*;
use hypercall_abi::Hypercall;

const SCHED: u8 = Hypercall::SchedOp.raw() as u8;

/// The facts of a trace.
fn facts(entries: &[(u64, u16, Record)]) -> Vec<Fact> {
    let mut follow = Follow::default();
    let mut facts = Vec::new();
    for &(time_ns, id, record) in entries {
        follow.see(&Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record }, |fact| facts.push(fact));
    }
    follow.finish(|fact| facts.push(fact));
    facts
}

/// A hypercall begins.
pub(in crate::trace) fn begin() -> Record {
    Record::HypercallEntry { number: SCHED, arg0: 1, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }
}

/// It ends.
pub(in crate::trace) fn end(result: u64) -> Record {
    Record::HypercallExit { number: SCHED, result }
}

/// A domain that sleeps in its hypercall while another runs, and goes on.
pub(in crate::trace) fn two_domains() -> Vec<(u64, u16, Record)> {
    vec![
        (100, 1, begin()),
        (150, 1, Record::RunState { state: 2, reason: 0 }),
        (160, 2, Record::Switch { from: 1, why: 0 }),
        (300, 1, Record::Wake { ahead: 0 }),
        (400, 1, Record::Switch { from: 2, why: 1 }),
        (500, 1, end(0)),
    ]
}

fn calls(facts: &[Fact]) -> Vec<Call> {
    facts.iter().filter_map(|fact| if let Fact::Call(call) = fact { Some(*call) } else { None }).collect()
}

fn raised(merged: u8) -> Record {
    Record::EventRaised { port: 3, from: 2, merged }
}

#[test]
fn a_call_is_from_entry_to_exit_without_the_time_of_others() {
    let facts = facts(&[
        (100, 1, begin()),
        (150, 2, Record::Switch { from: 1, why: 0 }),
        (900, 1, Record::Switch { from: 2, why: 1 }),
        (930, 1, end(0)),
    ]);
    let [call] = calls(&facts)[..] else { panic!("{facts:?}") };
    assert_eq!((call.begun, call.ended, call.spent, call.part), (Some(100), 930, 80, false));
}

#[test]
fn an_exit_whose_entry_is_lost_has_no_beginning() {
    let facts = facts(&[(100, 1, end(0)), (200, 1, begin())]);
    let [call] = calls(&facts)[..] else { panic!("{facts:?}") };
    assert_eq!(call.begun, None);
}

#[test]
fn run_states_of_a_domain_follow_each_other_without_a_gap() {
    let facts = facts(&two_domains());
    let spans = |id| -> Vec<(State, u64, u64)> {
        let span = |fact: &Fact| match fact {
            Fact::State(span) if span.domain == DomId(id) => Some((span.state, span.from, span.to)),
            _ => None,
        };
        facts.iter().filter_map(span).collect()
    };
    use State::{Blocked, Runnable, Running};
    let first = [(Running, 100, 150), (Blocked, 150, 300), (Runnable, 300, 400), (Running, 400, 500)];
    // Nothing is known of the second domain until it runs: it must have waited for that.
    let second = [(Runnable, 100, 160), (Running, 160, 400), (Runnable, 400, 500)];
    assert_eq!((spans(1), spans(2)), (first.to_vec(), second.to_vec()));
}

#[test]
fn an_event_waits_for_its_wake_the_queue_and_the_upcall() {
    let facts = facts(&[
        (50, 1, Record::RunState { state: 2, reason: 0 }),
        (60, 2, Record::Switch { from: 1, why: 0 }),
        (100, 1, raised(0)),
        (110, 1, Record::Wake { ahead: 0 }),
        (120, 1, raised(1)),
        (500, 1, Record::Switch { from: 2, why: 0 }),
        (507, 1, Record::Upcall { selector: 1 }),
    ]);
    let delivered = facts.iter().find_map(|fact| match fact {
        Fact::Delivered(delivery) => Some(*delivery),
        _ => None,
    });
    let delivery = delivered.unwrap();
    assert_eq!((delivery.state, delivery.from, delivery.merged), (State::Blocked, DomId(2), 1));
    let stages: Vec<_> = delivery.stages().collect();
    assert_eq!(stages, [("wake", 10), ("run queue", 390), ("upcall entry", 7)]);
    assert_eq!(stages.iter().map(|stage| stage.1).sum::<u64>(), delivery.total());
    let upcall = Upcall { domain: DomId(1), time: 507, ports: 1, events: 2, entry: Some(7) };
    assert!(facts.contains(&Fact::Upcall(upcall)));
}

#[test]
fn an_event_at_a_port_that_the_upcall_does_not_look_at_waits_on() {
    let facts = facts(&[
        (1, 1, begin()),
        (10, 1, Record::EventRaised { port: 70, from: 2, merged: 0 }),
        (20, 1, Record::Upcall { selector: 1 }),
        (30, 1, Record::Upcall { selector: 2 }),
    ]);
    let times: Vec<u64> = facts
        .iter()
        .filter_map(|fact| if let Fact::Delivered(delivery) = fact { Some(delivery.upcall) } else { None })
        .collect();
    assert_eq!(times, [30]);
}

#[test]
fn a_switch_takes_from_the_last_call_of_the_one_to_the_turn_of_the_other() {
    let facts = facts(&[
        (100, 1, begin()),
        (130, 1, end(0)),
        (150, 1, Record::RunState { state: 2, reason: 0 }),
        (170, 2, Record::Switch { from: 1, why: 0 }),
    ]);
    let gap = Gap { from: Some(DomId(1)), to: Some(DomId(2)), begun: 130, ended: 170, still: 20 };
    assert!(facts.contains(&Fact::Gap(gap)), "{facts:?}");
}
