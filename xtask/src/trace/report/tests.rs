//! The page of made-up traces.

use std::collections::BTreeMap;

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;

use super::tried;
use crate::trace::names::Names;

fn entry(id: u16, time_ns: u64, record: Record) -> Entry {
    Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record }
}

fn names() -> Names {
    let names = [(1, "driver"), (2, "web-<1>")];
    Names::new(&names.map(|(id, name)| (DomId(id), name.to_owned())).into_iter().collect::<BTreeMap<_, _>>())
}

#[test]
fn each_plot_is_there_and_names_are_no_markup() {
    let call = Record::HypercallEntry { number: 29, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 };
    let mut entries = Vec::new();
    for turn in 0..50 {
        let at = turn * 100_000;
        entries.extend([
            entry(1, at, Record::Switch { from: 2, why: 0 }),
            entry(2, at + 20_000, Record::EventRaised { merged: 0, port: 3, from: 1 }),
            entry(2, at + 20_000, Record::Wake { ahead: 0 }),
            entry(2, at + 50_000, Record::Switch { from: 1, why: 0 }),
            entry(2, at + 50_100, Record::Upcall { selector: 1 }),
            entry(2, at + 60_000, call),
            entry(2, at + 61_000, Record::HypercallExit { number: 29, result: 0 }),
        ]);
    }
    let page = tried(&entries, &names());
    let titles = [
        "Who had the processor",
        "A closer look",
        "Delays of events",
        "Events that an upcall",
        "Who calls what",
    ];
    for title in titles {
        assert!(page.contains(title), "{title}");
    }
    assert_eq!(page.matches("<svg").count(), 5);
    assert!(page.contains("web-&lt;1&gt;") && !page.contains("web-<1>"));
    assert!(!page.contains("NaN") && !page.contains("inf"), "a figure went astray");
}

#[test]
fn a_trace_of_next_to_nothing_has_a_page() {
    let page = tried(&[entry(1, 5, Record::Instant { name: 0, value: 0 })], &names());
    assert!(page.contains("Who had the processor") && !page.contains("NaN"));
}
