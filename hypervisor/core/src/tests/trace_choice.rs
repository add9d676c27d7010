//! What is chosen is what is recorded: categories, domains, hypercalls, durations, and where the recording ends.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hypercall_abi::extension::ExtensionOp;
use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::sched::SchedOp;
use hypercall_abi::{DomId, Hypercall};

use super::system::{SCRATCH, System, domain};
use super::trace::{command, read};
use crate::trace::category::Category;
use crate::trace::decode::Entry;
use crate::trace::layout::LOST_START;
use crate::trace::records::Condition;
use crate::trace::{Record, set_on};

/// Records that are not the trace's own.
fn chosen(system: &System) -> Vec<Entry> {
    let mut entries = read(system).entries;
    entries.retain(|entry| entry.record.category() != Category::Trace);
    entries
}

fn version(system: &mut System) {
    system.hypercall(Hypercall::XenVersion, [0; 5]).unwrap();
}

fn give_way(system: &mut System) {
    system.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Yield.raw()), 0, 0, 0, 0]).unwrap();
}

fn trigger(system: &System) -> Option<Record> {
    read(system)
        .entries
        .iter()
        .map(|entry| entry.record)
        .find(|record| matches!(record, Record::Trigger { .. }))
}

#[test]
fn categories_change_while_the_trace_is_on() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    command(&mut system, "trace categories hypercall");
    command(&mut system, "trace on");
    give_way(&mut system);
    assert!(chosen(&system).iter().all(|entry| entry.record.category() == Category::Hypercall));
    let before = chosen(&system).len();
    assert!(before >= 2);
    command(&mut system, "trace categories run-state");
    give_way(&mut system);
    let entries = chosen(&system);
    assert!(entries.len() > before);
    assert!(entries[before..].iter().all(|entry| entry.record.category() == Category::RunState));
}

#[test]
fn only_the_chosen_domain_and_the_chosen_hypercall_are_recorded() {
    let mut system = System::new(alloc::vec![domain("web-1"), domain("driver")]);
    let web = system.id("web-1");
    for setting in ["categories hypercall", "domains web-*", "calls xen_version", "nonsense 1"] {
        command(&mut system, &alloc::format!("trace {setting}"));
    }
    command(&mut system, "trace on");
    for _ in 0..2 {
        version(&mut system);
        give_way(&mut system);
    }
    let entries = chosen(&system);
    assert_eq!(entries.len(), 2, "{entries:?}");
    for entry in entries {
        assert_eq!(entry.domain, web);
        let number = match entry.record {
            Record::HypercallEntry { number, .. } | Record::HypercallExit { number, .. } => number,
            record => panic!("{record:?}"),
        };
        assert_eq!(u32::from(number), Hypercall::XenVersion.raw());
    }
}

#[test]
fn only_long_hypercalls_are_recorded_and_a_multicall_stands_for_its_parts() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    command(&mut system, "trace categories hypercall");
    command(&mut system, "trace longer 200");
    command(&mut system, "trace on");
    let part = MulticallEntry { op: 17, ..MulticallEntry::zeroed() };
    system.poke(a, SCRATCH, &[part, part]);
    let multicall = [SCRATCH, 2, 0, 0, 0];
    // A multicall looks at the clock once more than other calls.
    system.machine.passing.set((99, 0));
    system.hypercall(Hypercall::Multicall, multicall).unwrap();
    assert_eq!(chosen(&system), []);
    let passed = system.machine.passing.get().1;
    system.machine.passing.set((100, passed));
    system.hypercall(Hypercall::Multicall, multicall).unwrap();
    let records: Vec<_> = chosen(&system).iter().map(|entry| entry.record).collect();
    let number = u8::try_from(Hypercall::Multicall.raw()).unwrap();
    let expected = Record::LongCall { number, result: 0, duration: 200, arg0: SCRATCH, arg1: 2 };
    assert_eq!(records, [expected]);
}

#[test]
fn a_long_hypercall_ends_the_recording() {
    let mut system = System::new(alloc::vec![domain("a")]);
    command(&mut system, "trace stop call 100");
    command(&mut system, "trace on");
    system.machine.passing.set((99, 0));
    version(&mut system);
    assert!(system.world.trace.is_on());
    let passed = system.machine.passing.get().1;
    system.machine.passing.set((100, passed));
    version(&mut system);
    assert!(!system.world.trace.is_on());
    let expected = Record::Trigger { condition: Condition::Call.raw(), value: 100 };
    assert_eq!(trigger(&system), Some(expected));
}

#[test]
fn a_death_ends_the_recording() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    command(&mut system, "trace stop death");
    command(&mut system, "trace on");
    version(&mut system);
    assert!(system.world.trace.is_on());
    command(&mut system, "destroy b");
    assert!(!system.world.trace.is_on());
    assert_eq!(trigger(&system), Some(Record::Trigger { condition: Condition::Death.raw(), value: 0 }));
}

#[test]
fn a_delay_ends_the_recording() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    command(&mut system, "trace stop delay 5000");
    command(&mut system, "trace on");
    system.machine.now = system.machine.now.after(4000);
    give_way(&mut system);
    assert!(system.world.trace.is_on());
    system.machine.now = system.machine.now.after(6000);
    give_way(&mut system);
    assert!(!system.world.trace.is_on());
    assert_eq!(trigger(&system), Some(Record::Trigger { condition: Condition::Delay.raw(), value: 6000 }));
}

#[test]
fn what_a_live_trace_has_no_room_for_is_counted_by_category() {
    let mut system = System::new(alloc::vec![domain("a")]);
    command(&mut system, "trace mode live");
    command(&mut system, "trace on");
    let op = u64::from(ExtensionOp::TraceEmit.raw());
    for _ in 0..1000 {
        system.hypercall(Hypercall::Extension, [op, 1, 2, 3, 0]).unwrap();
    }
    let mut found: BTreeMap<Category, u64> = BTreeMap::new();
    for entry in read(&system).entries {
        *found.entry(entry.record.category()).or_default() += 1;
    }
    let lost = |category: Category| system.machine.traced()[LOST_START + usize::from(category.raw())];
    assert_eq!(found[&Category::Hypercall] + lost(Category::Hypercall), 2000);
    assert_eq!(found[&Category::Guest] + lost(Category::Guest), 1000);
    let all: u64 = Category::ALL.iter().map(|category| lost(*category)).sum();
    assert!(all > 0);
    assert_eq!(all, system.world.trace.lost());
}

#[test]
fn run_states_add_up_to_the_time_that_passed_by_the_trace_alone() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    command(&mut system, "trace categories run-state");
    command(&mut system, "trace on");
    let start = system.machine.now.0;
    for turn in 1..12_u64 {
        system.machine.now = system.machine.now.after(700 * turn);
        match turn {
            4 => system.block(),
            5 => {
                let _ = system.idle_until(system.machine.now.0 + 3000);
                system.pass(4000);
            }
            _ => give_way(&mut system),
        }
    }
    set_on(&mut system.world, &mut system.machine, false);
    let end = system.machine.now.0;
    let ids = [system.id("a"), system.id("b")];
    for id in ids {
        let (first, last, by_changes) = times(&read(&system).entries, id, start, end);
        let spent = |state: usize| last[state] - first[state];
        assert_eq!((0..4).map(spent).sum::<u64>(), end - start);
        assert_eq!([spent(0), spent(1), spent(2), spent(3)], by_changes, "{id:?}");
    }
}

#[test]
fn run_states_are_of_the_moment_that_their_records_name() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    // Time goes on with each look at the clock, and not always as fast.
    system.machine.passing.set((7, 0));
    command(&mut system, "trace on");
    system.machine.now = system.machine.now.after(5000);
    give_way(&mut system);
    system.machine.passing.set((31, system.machine.passing.get().1));
    set_on(&mut system.world, &mut system.machine, false);
    for id in [system.id("a"), system.id("b")] {
        let mut sums: Vec<(u64, u64)> = Vec::new();
        for entry in read(&system).entries.iter().filter(|entry| entry.domain == id) {
            if let Record::StateTime { state, spent, .. } = entry.record {
                if state == 0 {
                    sums.push((entry.time_ns, 0));
                }
                sums.last_mut().unwrap().1 += spent;
            }
        }
        let [first, last] = sums[..] else { panic!("{sums:?}") };
        assert_eq!(last.1 - first.1, last.0 - first.0, "{id:?}");
    }
}

/// Times in each state at the trace's beginning, at its end, and as the changes between them say.
fn times(entries: &[Entry], id: DomId, start: u64, end: u64) -> ([u64; 4], [u64; 4], [u64; 4]) {
    let (mut first, mut last, mut changes) = ([None; 4], [0; 4], [0; 4]);
    let (mut state, mut since) = (0, start);
    for entry in entries.iter().filter(|entry| entry.domain == id) {
        match entry.record {
            Record::StateTime { state: which, spent, present } => {
                let begins = first[usize::from(which)].is_none();
                first[usize::from(which)].get_or_insert(spent);
                last[usize::from(which)] = spent;
                if begins && present == 1 {
                    state = usize::from(which);
                }
            }
            Record::RunState { state: next, .. } => {
                changes[state] += entry.time_ns - since;
                (state, since) = (usize::from(next), entry.time_ns);
            }
            _ => {}
        }
    }
    changes[state] += end - since;
    (first.map(Option::unwrap), last, changes)
}
