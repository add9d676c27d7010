//! The hypervisor's counters as `@snapshot` lines give them, and what happened between two of them.
//! It exists so that every figure of a run is a difference and none depends on what came before.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

/// All counters at one moment.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Snapshot {
    /// System time in ns.
    pub(crate) time_ns: u64,
    /// Every domain.
    pub(crate) domains: Vec<Domain>,
    /// Changes of the domain that has the processor.
    pub(crate) switches: u64,
    /// Time in which no domain ran.
    #[serde(default)]
    pub(crate) idle_ns: u64,
}

/// A domain's counters since its start.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Domain {
    /// Its number; a domain that was built anew has another.
    pub(crate) id: u16,
    /// Its name.
    pub(crate) name: String,
    /// Events raised for it.
    pub(crate) raised: u64,
    /// Of those, the ones that found their bit already pending.
    pub(crate) merged: u64,
    /// Notifications that ring indices saved.
    pub(crate) suppressed: u64,
    /// Upcalls delivered to it.
    pub(crate) upcalls: u64,
    /// Hypercalls by name.
    #[serde(default)]
    pub(crate) hypercalls: BTreeMap<String, u64>,
}

/// What happened between two snapshots.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// Events raised for the subjects.
    pub(crate) raised: u64,
    /// Of those, merged.
    pub(crate) merged: u64,
    /// Notifications to the subjects that ring indices saved.
    pub(crate) suppressed: u64,
    /// Upcalls to the subjects.
    pub(crate) upcalls: u64,
    /// Domain switches of the whole system.
    pub(crate) switches: u64,
    /// Hypercalls of all domains by name.
    pub(crate) hypercalls: BTreeMap<String, u64>,
    /// System time that passed, in ns.
    pub(crate) time_ns: u64,
    /// Of that, the time in which no domain ran.
    pub(crate) idle_ns: u64,
}

impl Snapshot {
    /// Reads the body of a `@snapshot` line.
    pub(crate) fn read(body: serde_json::Value) -> anyhow::Result<Self> {
        serde_json::from_value(body)
            .map_err(|error| anyhow::anyhow!("the hypervisor's snapshot is not understood: {error}"))
    }

    /// The domain with this number.
    fn domain(&self, id: u16) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.id == id)
    }

    /// What happened from `self` to `later`, for the domains named in `subjects` and for the whole.
    pub(crate) fn until(&self, later: &Self, subjects: &HashSet<&str>) -> Change {
        let mut change = Change {
            switches: later.switches.saturating_sub(self.switches),
            time_ns: later.time_ns.saturating_sub(self.time_ns),
            idle_ns: later.idle_ns.saturating_sub(self.idle_ns),
            ..Change::default()
        };
        let none = Domain::default();
        for after in &later.domains {
            let before = self.domain(after.id).unwrap_or(&none);
            let grown = |field: fn(&Domain) -> u64| field(after).saturating_sub(field(before));
            if subjects.contains(after.name.as_str()) {
                change.raised += grown(|domain| domain.raised);
                change.merged += grown(|domain| domain.merged);
                change.suppressed += grown(|domain| domain.suppressed);
                change.upcalls += grown(|domain| domain.upcalls);
            }
            for (name, count) in &after.hypercalls {
                let count = count.saturating_sub(before.hypercalls.get(name).copied().unwrap_or(0));
                if count > 0 {
                    *change.hypercalls.entry(name.clone()).or_default() += count;
                }
            }
        }
        change
    }
}

impl Change {
    /// The figures of interrupts that a report shows.
    pub(crate) fn interrupts(&self, requests: u64) -> Interrupts {
        Interrupts {
            raised: self.raised,
            merged: self.merged,
            suppressed: self.suppressed,
            upcalls: self.upcalls,
            events_per_upcall: ratio(self.raised + self.suppressed, self.upcalls),
            switches: self.switches,
            switches_per_request: ratio(self.switches, requests),
        }
    }
}

/// Interrupts of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Interrupts {
    /// Notifications sent to the measured guests.
    pub(crate) raised: u64,
    /// Those that hit a bit already pending.
    pub(crate) merged: u64,
    /// Notifications that ring indices saved.
    pub(crate) suppressed: u64,
    /// Upcalls delivered.
    pub(crate) upcalls: u64,
    /// (raised + suppressed) / upcalls.
    pub(crate) events_per_upcall: Option<f64>,
    /// Domain switches of the whole system.
    pub(crate) switches: u64,
    /// Of those, for each request.
    pub(crate) switches_per_request: Option<f64>,
}

/// A quotient; nothing when there is nothing to divide by.
pub(crate) fn ratio(above: u64, below: u64) -> Option<f64> {
    (below > 0).then(|| (above as f64 / below as f64 * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(switches: u64, domains: &serde_json::Value) -> Snapshot {
        Snapshot::read(json!({"label": "x", "time_ns": switches, "switches": switches, "domains": domains}))
            .unwrap()
    }

    fn domain(id: u16, name: &str, count: u64) -> serde_json::Value {
        json!({"id": id, "name": name, "raised": count, "merged": 1, "suppressed": count, "upcalls": count / 2,
               "switches": 0, "hypercalls": {"SchedOp": count}})
    }

    #[test]
    fn only_subjects_count_for_interrupts_but_all_for_hypercalls() {
        let before = snapshot(10, &json!([domain(1, "web-1", 10), domain(2, "driver", 100)]));
        let after = snapshot(50, &json!([domain(1, "web-1", 30), domain(2, "driver", 300)]));
        let change = before.until(&after, &HashSet::from(["web-1"]));
        assert_eq!((change.raised, change.merged, change.suppressed, change.upcalls), (20, 0, 20, 10));
        assert_eq!(change.hypercalls["SchedOp"], 220);
        let figures = change.interrupts(10);
        assert_eq!((figures.events_per_upcall, figures.switches_per_request), (Some(4.0), Some(4.0)));
    }

    #[test]
    fn a_domain_that_was_built_anew_counts_from_nothing() {
        let before = snapshot(0, &json!([domain(1, "web-1", 1000)]));
        let after = snapshot(0, &json!([domain(7, "web-1", 30)]));
        assert_eq!(before.until(&after, &HashSet::from(["web-1"])).raised, 30);
    }

    #[test]
    fn no_request_gives_no_quotient() {
        assert_eq!(Change::default().interrupts(0).switches_per_request, None);
    }

    #[test]
    fn a_snapshot_without_a_needed_counter_is_an_error() {
        assert!(Snapshot::read(json!({"time_ns": 1, "domains": []})).is_err());
    }
}
