//! From records to statistics.

use std::collections::BTreeMap;

use hypercall_abi::{DomId, Errno};
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::{Entry, Header, Reader, Source};
use hypervisor_core::trace::records::Why;

use super::rings::Rings;
use super::{Call, CallOf, Delay, Domain, Interrupt, Processor, Stats};
use crate::trace::audit::Audit;
use crate::trace::follow::{Delivery, Fact, Follow, State};
use crate::trace::names::{Names, call};
use crate::trace::spread::Spread;

/// The statistics of a trace.
pub(crate) fn of<S: Source>(reader: Reader<S>) -> Stats {
    of_some(reader, |_entry| true)
}

/// The statistics of the records that are wanted; what they mean together is taken from all.
pub(crate) fn of_some<S: Source>(mut reader: Reader<S>, wanted: impl Fn(&Entry) -> bool) -> Stats {
    let mut gather = Gather::default();
    let mut whole = true;
    for entry in reader.by_ref() {
        let wanted = wanted(&entry);
        whole &= wanted;
        gather.see(&entry, wanted);
    }
    gather.finish();
    let tally = reader.tally();
    let whole = whole && tally.lost == 0 && !tally.truncated;
    let mut stats = gather.stats(&Names::new(reader.names()), whole, Some(reader.header()));
    stats.note(&tally);
    stats
}

/// Statistics being gathered.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    follow: Follow,
    records: u64,
    kinds: BTreeMap<u8, u64>,
    calls: BTreeMap<(u8, DomId), Gathered>,
    domains: BTreeMap<DomId, Domain>,
    processor: Processor,
    batches: BTreeMap<u64, u64>,
    delays: BTreeMap<(State, &'static str), Spread>,
    interrupts: BTreeMap<(DomId, DomId), [u64; 3]>,
    rings: Rings,
    audit: Audit,
    span: Option<(u64, u64)>,
}

/// A hypercall of a domain.
#[derive(Debug, Default)]
struct Gathered {
    count: u64,
    errors: u64,
    spread: Spread,
}

impl Gather {
    /// Takes in a record; facts that end with one that is not `wanted` are not counted.
    pub(crate) fn see(&mut self, entry: &Entry, wanted: bool) {
        let Self { follow, calls, domains, processor, batches, delays, .. } = self;
        follow.see(entry, |fact| {
            if wanted {
                note(fact, calls, domains, processor, batches, delays);
            }
        });
        if wanted {
            self.count(entry);
        }
    }

    /// Takes in that there are no more records.
    pub(crate) fn finish(&mut self) {
        let Self { follow, calls, domains, processor, batches, delays, .. } = self;
        follow.finish(|fact| note(fact, calls, domains, processor, batches, delays));
    }

    fn count(&mut self, entry: &Entry) {
        let id = entry.domain;
        self.records += 1;
        *self.kinds.entry(entry.record.kind()).or_default() += 1;
        let (first, _) = *self.span.get_or_insert((entry.time_ns, entry.time_ns));
        self.span = Some((first, entry.time_ns.max(first)));
        self.audit.see(entry);
        self.rings.see(id, &entry.record);
        let of = self.domains.entry(id).or_default();
        of.records += 1;
        match entry.record {
            Record::HypercallEntry { number, .. }
            | Record::PartEntry { number, .. }
            | Record::LongCall { number, .. } => {
                of.hypercalls += 1;
                self.calls.entry((number, id)).or_default().count += 1;
            }
            Record::Switch { from, why } => {
                of.switches += 1;
                self.processor.switches += 1;
                if why == Why::Preempted.raw() {
                    self.interrupts.entry((DomId(from), id)).or_default()[2] += 1;
                }
            }
            Record::EventRaised { merged, from, .. } => {
                of.raised += 1;
                of.merged += u64::from(merged != 0);
                let counts = self.interrupts.entry((DomId(from), id)).or_default();
                counts[0] += 1;
                counts[1] += u64::from(merged != 0);
            }
            Record::Upcall { .. } => of.upcalls += 1,
            _ => {}
        }
    }

    /// The figures; `whole` if no record is missing but those that its header says were left out on purpose.
    pub(crate) fn stats(mut self, names: &Names, whole: bool, header: Option<&Header>) -> Stats {
        let span_ns = self.span.map_or(0, |(first, last)| last - first);
        let total = sum(self.calls.values().map(|call| call.spread.summary().total_ns));
        let mut stats = Stats { records: self.records, span_ns, ..Stats::default() };
        for (&kind, &count) in &self.kinds {
            let name = hypervisor_core::trace::records::description(kind).map_or("?", |about| about.name);
            stats.kinds.insert(name.to_owned(), count);
        }
        let mut whole_calls: BTreeMap<u8, Gathered> = BTreeMap::new();
        for (&(number, _), one) in &self.calls {
            let all = whole_calls.entry(number).or_default();
            all.count += one.count;
            all.errors += one.errors;
            all.spread.join(&one.spread);
        }
        for (number, all) in &whole_calls {
            stats.hypercalls.insert(call((*number).into()), all.call(total));
        }
        for (&(number, domain), one) in &self.calls {
            let (hypercall, domain) = (call(number.into()), names.of(domain));
            stats.calls.push(CallOf { hypercall, domain, call: one.call(total) });
        }
        for (&id, domain) in &mut self.domains {
            (domain.id, domain.name) = (id.0, names.of(id));
            let known = sum([domain.running_ns, domain.runnable_ns, domain.blocked_ns]);
            domain.unknown_ns = span_ns.saturating_sub(known);
        }
        let busy = sum(self.domains.values().map(|domain| domain.running_ns));
        self.processor.hypercalls_ns = total;
        let work = sum([total, self.processor.upcalls_ns, self.processor.guests_ns]);
        self.processor.guests_ns = busy.saturating_sub(work);
        self.processor.overlap_ns = sum([busy, self.processor.idle_ns]).saturating_sub(span_ns);
        stats.processor = self.processor;
        stats.counters = whole.then(|| self.audit.against(names, header)).flatten();
        self.domains.remove(&DomId::IDLE);
        stats.domains = self.domains.into_values().collect();
        stats.batches = self.batches;
        stats.rings = self.rings.told(names);
        let delay = |((target, stage), spread): (&(State, &'static str), &Spread)| Delay {
            target: target.word(),
            stage,
            spread: spread.summary(),
        };
        stats.delays = self.delays.iter().map(delay).collect();
        let interrupt = |(&(from, to), &[raised, merged, preempted]): (&(DomId, DomId), &[u64; 3])| {
            Interrupt { from: names.of(from), to: names.of(to), raised, merged, preempted }
        };
        stats.interrupts = self.interrupts.iter().map(interrupt).collect();
        stats
    }
}

impl Gathered {
    fn call(&self, total: u64) -> Call {
        let spread = self.spread.summary();
        Call {
            count: self.count,
            paired: spread.count,
            mean_ns: spread.mean_ns,
            total_ns: spread.total_ns,
            min_ns: spread.min_ns,
            p50_ns: spread.p50_ns,
            p99_ns: spread.p99_ns,
            max_ns: spread.max_ns,
            share: crate::counters::ratio(spread.total_ns, total).unwrap_or(0.0),
            errors: self.errors,
        }
    }
}

fn note(
    fact: Fact,
    calls: &mut BTreeMap<(u8, DomId), Gathered>,
    domains: &mut BTreeMap<DomId, Domain>,
    processor: &mut Processor,
    batches: &mut BTreeMap<u64, u64>,
    delays: &mut BTreeMap<(State, &'static str), Spread>,
) {
    match fact {
        Fact::Call(call) => {
            let of = calls.entry((call.number, call.domain)).or_default();
            of.errors += u64::from(Errno::from_rax(call.result).is_err());
            // A part has no duration of its own: the multicall's is on the clock.
            if call.begun.is_some() && !call.part {
                of.spread.add(call.spent);
            }
        }
        Fact::State(span) => {
            let of = domains.entry(span.domain).or_default();
            let ns = span.to.saturating_sub(span.from);
            match span.state {
                State::Running => of.running_ns = of.running_ns.saturating_add(ns),
                State::Runnable => of.runnable_ns = of.runnable_ns.saturating_add(ns),
                State::Blocked => of.blocked_ns = of.blocked_ns.saturating_add(ns),
                State::Ended => {}
            }
        }
        Fact::Gap(gap) => {
            add(&mut processor.switches_ns, gap.ended.saturating_sub(gap.begun));
            // Until the end, this is what is to be taken off the domains' running time.
            add(&mut processor.guests_ns, gap.still);
        }
        Fact::Idle { from, to } => add(&mut processor.idle_ns, to.saturating_sub(from)),
        Fact::Upcall(upcall) => {
            *batches.entry(upcall.events).or_default() += 1;
            add(&mut processor.upcalls_ns, upcall.entry.unwrap_or(0));
        }
        Fact::Delivered(delivery) => delay(&delivery, delays),
    }
}

/// A sum of times that a damaged trace may have made absurd.
fn sum(times: impl IntoIterator<Item = u64>) -> u64 {
    times.into_iter().fold(0, u64::saturating_add)
}

/// Adds such a time.
const fn add(sum: &mut u64, ns: u64) {
    *sum = sum.saturating_add(ns);
}

fn delay(delivery: &Delivery, delays: &mut BTreeMap<(State, &'static str), Spread>) {
    for (stage, ns) in delivery.stages().chain([("whole", delivery.total())]) {
        delays.entry((delivery.state, stage)).or_default().add(ns);
    }
}
