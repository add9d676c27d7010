//! The hypervisor's own counters, held against the hypercalls in a trace.
//! It exists because a trace that lacks a call must not pass for a whole one.

use std::collections::BTreeMap;

use hypercall_abi::DomId;
use serde::Serialize;

use super::stats::Call;

/// The trace against the hypervisor's counters.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counters {
    /// Hypercalls by name, as counted.
    pub(crate) hypercalls: BTreeMap<String, u64>,
    /// Those that differ from the trace, in words.
    pub(crate) differing: Vec<String>,
}

/// Counters found in the trace: those of its beginning, and the last ones. A domain that came later began with none.
#[derive(Debug, Default)]
pub(super) struct Audit {
    first: BTreeMap<(DomId, String), u64>,
    last: BTreeMap<(DomId, String), u64>,
    others: bool,
}

impl Audit {
    /// Takes in a counter. The first of all come before any other record.
    pub(super) fn counter(&mut self, id: DomId, name: String, count: u64) {
        if !self.others {
            self.first.insert((id, name.clone()), count);
        }
        self.last.insert((id, name), count);
    }

    /// Takes in that another record came.
    pub(super) fn other(&mut self) {
        self.others = true;
    }

    /// The comparison; `None` if there were no counters.
    pub(super) fn against(&self, calls: &BTreeMap<String, Call>) -> Option<Counters> {
        if self.last.is_empty() {
            return None;
        }
        let mut counters = Counters::default();
        for (key, last) in &self.last {
            let first = self.first.get(key).copied().unwrap_or(0);
            *counters.hypercalls.entry(key.1.clone()).or_default() += last.saturating_sub(first);
        }
        let names: std::collections::BTreeSet<&String> =
            counters.hypercalls.keys().chain(calls.keys()).collect();
        for name in names {
            let counted = counters.hypercalls.get(name).copied().unwrap_or(0);
            let traced = calls.get(name).map_or(0, |call| call.count);
            if counted != traced {
                counters.differing.push(format!("{name}: {counted} counted, {traced} in the trace"));
            }
        }
        Some(counters)
    }
}
