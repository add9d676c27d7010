//! A request among neighbours, from its event to its answer.

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;

use super::requests::{Request, requests};
use super::{chain, work};
use crate::trace::names::Names;

const DRIVER: u16 = 9;
const FLOOD: u16 = 5;

fn entries() -> Vec<Entry> {
    let slept = Record::RunState { state: 2, reason: 3 };
    let switch = |from| Record::Switch { why: 0, from };
    let produced = Record::RingProduced { ring: 0, peer: DRIVER, index: 1, count: 1, waiting: 1 };
    let consumed = |peer| Record::RingConsumed { ring: 2, peer, index: 1, count: 1, waiting: 0 };
    let records = [
        (0, DRIVER, switch(32767)),
        (50, 1, slept),
        (100, 1, Record::EventRaised { merged: 0, port: 2, from: DRIVER }),
        (110, 1, Record::Wake { ahead: 0 }),
        (120, DRIVER, slept),
        (120, FLOOD, switch(DRIVER)),
        (620, DRIVER, Record::Wake { ahead: 0 }),
        (700, FLOOD, Record::RunState { state: 1, reason: 1 }),
        (700, 1, Record::Switch { why: 1, from: FLOOD }),
        (710, 1, Record::Upcall { selector: 1 }),
        (750, 1, produced),
        (800, 1, slept),
        (810, DRIVER, switch(1)),
        (1210, DRIVER, consumed(FLOOD)),
        (1260, DRIVER, consumed(1)),
        (1300, DRIVER, slept),
    ];
    let entry = |(time_ns, id, record)| Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record };
    records.into_iter().map(entry).collect()
}

fn names() -> Names {
    let names = [(1, "web"), (FLOOD, "flood"), (DRIVER, "driver")];
    Names::new(&names.map(|(id, name)| (DomId(id), name.to_owned())).into())
}

fn found() -> Vec<Request> {
    let mut found = Vec::new();
    requests(entries().into_iter(), |request| found.push(request));
    found
}

#[test]
fn a_request_lasts_until_the_back_end_has_taken_the_answer() {
    let request = Request {
        domain: DomId(1),
        from: DomId(DRIVER),
        port: 2,
        begin: 100,
        upcall: 710,
        slept: 800,
        back: Some(DomId(DRIVER)),
        end: 1260,
    };
    assert_eq!(found(), [request]);
}

#[test]
fn each_stage_says_who_had_what_the_request_waited_for() {
    let found = found();
    let pieces = work::of(entries().into_iter(), &found);
    let (steps, blame) = chain::of(&found[0], &pieces[0], &names());
    let stages: Vec<_> = steps.iter().map(|step| (step.stage, step.ns, step.by[0].what.as_str())).collect();
    let expected = [
        ("wake", 10, "driver"),
        ("run queue", 590, "flood"),
        ("upcall", 10, "itself"),
        ("work", 90, "itself"),
        ("back end's queue", 10, "switches"),
        ("back end's work", 450, "driver for flood"),
    ];
    assert_eq!(stages, expected);
    assert_eq!(stages.iter().map(|stage| stage.1).sum::<u64>(), found[0].duration());
    // Its turn, and what the driver did with its ring.
    let flood = blame.iter().find(|one| one.0 == "flood").map(|one| one.1);
    assert_eq!(flood, Some(580 + 400), "{blame:?}");
}

#[test]
fn an_event_that_no_handler_saw_before_the_domain_slept_makes_no_request() {
    let mut entries = entries();
    // It sleeps without its handler having been entered.
    entries.retain(|entry| !matches!(entry.record, Record::Upcall { .. }));
    let mut found = Vec::new();
    requests(entries.into_iter(), |request| found.push(request));
    assert_eq!(found, []);
}
