//! The hypervisor's own counters, held against what is in a trace.
//! It exists because a trace that lacks a call must not pass for a whole one.

use std::collections::{BTreeMap, BTreeSet};

use hypercall_abi::DomId;
use hypervisor_core::trace::reader::{Entry, Header};
use hypervisor_core::trace::records::{Counted, Handled, Stage};
use hypervisor_core::trace::{Category, Record};
use serde::Serialize;

use super::names::{Names, call};

/// By how much a vCPU's run states may miss the time passed, in ns: both come from readings of one clock, at the same moments.
const SLACK: u64 = 1;

/// The trace against the hypervisor's counters.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counters {
    /// Hypercalls by name, as counted.
    pub(crate) hypercalls: BTreeMap<String, u64>,
    /// Counts of a domain's hypercalls and events that were compared.
    pub(crate) compared: usize,
    /// vCPUs whose run states were added up.
    pub(crate) vcpus: usize,
    /// The most by which such a sum and the time passed differ, in ns.
    pub(crate) states_off_ns: u64,
    /// What differs from the trace, in words.
    pub(crate) differing: Vec<String>,
}

/// Something that hypervisor and trace count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Call(u8),
    Other(Counted),
}

impl What {
    fn of(record: &Record) -> [Option<Self>; 2] {
        let other = |counted| Some(Self::Other(counted));
        match *record {
            Record::HypercallEntry { number, .. } | Record::PartEntry { number, .. } => {
                [Some(Self::Call(number)), None]
            }
            Record::EventRaised { merged: 0, .. } => [other(Counted::Raised), None],
            Record::EventRaised { .. } => [other(Counted::Raised), other(Counted::Merged)],
            Record::Upcall { .. } => [other(Counted::Upcalls), None],
            Record::Exception { handled, .. } if handled == Handled::Bounced.raw() => {
                [other(Counted::Bounced), None]
            }
            _ => [None, None],
        }
    }

    /// The category without which the trace cannot know.
    const fn category(self) -> Category {
        match self {
            Self::Call(_) => Category::Hypercall,
            Self::Other(Counted::Raised | Counted::Merged | Counted::Upcalls) => Category::Event,
            Self::Other(Counted::Switches) => Category::RunState,
            Self::Other(Counted::Bounced) => Category::Trap,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Call(number) => call(number.into()),
            Self::Other(counted) => {
                let named = Counted::NUMBERS.members.iter().find(|one| one.value == i64::from(counted.raw()));
                named.map_or_else(String::new, |one| one.name.to_lowercase())
            }
        }
    }
}

/// Counters found in the trace: those of its beginning, and the last ones. A domain that came later began with none.
#[derive(Debug, Default)]
pub(super) struct Audit {
    first: BTreeMap<(What, DomId), u64>,
    last: BTreeMap<(What, DomId), u64>,
    traced: BTreeMap<(What, DomId), u64>,
    /// Sums of run states at the beginning and at last, with their times.
    states: BTreeMap<DomId, Sums>,
    /// Those of earlier domains of the same numbers.
    earlier: Vec<(DomId, Sums)>,
    /// Categories that were recorded all the time.
    categories: Option<u32>,
    others: bool,
    /// Who had the processor last, and who had it first when nothing says who had it before.
    ran: Option<DomId>,
    unsure: Option<DomId>,
}

/// The first and the last of a domain's.
type Sums = [Option<Sum>; 2];

/// Times in all run states, and when they were read.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    at: u64,
    spent: u64,
}

impl Audit {
    /// Takes in a record. The first counters of all come before any other record.
    pub(super) fn see(&mut self, entry: &Entry) {
        let id = entry.domain;
        match entry.record {
            Record::Counter { number, count } => self.counter(What::Call(number), id, count),
            Record::Tally { what, count } => {
                if let Some(counted) = Counted::from_raw(what) {
                    self.counter(What::Other(counted), id, count);
                }
            }
            Record::StateTime { state, spent, .. } => self.state(id, state, spent, entry.time_ns),
            Record::State { on: 1, categories } => {
                self.categories = Some(self.categories.unwrap_or(u32::MAX) & categories);
            }
            record => {
                self.others |= record.category() != Category::Trace;
                match record {
                    Record::Switch { from, .. } => self.switch(DomId(from), id),
                    Record::Life { stage, .. } if stage == Stage::Built.raw() => {
                        self.earlier.extend(self.states.remove(&id).map(|sums| (id, sums)));
                    }
                    _ => {}
                }
                for what in What::of(&record).into_iter().flatten() {
                    *self.traced.entry((what, id)).or_default() += 1;
                }
            }
        }
    }

    fn counter(&mut self, what: What, id: DomId, count: u64) {
        if !self.others {
            self.first.insert((what, id), count);
        }
        self.last.insert((what, id), count);
    }

    /// A domain that gets the processor back counts as none that got it.
    fn switch(&mut self, from: DomId, to: DomId) {
        match self.ran.replace(to).or((from != DomId::IDLE).then_some(from)) {
            Some(before) if before == to => {}
            Some(_) => *self.traced.entry((What::Other(Counted::Switches), to)).or_default() += 1,
            None => self.unsure = Some(to),
        }
    }

    /// The first of a domain's states begins another sum, and has the time at which all of them were read.
    fn state(&mut self, id: DomId, state: u8, spent: u64, now: u64) {
        let [first, last] = self.states.entry(id).or_default();
        if state == 0 {
            // The first sum of all stays; the last is the last.
            *first = first.or(*last);
            *last = Some(Sum { at: now, spent: 0 });
        }
        if let Some(last) = last {
            last.spent = last.spent.saturating_add(spent);
        }
    }

    /// Categories that were recorded all the time, if the trace says.
    pub(super) const fn categories(&self) -> Option<u32> {
        self.categories
    }

    /// The comparison; `None` if there were no counters, or what they count was left out on purpose.
    pub(super) fn against(&self, names: &Names, header: Option<&Header>) -> Option<Counters> {
        let recorded = self.categories.unwrap_or(u32::MAX);
        if self.last.is_empty() || header.is_some_and(|header| header.left_out != 0) {
            return None;
        }
        let mut counters = Counters::default();
        let keys: BTreeSet<_> = self.last.keys().chain(self.traced.keys()).copied().collect();
        for key @ (what, domain) in keys {
            if recorded & what.category().bit() == 0 {
                continue;
            }
            let at = |counts: &BTreeMap<_, u64>| counts.get(&key).copied().unwrap_or(0);
            let counted = at(&self.last).saturating_sub(at(&self.first));
            let traced = at(&self.traced);
            let unsure = what == What::Other(Counted::Switches) && self.unsure == Some(domain);
            let name = what.name();
            if counted != traced && !(unsure && counted == traced.saturating_add(1)) {
                let of = names.of(domain);
                counters.differing.push(format!("{name} of {of}: {counted} counted, {traced} in the trace"));
            }
            if matches!(what, What::Call(_)) && counted > 0 {
                let sum = counters.hypercalls.entry(name).or_default();
                *sum = sum.saturating_add(counted);
            }
            counters.compared += 1;
        }
        let earlier = self.earlier.iter().map(|(domain, sums)| (domain, sums));
        for (&domain, sums) in self.states.iter().chain(earlier) {
            let &[Some(first), Some(last)] = sums else { continue };
            let (spent, passed) = (last.spent.saturating_sub(first.spent), last.at.saturating_sub(first.at));
            let off = spent.abs_diff(passed);
            counters.vcpus += 1;
            counters.states_off_ns = counters.states_off_ns.max(off);
            if off > SLACK {
                let of = names.of(domain);
                counters.differing.push(format!("run states of {of}: {spent} ns in {passed} ns"));
            }
        }
        (counters.compared > 0).then_some(counters)
    }
}
