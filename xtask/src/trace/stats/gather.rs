//! From records to statistics.

use std::collections::BTreeMap;

use hypercall_abi::{DomId, Errno};
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::{Entry, Header, Reader, Source};
use hypervisor_core::trace::records::Why;

use super::recorded::{self, Figure, Recorded};
use super::rings::Rings;
use super::{Call, CallOf, Delay, Domain, Interrupt, Processor, Stats};
use crate::trace::audit::Audit;
use crate::trace::filter::Filter;
use crate::trace::follow::{Delivery, Fact, Follow, State};
use crate::trace::names::{Names, call};
use crate::trace::spread::Spread;

/// The statistics of a trace.
pub(crate) fn of<S: Source>(reader: Reader<S>) -> Stats {
    of_some(reader, Filter::default())
}

/// The statistics of the records that are wanted; what they mean together is taken from all.
pub(crate) fn of_some<S: Source>(mut reader: Reader<S>, filter: Filter) -> Stats {
    let mut gather = Gather::new(filter);
    for entry in reader.by_ref() {
        gather.see(&entry);
    }
    gather.finish();
    let tally = reader.tally();
    let whole = gather.records == tally.records && tally.lost == 0 && !tally.truncated;
    let mut stats = gather.stats(&Names::new(reader.names()), whole, Some(reader.header()));
    stats.note(&tally);
    stats
}

/// Statistics being gathered.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    filter: Filter,
    follow: Follow,
    records: u64,
    kinds: BTreeMap<u8, u64>,
    calls: BTreeMap<(u8, DomId), Gathered>,
    domains: BTreeMap<DomId, Counts>,
    processor: Processor,
    batches: BTreeMap<u64, u64>,
    delays: BTreeMap<(State, &'static str), Spread>,
    interrupts: BTreeMap<(DomId, DomId), [u64; 3]>,
    rings: Rings,
    audit: Audit,
    /// Times of the first record and of the last, wanted or not.
    reach: Option<(u64, u64)>,
}

/// A domain.
#[derive(Debug, Default)]
struct Counts {
    records: u64,
    hypercalls: u64,
    raised: u64,
    merged: u64,
    upcalls: u64,
    switches: u64,
    running_ns: u64,
    runnable_ns: u64,
    blocked_ns: u64,
}

/// A hypercall of a domain.
#[derive(Debug, Default)]
struct Gathered {
    count: u64,
    errors: u64,
    spread: Spread,
}

impl Gather {
    /// Of the records that are wanted.
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Takes in a record. Of facts that last, the part in the time that is wanted is counted; others if they end with a
    /// record that is.
    pub(crate) fn see(&mut self, entry: &Entry) {
        let (first, _) = *self.reach.get_or_insert((entry.time_ns, entry.time_ns));
        self.reach = Some((first, entry.time_ns.max(first)));
        let Self { filter, follow, calls, domains, processor, batches, delays, .. } = self;
        let wanted = filter.wants(entry);
        follow.see(entry, |fact| match fact {
            Fact::State(_) | Fact::Gap(_) | Fact::Idle { .. } => lasted(&fact, filter, domains, processor),
            _ if wanted => note(fact, calls, processor, batches, delays),
            _ => {}
        });
        if wanted {
            self.count(entry);
        }
    }

    /// Takes in that there are no more records.
    pub(crate) fn finish(&mut self) {
        let Self { filter, follow, domains, processor, .. } = self;
        follow.finish(|fact| lasted(&fact, filter, domains, processor));
    }

    fn count(&mut self, entry: &Entry) {
        let id = entry.domain;
        self.records += 1;
        *self.kinds.entry(entry.record.kind()).or_default() += 1;
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
        let (first, last) = self.reach.map_or((0, 0), |(first, last)| self.filter.clipped(first, last));
        let span_ns = last.saturating_sub(first);
        let recorded = Recorded::new(self.audit.categories(), header);
        let mut stats = Stats { records: self.records, span_ns, reach: self.reach, ..Stats::default() };
        let (filter, left_out) = (&self.filter, &mut stats.left_out);
        let mut can = |figure: &Figure| {
            let lacks = recorded.lacks(figure, filter);
            let can = lacks.is_none();
            left_out.extend(lacks);
            can
        };
        let durations =
            can(if recorded.only_long() { &recorded::LONG_DURATIONS } else { &recorded::DURATIONS });
        let shown = Shown {
            calls: can(&recorded::CALLS_OF),
            states: can(&recorded::RUN_STATES),
            events: can(&recorded::EVENTS),
            switches: can(&recorded::SWITCHES),
        };
        let (processor, delays, rings) =
            (can(&recorded::PROCESSOR), can(&recorded::DELAYS), can(&recorded::RINGS));
        for (&kind, &count) in &self.kinds {
            let name = hypervisor_core::trace::records::description(kind).map_or("?", |about| about.name);
            stats.kinds.insert(name.to_owned(), count);
        }
        let total = self.calls(&mut stats, names, durations);
        stats.durations = durations;
        stats.processor = processor.then(|| self.processor(total, span_ns));
        stats.counters = whole.then(|| self.audit.against(names, header)).flatten();
        self.domains.remove(&DomId::IDLE);
        // What others' records say of a domain that was not recorded is not all of it.
        self.domains.retain(|_, counts| recorded.all_domains() || counts.records > 0);
        let domain = |(id, counts): (&DomId, &Counts)| counts.domain(*id, names, span_ns, &shown);
        stats.domains = self.domains.iter().map(domain).collect();
        stats.batches = shown.events.then_some(self.batches);
        stats.rings = rings.then(|| self.rings.told(names));
        let delay = |((target, stage), spread): (&(State, &'static str), &Spread)| Delay {
            target: target.word(),
            stage,
            spread: spread.summary(),
        };
        stats.delays = delays.then(|| self.delays.iter().map(delay).collect());
        let interrupt = |(&(from, to), &[raised, merged, preempted]): (&(DomId, DomId), &[u64; 3])| {
            let preempted = shown.switches.then_some(preempted);
            Interrupt { from: names.of(from), to: names.of(to), raised, merged, preempted }
        };
        stats.interrupts = shown.events.then(|| self.interrupts.iter().map(interrupt).collect());
        stats.recorded = recorded;
        stats
    }

    /// Tells of hypercalls, and returns the time of all.
    fn calls(&self, stats: &mut Stats, names: &Names, durations: bool) -> u64 {
        let total = sum(self.calls.values().map(|call| call.spread.summary().total_ns));
        let mut whole_calls: BTreeMap<u8, Gathered> = BTreeMap::new();
        for (&(number, _), one) in &self.calls {
            let all = whole_calls.entry(number).or_default();
            all.count += one.count;
            all.errors += one.errors;
            all.spread.join(&one.spread);
        }
        for (number, all) in &whole_calls {
            stats.hypercalls.insert(call((*number).into()), all.call(total, durations));
        }
        for (&(number, domain), one) in &self.calls {
            let (hypercall, domain) = (call(number.into()), names.of(domain));
            stats.calls.push(CallOf { hypercall, domain, call: one.call(total, durations) });
        }
        total
    }

    /// Where the processor's time went, of which so much was for hypercalls.
    fn processor(&self, total: u64, span_ns: u64) -> Processor {
        let mut time = self.processor;
        let busy = sum(self.domains.values().map(|domain| domain.running_ns));
        time.hypercalls_ns = total;
        let work = sum([total, time.upcalls_ns, time.guests_ns]);
        time.guests_ns = busy.saturating_sub(work);
        time.overlap_ns = sum([busy, time.idle_ns]).saturating_sub(span_ns);
        time
    }
}

/// Which figures of domains can be told.
struct Shown {
    calls: bool,
    states: bool,
    events: bool,
    switches: bool,
}

impl Counts {
    fn domain(&self, id: DomId, names: &Names, span_ns: u64, shown: &Shown) -> Domain {
        let state = |ns: u64| shown.states.then_some(ns);
        let event = |count: u64| shown.events.then_some(count);
        let known = sum([self.running_ns, self.runnable_ns, self.blocked_ns]);
        Domain {
            id: id.0,
            name: names.of(id),
            records: self.records,
            hypercalls: shown.calls.then_some(self.hypercalls),
            raised: event(self.raised),
            merged: event(self.merged),
            upcalls: event(self.upcalls),
            switches: shown.switches.then_some(self.switches),
            running_ns: state(self.running_ns),
            runnable_ns: state(self.runnable_ns),
            blocked_ns: state(self.blocked_ns),
            unknown_ns: state(span_ns.saturating_sub(known)),
        }
    }
}

impl Gathered {
    fn call(&self, total: u64, durations: bool) -> Call {
        let spread = self.spread.summary();
        let told = |ns: u64| (durations && spread.count > 0).then_some(ns);
        Call {
            count: self.count,
            paired: spread.count,
            mean_ns: spread.mean_ns.filter(|_| durations),
            total_ns: durations.then_some(spread.total_ns),
            min_ns: told(spread.min_ns),
            p50_ns: told(spread.p50_ns),
            p99_ns: told(spread.p99_ns),
            max_ns: told(spread.max_ns),
            share: durations.then(|| crate::counters::ratio(spread.total_ns, total).unwrap_or(0.0)),
            errors: self.errors,
        }
    }
}

/// Takes in what lasted: the part of it that is wanted.
fn lasted(fact: &Fact, filter: &Filter, domains: &mut BTreeMap<DomId, Counts>, processor: &mut Processor) {
    let length = |from: u64, to: u64| {
        let (from, to) = filter.clipped(from, to);
        to.saturating_sub(from)
    };
    match fact {
        Fact::State(span) if filter.means(span.domain) => {
            let ns = length(span.from, span.to);
            let of = domains.entry(span.domain).or_default();
            match span.state {
                State::Running => add(&mut of.running_ns, ns),
                State::Runnable => add(&mut of.runnable_ns, ns),
                State::Blocked => add(&mut of.blocked_ns, ns),
                State::Ended => {}
            }
        }
        Fact::Gap(gap) => {
            add(&mut processor.switches_ns, length(gap.begun, gap.ended));
            // Until the end, this is what is to be taken off the domains' running time.
            add(&mut processor.guests_ns, length(gap.begun, gap.begun.saturating_add(gap.still)));
        }
        Fact::Idle { from, to } => add(&mut processor.idle_ns, length(*from, *to)),
        _ => {}
    }
}

fn note(
    fact: Fact,
    calls: &mut BTreeMap<(u8, DomId), Gathered>,
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
        Fact::Upcall(upcall) => {
            *batches.entry(upcall.events).or_default() += 1;
            add(&mut processor.upcalls_ns, upcall.entry.unwrap_or(0));
        }
        Fact::Delivered(delivery) => delay(&delivery, delays),
        Fact::State(_) | Fact::Gap(_) | Fact::Idle { .. } => {}
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
