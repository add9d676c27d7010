//! What hostile guests tried, summed over all of them.
//! It exists so that a run that attacked nothing does not pass for one that withstood everything.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Sums of all `@coverage` lines.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Coverage {
    /// Lives that drew numbers of their own.
    pub(crate) seeds: BTreeSet<u64>,
    /// Hypercalls made.
    pub(crate) calls: u64,
    /// Answers and events that must not be, in words.
    pub(crate) breaches: Vec<String>,
    /// Accepted calls by operation.
    pub(crate) accepted: BTreeMap<String, u64>,
    /// Refused ones.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Errors seen.
    pub(crate) errnos: BTreeMap<String, u64>,
    /// Errors of single grant operations seen.
    pub(crate) statuses: BTreeMap<String, u64>,
    /// What came of each instruction.
    pub(crate) instructions: BTreeMap<String, String>,
}

/// One `@coverage` line.
#[derive(Deserialize)]
struct Part {
    seed: u64,
    #[serde(default)]
    accepted: BTreeMap<String, u64>,
    #[serde(default)]
    refused: BTreeMap<String, u64>,
    #[serde(default)]
    errnos: BTreeMap<String, u64>,
    #[serde(default)]
    statuses: BTreeMap<String, u64>,
    #[serde(default)]
    instructions: BTreeMap<String, String>,
    #[serde(default)]
    totals: BTreeMap<String, u64>,
}

impl Coverage {
    /// Takes in a record of a hostile guest; returns what the user should see now.
    pub(super) fn note(&mut self, domain: &str, kind: &str, body: Value) -> Option<String> {
        match kind {
            "coverage" => {
                let part: Part = serde_json::from_value(body).ok()?;
                self.seeds.insert(part.seed);
                self.calls += part.totals.get("calls").copied().unwrap_or(0);
                let pairs = [
                    (&mut self.accepted, part.accepted),
                    (&mut self.refused, part.refused),
                    (&mut self.errnos, part.errnos),
                    (&mut self.statuses, part.statuses),
                ];
                for (sums, counts) in pairs {
                    for (name, count) in counts {
                        *sums.entry(name).or_default() += count;
                    }
                }
                self.instructions.extend(part.instructions);
                None
            }
            "breach" => {
                let text = format!("{domain}: breach: {body}");
                self.breaches.push(text.clone());
                Some(text)
            }
            _ => None,
        }
    }

    /// Whether no hostile guest has said anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.seeds.is_empty() && self.breaches.is_empty()
    }

    /// Operations that were only accepted, or only refused.
    pub(crate) fn one_sided(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .accepted
            .keys()
            .filter(|name| !self.refused.contains_key(*name))
            .chain(self.refused.keys().filter(|name| !self.accepted.contains_key(*name)))
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names
    }

    /// A few lines for people.
    pub(crate) fn text(&self) -> String {
        let operations: BTreeSet<&String> = self.accepted.keys().chain(self.refused.keys()).collect();
        let list = |names: &BTreeMap<String, u64>| names.keys().cloned().collect::<Vec<_>>().join(" ");
        let trapped = self.instructions.values().filter(|outcome| outcome.starts_with("trapped")).count();
        format!(
            "hostile guests: {} lives, {} hypercalls, {} breaches\n  \
             {} operations, {} both accepted and refused; one-sided: {}\n  \
             errors seen: {}\n  statuses of grants seen: {}\n  {} instructions, {trapped} trapped",
            self.seeds.len(),
            self.calls,
            self.breaches.len(),
            operations.len(),
            operations.len() - self.one_sided().len(),
            self.one_sided().join(" "),
            list(&self.errnos),
            list(&self.statuses),
            self.instructions.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_all_guests_are_summed() {
        let mut coverage = Coverage::default();
        coverage.note("a", "coverage", json!({"seed": 1, "accepted": {"yield": 2, "send": 1}}));
        coverage.note("b", "coverage", json!({"seed": 2, "refused": {"yield": 3}, "errnos": {"Inval": 3}}));
        coverage.note("b", "coverage", json!({"seed": 2, "totals": {"calls": 6, "breaches": 0}}));
        assert_eq!((coverage.calls, coverage.seeds.len()), (6, 2));
        assert_eq!(coverage.one_sided(), ["send"]);
        assert!(coverage.breaches.is_empty());
    }

    #[test]
    fn a_breach_is_shown_at_once() {
        let mut coverage = Coverage::default();
        assert!(coverage.note("a", "breach", json!({"why": "x"})).unwrap().contains("breach"));
        assert_eq!(coverage.breaches.len(), 1);
    }
}
