//! How long events wait for their handling, and how many one upcall finds: from the trace of a round of its own.
//! It exists because the counters know how many there were, but not when.

use std::collections::{BTreeMap, HashMap};

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::decode::Decoded;
use serde::{Deserialize, Serialize};

/// Of the measured guests under one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delays {
    /// Events whose handling began.
    pub(crate) events: u64,
    /// Half of them waited no longer, in ns.
    pub(crate) p50_ns: u64,
    /// 99 of 100 waited no longer.
    pub(crate) p99_ns: u64,
    /// How many waited up to so many ns: powers of two.
    pub(crate) histogram_ns: BTreeMap<u64, u64>,
    /// How many upcalls found so many events.
    pub(crate) events_per_upcall: BTreeMap<u64, u64>,
    /// Records that the trace had no room for.
    pub(crate) lost: u64,
}

/// From the records between `from_ns` and `to_ns`.
pub(crate) fn delays(decoded: &Decoded, from_ns: u64, to_ns: u64) -> Delays {
    let is_guest = |id: DomId| decoded.names.get(&id).is_some_and(|name| name.starts_with("web-"));
    let mut waiting: HashMap<DomId, Vec<u64>> = HashMap::new();
    let mut waits: Vec<u64> = Vec::new();
    let mut delays = Delays { lost: decoded.lost, ..Delays::default() };
    let within = |time: u64| (from_ns..=to_ns).contains(&time);
    for entry in decoded.entries.iter().filter(|entry| within(entry.time_ns) && is_guest(entry.domain)) {
        match entry.record {
            Record::EventRaised { .. } => waiting.entry(entry.domain).or_default().push(entry.time_ns),
            Record::Upcall { .. } => {
                let raised = waiting.remove(&entry.domain).unwrap_or_default();
                *delays.events_per_upcall.entry(raised.len() as u64).or_default() += 1;
                waits.extend(raised.iter().map(|time| entry.time_ns.saturating_sub(*time)));
            }
            _ => {}
        }
    }
    waits.sort_unstable();
    for wait in &waits {
        *delays.histogram_ns.entry(wait.next_power_of_two()).or_default() += 1;
    }
    let at = |percent: usize| {
        waits.get((waits.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
    };
    delays.events = waits.len() as u64;
    (delays.p50_ns, delays.p99_ns) = (at(50), at(99));
    delays
}

#[cfg(test)]
mod tests {
    use hypervisor_core::trace::decode::Entry;

    use super::*;

    #[test]
    fn an_upcall_handles_all_that_was_raised_before_it() {
        let raised = Record::EventRaised { port: 1, from: 0, merged: 0 };
        let upcall = Record::Upcall { selector: 1 };
        let entry =
            |time_ns, domain, record| Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(domain), record };
        let names = [(DomId(1), "web-1"), (DomId(2), "driver")];
        let decoded = Decoded {
            names: names.into_iter().map(|(id, name)| (id, name.to_owned())).collect(),
            entries: vec![
                entry(50, 1, raised),
                entry(100, 1, raised),
                entry(110, 2, raised),
                entry(120, 1, raised),
                entry(200, 2, upcall),
                entry(200, 1, upcall),
                entry(300, 1, raised),
            ],
            ..Decoded::default()
        };
        let delays = delays(&decoded, 100, 400);
        assert_eq!((delays.events, delays.p50_ns, delays.p99_ns), (2, 80, 100));
        assert_eq!(delays.events_per_upcall, BTreeMap::from([(2, 1)]));
    }
}
