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
        disk: Vec::new(),
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

const NET: u16 = 8;

/// A server that reads its disk once before it answers; another client's event comes meanwhile.
fn read_from_disk() -> Vec<Entry> {
    let slept = Record::RunState { state: 2, reason: 3 };
    let switch = |from| Record::Switch { why: 0, from };
    let (wake, upcall) = (Record::Wake { ahead: 0 }, Record::Upcall { selector: 1 });
    let raised = |from| Record::EventRaised { merged: 0, port: 2, from };
    let asked = |index| Record::RingProduced { ring: 4, peer: DRIVER, index, count: 1, waiting: 1 };
    let (took, answered) = (
        |index| Record::RingConsumed { ring: 5, peer: 1, index, count: 1, waiting: 0 },
        |index| Record::RingProduced { ring: 5, peer: 1, index, count: 1, waiting: 0 },
    );
    let got = |index| Record::RingConsumed { ring: 4, peer: DRIVER, index, count: 1, waiting: 0 };
    let replied = Record::RingProduced { ring: 0, peer: NET, index: 9, count: 1, waiting: 1 };
    let taken = Record::RingConsumed { ring: 2, peer: 1, index: 9, count: 1, waiting: 0 };
    let records = [
        (0, 1, switch(32767)),
        (50, 1, slept),
        (50, NET, switch(1)),
        (100, 1, raised(NET)),
        (100, 1, wake),
        (100, NET, slept),
        (100, 1, switch(NET)),
        (110, 1, upcall),
        // An acknowledgement, which does not end it.
        (120, 1, replied),
        (150, 1, asked(41)),
        (160, DRIVER, wake),
        (200, 1, slept),
        (210, FLOOD, switch(1)),
        (410, DRIVER, Record::Switch { why: 1, from: FLOOD }),
        (450, DRIVER, took(41)),
        (460, DRIVER, slept),
        (460, FLOOD, switch(DRIVER)),
        // Somebody else's, who is served and whose answer takes nothing from the first.
        (500, 1, raised(NET)),
        (500, 1, wake),
        (600, 1, switch(FLOOD)),
        (610, 1, upcall),
        (620, 1, asked(42)),
        (640, 1, slept),
        (640, FLOOD, switch(1)),
        (900, DRIVER, wake),
        (920, DRIVER, switch(FLOOD)),
        (950, DRIVER, answered(41)),
        (960, 1, raised(DRIVER)),
        (960, 1, wake),
        (980, DRIVER, slept),
        (1000, 1, switch(DRIVER)),
        (1010, 1, upcall),
        (1050, 1, got(41)),
        (1060, 1, replied),
        (1100, 1, slept),
        (1100, NET, switch(1)),
        (1150, NET, taken),
        (1160, NET, slept),
    ];
    let entry = |(time_ns, id, record)| Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record };
    records.into_iter().map(entry).collect()
}

#[test]
fn a_request_goes_on_while_its_disk_is_waited_for_and_says_what_for() {
    let mut found = Vec::new();
    requests(read_from_disk().into_iter(), |request| found.push(request));
    let [request] = &found[..] else { panic!("{found:?}") };
    assert_eq!((request.begin, request.slept, request.end, request.disk.len()), (100, 1100, 1150, 1));
    let pieces = work::of(read_from_disk().into_iter(), &found);
    let (steps, blame) = chain::of(request, &pieces[0], &names());
    let stages: Vec<_> = steps.iter().map(|step| (step.stage, step.ns)).collect();
    let expected = [
        ("upcall", 10),
        ("work", 90),
        // The driver was told, and others were before it.
        ("disk's queue", 210),
        ("disk's ring", 40),
        ("disk's work", 10),
        ("device", 40),
        ("run queue", 100),
        ("work", 40),
        ("device", 260),
        ("disk's queue", 20),
        ("disk's work", 30),
        ("wake", 10),
        ("run queue", 40),
        ("work", 100),
        ("back end's work", 50),
    ];
    assert_eq!(stages, expected);
    let of = |name: &str| blame.iter().find(|one| one.0 == name).map(|one| one.1);
    // Not what it ran for while the device was at work.
    assert_eq!((of("device"), of("flood")), (Some(300), Some(200 + 100 + 20)), "{blame:?}");
}

#[test]
fn a_domain_that_always_has_something_asked_of_its_disk_waits_for_one_answer_at_a_time() {
    let (wake, upcall) = (Record::Wake { ahead: 0 }, Record::Upcall { selector: 1 });
    let mut records = vec![(0, Record::Switch { why: 0, from: 32767 })];
    let asked = |index, count| Record::RingProduced { ring: 4, peer: DRIVER, index, count, waiting: 4 };
    records.push((10, asked(4, 4)));
    records.push((20, Record::RunState { state: 2, reason: 3 }));
    for at in 1..100_u32 {
        let now = u64::from(at) * 100;
        records.extend([
            (now, Record::EventRaised { merged: 0, port: 2, from: DRIVER }),
            (now, wake),
            (now + 10, Record::Switch { why: 0, from: 32767 }),
            (now + 20, upcall),
            (now + 30, asked(at + 4, 1)),
            (now + 30, Record::RingConsumed { ring: 4, peer: DRIVER, index: at, count: 1, waiting: 0 }),
            (now + 40, Record::RunState { state: 2, reason: 3 }),
        ]);
    }
    let entry = |(time_ns, record)| Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(1), record };
    let mut found = Vec::new();
    requests(records.into_iter().map(entry), |request| found.push(request));
    // Each from an answer to that of the request that was made upon it, four later.
    assert!(found.len() > 15, "{found:?}");
    assert!(found.iter().all(|request| request.duration() <= 440 && request.disk.len() <= 1), "{found:?}");
}
