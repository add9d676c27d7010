//! Counts and durations from a trace, in the manner of `perf kvm stat`.
//! It exists because counters say how often, and only a trace says how long.

use std::collections::BTreeMap;

use hypercall_abi::{DomId, Errno};
use hypervisor_core::trace::Record;
use hypervisor_core::trace::decode::Decoded;
use serde::Serialize;

use super::audit::{Audit, Counters};
use super::text::{call, domain};

/// What a trace amounts to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stats {
    /// Records in it.
    pub(crate) records: u64,
    /// Records that should be in it but are not.
    pub(crate) lost: u64,
    /// Of those, the ones that newer records overwrote.
    pub(crate) overwritten: u64,
    /// Blocks that did not add up.
    pub(crate) damaged_blocks: u64,
    /// Whether the file ends too early.
    pub(crate) truncated: bool,
    /// From the first record to the last.
    pub(crate) span_ns: u64,
    /// By name of the hypercall.
    pub(crate) hypercalls: BTreeMap<String, Call>,
    /// Records by kind.
    pub(crate) kinds: BTreeMap<String, u64>,
    /// By domain, in order of number.
    pub(crate) domains: Vec<Domain>,
    /// The hypervisor's own counters over the trace's time, if it holds them and lacks nothing else.
    pub(crate) counters: Option<Counters>,
    /// What is missing, in words.
    pub(crate) remark: String,
}

/// One hypercall.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Call {
    /// Entries, those of parts of multicalls included.
    pub(crate) count: u64,
    /// Pairs of entry and exit, from which durations come.
    pub(crate) paired: u64,
    /// Mean duration.
    pub(crate) mean_ns: Option<f64>,
    /// Sum of durations.
    pub(crate) total_ns: u64,
    /// Shortest.
    pub(crate) min_ns: u64,
    /// Longest.
    pub(crate) max_ns: u64,
    /// Exits with an error.
    pub(crate) errors: u64,
}

/// One domain.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Domain {
    /// Its name.
    pub(crate) name: String,
    /// Records about it.
    pub(crate) records: u64,
    /// Hypercalls that it made.
    pub(crate) hypercalls: u64,
    /// Events raised for it.
    pub(crate) raised: u64,
    /// Of those, merged.
    pub(crate) merged: u64,
    /// Upcalls.
    pub(crate) upcalls: u64,
    /// Times that it was switched to.
    pub(crate) switches: u64,
}

/// A hypercall that has begun.
#[derive(Clone, Copy, Debug)]
struct Open {
    number: u16,
    /// Time on the processor so far.
    spent_ns: u64,
    /// Since when it has the processor.
    running_since: Option<u64>,
}

/// Computes the statistics of a trace.
pub(crate) fn of(decoded: &Decoded) -> Stats {
    let mut stats = Stats {
        records: decoded.entries.len() as u64,
        lost: decoded.lost,
        overwritten: decoded.overwritten,
        damaged_blocks: decoded.damaged_blocks,
        truncated: decoded.truncated,
        remark: super::remark(decoded),
        ..Stats::default()
    };
    let first = decoded.entries.first().map_or(0, |entry| entry.time_ns);
    stats.span_ns = decoded.entries.last().map_or(0, |entry| entry.time_ns.saturating_sub(first));
    let mut open: BTreeMap<DomId, Open> = BTreeMap::new();
    let mut domains: BTreeMap<DomId, Domain> = BTreeMap::new();
    let mut audit = Audit::default();
    for entry in &decoded.entries {
        let (now, id) = (entry.time_ns, entry.domain);
        let of =
            domains.entry(id).or_insert_with(|| Domain { name: domain(decoded, id), ..Domain::default() });
        of.records += 1;
        *stats.kinds.entry(entry.record.name().to_owned()).or_default() += 1;
        if !matches!(entry.record, Record::Counter { .. }) {
            audit.other();
        }
        match entry.record {
            Record::HypercallEntry { number, .. } => {
                of.hypercalls += 1;
                stats.hypercalls.entry(call(number.into())).or_default().count += 1;
                open.insert(id, Open { number, spent_ns: 0, running_since: Some(now) });
            }
            // A part has no duration of its own: the multicall's is on the clock.
            Record::PartEntry { number, .. } => {
                of.hypercalls += 1;
                stats.hypercalls.entry(call(number.into())).or_default().count += 1;
            }
            Record::Counter { number, count } => audit.counter(id, call(number.into()), count),
            Record::HypercallExit { number, result } => {
                let begun = open.remove(&id).filter(|open| open.number == number);
                let call = stats.hypercalls.entry(call(number.into())).or_default();
                call.errors += u64::from(Errno::from_rax(result).is_err());
                if let Some(begun) = begun {
                    call.add(begun.until(now));
                }
            }
            Record::Switch { from, .. } => {
                of.switches += 1;
                pause(&mut open, DomId(from), now);
                if let Some(open) = open.get_mut(&id) {
                    open.running_since = Some(now);
                }
            }
            Record::Idle { from } => pause(&mut open, DomId(from), now),
            Record::EventRaised { merged, .. } => {
                of.raised += 1;
                of.merged += u64::from(merged != 0);
            }
            Record::Upcall { .. } => of.upcalls += 1,
            _ => {}
        }
    }
    for call in stats.hypercalls.values_mut().filter(|call| call.paired > 0) {
        call.mean_ns = Some((call.total_ns as f64 / call.paired as f64 * 10.0).round() / 10.0);
    }
    stats.domains = domains.into_values().collect();
    stats.counters =
        (decoded.lost == 0 && !decoded.truncated).then(|| audit.against(&stats.hypercalls)).flatten();
    stats
}

/// The domain lost the processor.
fn pause(open: &mut BTreeMap<DomId, Open>, id: DomId, now: u64) {
    if let Some(open) = open.get_mut(&id) {
        open.spent_ns = open.until(now);
        open.running_since = None;
    }
}

impl Open {
    /// Time on the processor up to now.
    fn until(self, now: u64) -> u64 {
        self.spent_ns + self.running_since.map_or(0, |since| now.saturating_sub(since))
    }
}

impl Call {
    fn add(&mut self, ns: u64) {
        self.min_ns = if self.paired == 0 { ns } else { self.min_ns.min(ns) };
        self.max_ns = self.max_ns.max(ns);
        self.paired += 1;
        self.total_ns += ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall_abi::Hypercall;
    use hypervisor_core::trace::decode::Entry;

    const SCHED: u16 = Hypercall::SchedOp.raw() as u16;

    fn trace(entries: &[(u64, u16, Record)]) -> Stats {
        let entry =
            |&(time_ns, id, record): &(u64, u16, Record)| Entry { time_ns, domain: DomId(id), record };
        of(&Decoded { entries: entries.iter().map(entry).collect(), ..Decoded::default() })
    }

    fn begin() -> Record {
        Record::HypercallEntry { number: SCHED, arg0: 1, arg1: 0, arg2: 0, arg3: 0 }
    }

    fn end(result: u64) -> Record {
        Record::HypercallExit { number: SCHED, result }
    }

    #[test]
    fn a_duration_is_from_entry_to_exit() {
        let stats =
            trace(&[(100, 1, begin()), (350, 1, end(0)), (400, 1, begin()), (500, 1, end(u64::MAX - 21))]);
        let call = &stats.hypercalls["sched_op"];
        assert_eq!(
            (call.count, call.mean_ns, call.min_ns, call.max_ns, call.errors),
            (2, Some(175.0), 100, 250, 1)
        );
    }

    #[test]
    fn time_in_which_another_domain_runs_is_not_the_call_s() {
        let stats = trace(&[
            (100, 1, begin()),
            (150, 2, Record::Switch { from: 1, why: 0 }),
            (900, 1, Record::Switch { from: 2, why: 1 }),
            (930, 1, end(0)),
        ]);
        assert_eq!(stats.hypercalls["sched_op"].mean_ns, Some(80.0));
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
        assert_eq!(with(72).differing, ["sched_op: 2 counted, 1 in the trace"]);
    }

    #[test]
    fn events_are_counted_for_their_target() {
        let raised = |merged| Record::EventRaised { port: 3, from: 2, merged };
        let stats = trace(&[(1, 1, raised(0)), (2, 1, raised(1)), (3, 1, Record::Upcall { selector: 1 })]);
        let domain = &stats.domains[0];
        assert_eq!((domain.raised, domain.merged, domain.upcalls), (2, 1, 1));
    }
}
