//! The hypervisor's own counters, held against the hypercalls in a trace.
//! It exists because a trace that lacks a call must not pass for a whole one.

use std::collections::{BTreeMap, BTreeSet};

use hypercall_abi::DomId;
use serde::Serialize;

use super::names::{Names, call};

/// The trace against the hypervisor's counters.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counters {
    /// Hypercalls by name, as counted.
    pub(crate) hypercalls: BTreeMap<String, u64>,
    /// Pairs of hypercall and domain that were compared.
    pub(crate) compared: usize,
    /// Those that differ from the trace, in words.
    pub(crate) differing: Vec<String>,
}

/// Counters found in the trace: those of its beginning, and the last ones. A domain that came later began with none.
#[derive(Debug, Default)]
pub(super) struct Audit {
    first: BTreeMap<(u8, DomId), u64>,
    last: BTreeMap<(u8, DomId), u64>,
    others: bool,
}

impl Audit {
    /// Takes in a counter. The first of all come before any other record.
    pub(super) fn counter(&mut self, id: DomId, number: u8, count: u64) {
        if !self.others {
            self.first.insert((number, id), count);
        }
        self.last.insert((number, id), count);
    }

    /// Takes in that another record came.
    pub(super) fn other(&mut self) {
        self.others = true;
    }

    /// The comparison with calls counted in the trace; `None` if there were no counters.
    pub(super) fn against(
        &self,
        names: &Names,
        calls: impl Iterator<Item = ((u8, DomId), u64)>,
    ) -> Option<Counters> {
        if self.last.is_empty() {
            return None;
        }
        let calls: BTreeMap<_, _> = calls.collect();
        let mut counters = Counters::default();
        let keys: BTreeSet<_> = self.last.keys().chain(calls.keys()).copied().collect();
        for key @ (number, domain) in keys {
            let at = |counts: &BTreeMap<_, u64>| counts.get(&key).copied().unwrap_or(0);
            let counted = at(&self.last).saturating_sub(at(&self.first));
            let traced = at(&calls);
            let name = call(number.into());
            if counted != traced {
                let of = names.of(domain);
                counters.differing.push(format!("{name} of {of}: {counted} counted, {traced} in the trace"));
            }
            if counted > 0 {
                let sum = counters.hypercalls.entry(name).or_default();
                *sum = sum.saturating_add(counted);
            }
            counters.compared += 1;
        }
        Some(counters)
    }
}
