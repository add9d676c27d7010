//! What hostile guests tried, summed over all of them.
//! It exists so that a run that attacked nothing does not pass for one that withstood everything.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Sums of all `@coverage` lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Coverage {
    /// Lives that drew numbers of their own.
    pub(crate) seeds: BTreeSet<u64>,
    /// Those of them that lasted as long as they were meant to.
    pub(crate) whole: BTreeSet<u64>,
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
    /// Answers that must come.
    pub(crate) due: BTreeSet<String>,
    /// Answers that never come, with the reason.
    pub(crate) never: BTreeMap<String, String>,
    /// Those that did not come though they are due; written for who reads the figures.
    pub(crate) missing: BTreeSet<String>,
}

/// One `@coverage` line.
#[derive(Deserialize)]
struct Part {
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
    #[serde(default)]
    due: BTreeMap<String, String>,
    #[serde(default)]
    never: BTreeMap<String, String>,
}

/// A `@hostile` or `@life` line: a life that begins, or has lasted as long as it was meant to.
#[derive(Deserialize)]
struct Life {
    seed: u64,
}

impl Coverage {
    /// Takes in a record of a hostile guest; returns what the user should see now.
    pub(super) fn note(&mut self, domain: &str, kind: &str, body: Value) -> Option<String> {
        let life = |body| serde_json::from_value::<Life>(body).ok().map(|life| life.seed);
        match kind {
            "coverage" => self.add(serde_json::from_value(body).ok()?),
            "hostile" => self.seeds.extend(life(body)),
            "life" => self.whole.extend(life(body)),
            "breach" => {
                let text = format!("{domain}: breach: {body}");
                self.breaches.push(text.clone());
                return Some(text);
            }
            _ => {}
        }
        None
    }

    fn add(&mut self, part: Part) {
        self.calls += part.totals.get("calls").copied().unwrap_or(0);
        let counts = [part.accepted, part.refused, part.errnos, part.statuses];
        for (sums, counts) in self.sums().into_iter().zip(counts) {
            add(sums, counts);
        }
        self.instructions.extend(part.instructions);
        self.due.extend(part.due.into_keys());
        self.never.extend(part.never);
    }

    fn sums(&mut self) -> [&mut BTreeMap<String, u64>; 4] {
        [&mut self.accepted, &mut self.refused, &mut self.errnos, &mut self.statuses]
    }

    /// Takes in what another run has seen.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.seeds.append(&mut other.seeds);
        self.whole.append(&mut other.whole);
        self.calls += other.calls;
        self.breaches.append(&mut other.breaches);
        for (sums, counts) in self.sums().into_iter().zip(other.sums()) {
            add(sums, core::mem::take(counts));
        }
        self.instructions.append(&mut other.instructions);
        self.due.append(&mut other.due);
        self.never.append(&mut other.never);
        self.conclude();
    }

    /// Whether an answer came, by its name: `refused XenVersion.Version`.
    fn came(&self, answer: &str) -> bool {
        let Some((kind, name)) = answer.split_once(' ') else { return false };
        let counts = match kind {
            "accepted" => &self.accepted,
            "refused" => &self.refused,
            "errnos" => &self.errnos,
            _ => &self.statuses,
        };
        counts.contains_key(name)
    }

    /// Looks which answers are missing, and takes those that came though they never do for breaches.
    pub(crate) fn conclude(&mut self) {
        self.missing = self.due.iter().filter(|answer| !self.came(answer)).cloned().collect();
        for (answer, why) in &self.never {
            let text = format!("{answer}, which never comes ({why}), came");
            if self.came(answer) && !self.breaches.contains(&text) {
                self.breaches.push(text);
            }
        }
    }

    /// Whether no hostile guest has said anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.seeds.is_empty() && self.breaches.is_empty()
    }

    /// A few lines for people.
    pub(crate) fn text(&self) -> String {
        let operations: BTreeSet<&String> = self.accepted.keys().chain(self.refused.keys()).collect();
        let trapped = self.instructions.values().filter(|outcome| outcome.starts_with("trapped")).count();
        format!(
            "hostile guests: {} lives, {} of full length, {} hypercalls, {} breaches\n  \
             {} operations: {}\n  {} errors, {} statuses of grants; {} answers never come, each for its reason\n  \
             {} instructions, {trapped} trapped",
            self.seeds.len(),
            self.whole.len(),
            self.calls,
            self.breaches.len(),
            operations.len(),
            self.reached(),
            self.errnos.len(),
            self.statuses.len(),
            self.never.len(),
            self.instructions.len(),
        )
    }

    /// How complete it is.
    pub(crate) fn reached(&self) -> String {
        let due = self.due.len();
        if self.missing.is_empty() {
            return format!("all {due} reachable answers seen");
        }
        let missing: Vec<&str> = self.missing.iter().map(String::as_str).collect();
        format!("{} of {due} reachable answers seen; missing: {}", due - missing.len(), missing.join(", "))
    }
}

fn add(sums: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (name, count) in counts {
        *sums.entry(name).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_all_guests_are_summed() {
        let mut coverage = Coverage::default();
        coverage.note("a", "hostile", json!({"seed": 1, "incarnation": 0}));
        coverage.note("b", "hostile", json!({"seed": 2, "incarnation": 0}));
        coverage.note("a", "coverage", json!({"seed": 1, "accepted": {"yield": 2, "send": 1}}));
        coverage.note("b", "coverage", json!({"seed": 2, "refused": {"yield": 3}, "errnos": {"Inval": 3}}));
        coverage.note("b", "coverage", json!({"seed": 2, "totals": {"calls": 6, "breaches": 0}}));
        coverage.note("b", "life", json!({"seed": 2, "ms": 500}));
        assert_eq!((coverage.calls, coverage.seeds.len(), coverage.whole.len()), (6, 2, 1));
        assert!(coverage.breaches.is_empty());
    }

    #[test]
    fn a_breach_is_shown_at_once() {
        let mut coverage = Coverage::default();
        assert!(coverage.note("a", "breach", json!({"why": "x"})).unwrap().contains("breach"));
        assert_eq!(coverage.breaches.len(), 1);
    }

    #[test]
    fn what_is_due_and_did_not_come_is_named_until_another_run_has_seen_it() {
        let mut coverage = Coverage::default();
        coverage.note("a", "coverage", json!({"seed": 1, "due": {"refused send": "", "errnos Perm": ""}}));
        coverage.note("a", "coverage", json!({"seed": 1, "refused": {"send": 1}}));
        coverage.conclude();
        assert!(coverage.reached().ends_with("missing: errnos Perm"), "{}", coverage.reached());
        let mut other = Coverage::default();
        other.note("a", "coverage", json!({"seed": 3, "errnos": {"Perm": 1}}));
        coverage.absorb(other);
        assert_eq!(coverage.reached(), "all 2 reachable answers seen");
    }

    #[test]
    fn an_answer_that_never_comes_is_a_breach_when_it_does() {
        let mut coverage = Coverage::default();
        coverage.note("a", "coverage", json!({"seed": 1, "never": {"accepted iret": "it does not return"}}));
        coverage.conclude();
        assert!(coverage.breaches.is_empty());
        coverage.note("a", "coverage", json!({"seed": 1, "accepted": {"iret": 1}}));
        coverage.conclude();
        coverage.conclude();
        assert_eq!(coverage.breaches.len(), 1);
    }
}
