//! Windows of made-up traces.

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;

use super::chart;
use super::window::Window;
use crate::trace::names::Names;

fn entry(id: u16, time_ns: u64, record: Record) -> Entry {
    Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record }
}

fn trace() -> Vec<Entry> {
    vec![
        entry(1, 0, Record::Switch { from: 32767, why: 4 }),
        entry(2, 2_000, Record::EventRaised { merged: 0, port: 3, from: 1 }),
        entry(2, 2_000, Record::Wake { ahead: 0 }),
        entry(2, 5_000, Record::Switch { from: 1, why: 0 }),
        entry(2, 5_100, Record::Upcall { selector: 1 }),
        entry(2, 7_000, Record::HypercallEntry { number: 29, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }),
        entry(2, 8_000, Record::HypercallExit { number: 29, result: 0 }),
        entry(2, 20_000, Record::Upcall { selector: 1 }),
    ]
}

#[test]
fn a_letter_a_moment_says_what_each_domain_did() {
    let window = Window::of(trace(), 0, 10_000, 100);
    let text = chart::text(&window, &Names::default(), |_| true, 20);
    let lanes: Vec<&str> = text.lines().skip(1).map(|line| line.get(15..).unwrap_or("")).collect();
    assert_eq!(lanes[0], "###########.........", "{text}");
    assert_eq!(lanes[1], "....!-----^###hhh###", "{text}");
}

#[test]
fn the_records_nearest_to_the_middle_are_listed() {
    let window = Window::of(trace(), 0, 10_000, 3);
    let times: Vec<u64> = window.entries.iter().map(|entry| entry.time_ns).collect();
    assert_eq!((times, window.more), (vec![5_000, 5_100, 7_000], 4));
    assert_eq!(window.reach, Some((0, 20_000)), "it was read up to the window's end and no further");
}

#[test]
fn a_window_past_the_end_is_empty() {
    assert!(Window::of(Vec::new(), 0, 10, 10).is_empty());
    assert!(Window::of(trace(), 30_000, 40_000, 10).entries.is_empty());
}
