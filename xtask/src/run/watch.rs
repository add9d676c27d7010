//! What a run learns from the serial lines as they pass.
//! It exists so that no line is lost while a command waits for its answer.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::coverage::Coverage;
use crate::counters::Snapshot;
use crate::serial::{Banner, Line};

/// So many warnings are shown of a domain that serves others, and so many of all others: no guest may flood the terminal.
const WARNINGS: u32 = 8;

/// A domain that has died so often without a word will not come up.
const STILLBIRTHS: u32 = 10;

/// What the lines have said so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The hypervisor's record of its own start.
    pub(super) boot: Option<Value>,
    /// What each guest said at its start, by domain.
    pub(super) banners: BTreeMap<String, Banner>,
    /// How often each domain has begun to run.
    pub(super) begun: BTreeMap<String, u64>,
    /// Domains that died, with the reason.
    pub(super) deaths: Vec<(String, String)>,
    /// The last known state of each domain.
    pub(super) states: BTreeMap<String, String>,
    /// Snapshots in the order of their lines.
    pub(super) snapshots: Vec<Value>,
    /// `@result` records of guests.
    pub(super) results: Vec<Value>,
    /// `@kv` records: what key-value guests found on their disks.
    pub(super) stores: Vec<Value>,
    /// What hostile guests tried.
    pub(super) coverage: Coverage,
    /// The last audit.
    pub(super) audit: Option<Value>,
    /// What is wrong with the hypervisor itself: panics, failed audits.
    pub(super) faults: Vec<String>,
    /// Domains whose deaths belong to the run and are only counted.
    pub(super) mortal: HashSet<String>,
    /// Domains that serve others.
    pub(super) serving: HashSet<String>,
    /// How often each domain has died that never said that it runs.
    pub(super) stillborn: BTreeMap<String, u32>,
    /// How many warnings were shown of each of these, and under no name of all others.
    pub(super) warned: BTreeMap<String, u32>,
}

impl Watch {
    /// Takes a line to heart; returns text that the user should see now.
    pub(super) fn see(&mut self, line: &Line) -> Option<String> {
        match line {
            Line::Log(text) if text.starts_with("panic") => {
                return Some(self.fault(format!("the hypervisor: {text}")));
            }
            Line::Record { kind, body } => return self.record(kind, body),
            Line::Console { domain, text }
                if !self.mortal.contains(domain)
                    && (text.contains("panicked at") || text.starts_with("panic")) =>
            {
                return Some(format!("{domain}: {text}"));
            }
            Line::Console { domain, text } if text.starts_with("WARN ") || text.starts_with("ERROR ") => {
                return self.warning(domain, text);
            }
            Line::Log(_) | Line::Other(_) | Line::Console { .. } => {}
        }
        let (domain, kind, body) = line.guest_record()?;
        match kind.as_str() {
            "guest" => {
                *self.begun.entry(domain.to_owned()).or_default() += 1;
                if let Ok(banner) = serde_json::from_value(body) {
                    self.banners.insert(domain.to_owned(), banner);
                }
            }
            "result" => self.results.push(body),
            "kv" => self.stores.push(body),
            _ => return self.coverage.note(domain, &kind, body),
        }
        None
    }

    fn record(&mut self, kind: &str, body: &Value) -> Option<String> {
        match kind {
            "boot" => self.boot = Some(body.clone()),
            "snapshot" => self.snapshots.push(body.clone()),
            "audit" => {
                self.audit = Some(body.clone());
                let holds = body.get("ok").and_then(Value::as_bool).unwrap_or(false);
                return (!holds).then(|| self.fault(format!("the hypervisor's audit failed: {body}")));
            }
            "domain" => {
                let text = |key| body.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
                // What is left of a domain may go when the next one of its name is there, or waits to be.
                let late = text("state") == "dead"
                    && body["id"].is_u64()
                    && self.states.get(&text("name")).is_some_and(|state| state != "dying");
                if !late {
                    self.states.insert(text("name"), text("state"));
                }
                if text("state") == "dead" {
                    let (name, reason) = (text("name"), text("reason"));
                    let expected = reason == "poweroff" || self.mortal.contains(&name);
                    let message = (!expected).then(|| format!("{name} ended: {reason}"));
                    if !expected && !self.banners.contains_key(&name) {
                        *self.stillborn.entry(name.clone()).or_default() += 1;
                    }
                    self.deaths.push((name, reason));
                    return message;
                }
            }
            "error" => return Some(format!("the hypervisor: {body}")),
            _ => {}
        }
        None
    }

    /// A domain that dies again and again before it says that it runs, in words.
    pub(super) fn hopeless(&self) -> Option<String> {
        let (name, times) = self.stillborn.iter().find(|(_, times)| **times >= STILLBIRTHS)?;
        let reason = self.deaths.iter().rev().find(|(one, _)| one == name).map(|(_, reason)| reason.as_str());
        Some(format!("{name} died {times} times before it ran: {}", reason.unwrap_or("no reason given")))
    }

    /// A line by which a domain's log warns, unless there were enough of them.
    fn warning(&mut self, domain: &str, text: &str) -> Option<String> {
        if self.mortal.contains(domain) {
            return None;
        }
        let whose = if self.serving.contains(domain) { domain } else { "" };
        let shown = self.warned.entry(whose.to_owned()).or_default();
        *shown = shown.saturating_add(1);
        match *shown {
            ..WARNINGS => Some(format!("{domain}: {text}")),
            WARNINGS => Some(format!("{domain}: {text} (what follows of its kind is in the log alone)")),
            _ => None,
        }
    }

    fn fault(&mut self, text: String) -> String {
        self.faults.push(text.clone());
        text
    }

    /// Whether so many domains have been there and all have died, or could not be built; those that only serve others do
    /// not count.
    pub(super) fn all_dead(&self, domains: usize, serves: impl Fn(&str) -> bool) -> bool {
        let over = |(name, state): (&String, &String)| state == "dead" || state == "failed" || serves(name);
        self.states.len() == domains && self.states.iter().all(over)
    }

    /// The last snapshot with this label.
    pub(super) fn snapshot(&self, label: u64) -> anyhow::Result<Snapshot> {
        let wanted = |body: &&Value| match body.get("label") {
            Some(Value::String(text)) => *text == label.to_string(),
            Some(value) => value.as_u64() == Some(label),
            None => false,
        };
        let body = self.snapshots.iter().rev().find(wanted);
        Snapshot::read(body.ok_or_else(|| anyhow::anyhow!("there is no snapshot {label}"))?.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(lines: &[&str]) -> (Watch, Vec<String>) {
        let mut watch = Watch::default();
        let shown = lines.iter().filter_map(|line| watch.see(&Line::parse(line))).collect();
        (watch, shown)
    }

    #[test]
    fn banners_are_kept_by_domain() {
        let (watch, _) = watch(&[
            "web-1| @guest {\"cpl\":3,\"memory_bytes\":7,\"abi\":\"denizen-1.0\",\"image\":\"web\"}",
        ]);
        assert_eq!(watch.banners["web-1"].cpl, 3);
    }

    #[test]
    fn deaths_and_panics_are_shown_at_once() {
        let (watch, shown) = watch(&[
            "@domain {\"id\":3,\"name\":\"web-2\",\"state\":\"dead\",\"reason\":\"crash\"}",
            "denizen: panic: no frame",
        ]);
        assert_eq!(shown.len(), 2);
        assert_eq!(watch.deaths, [("web-2".to_owned(), "crash".to_owned())]);
    }

    #[test]
    fn a_domain_that_was_built_anew_is_not_dead() {
        let dead = "@domain {\"id\":3,\"name\":\"web-2\",\"state\":\"dead\",\"reason\":\"crash\"}";
        let anew = "@domain {\"id\":4,\"name\":\"web-2\",\"state\":\"running\"}";
        let nobody = |_: &str| false;
        assert!(watch(&[dead]).0.all_dead(1, nobody));
        assert!(!watch(&[dead, anew]).0.all_dead(1, nobody));
        assert!(!watch(&[dead]).0.all_dead(2, nobody));
        let waits =
            "@domain {\"id\":null,\"name\":\"web-2\",\"state\":\"waiting\",\"reason\":\"lived 9 us\"}";
        let dying = "@domain {\"id\":3,\"name\":\"web-2\",\"state\":\"dying\",\"reason\":\"crash\"}";
        assert!(watch(&[dying, dead]).0.all_dead(1, nobody));
        assert!(!watch(&[dying, dead, waits]).0.all_dead(1, nobody));
        assert!(!watch(&[dying, waits, dead]).0.all_dead(1, nobody), "its last frames came back late");
        assert!(!watch(&[dying, anew, dead]).0.all_dead(1, nobody), "its last frames came back late");
        let given_up = "@domain {\"id\":null,\"name\":\"web-2\",\"state\":\"dead\",\"reason\":\"destroyed\"}";
        assert!(watch(&[dying, dead, waits, given_up]).0.all_dead(1, nobody));
        assert!(watch(&[dead, anew]).0.all_dead(1, |name| name == "web-2"), "who serves need not end");
    }

    #[test]
    fn who_dies_again_and_again_before_it_runs_is_hopeless() {
        let dead = |name: &str| {
            Line::parse(&format!(
                "@domain {{\"id\":3,\"name\":\"{name}\",\"state\":\"dead\",\"reason\":\"crash\"}}"
            ))
        };
        let mut watch = Watch { mortal: HashSet::from(["bad".to_owned()]), ..Watch::default() };
        watch.see(&Line::parse("web-1| @guest {\"cpl\":3}"));
        for _ in 1..STILLBIRTHS {
            ["web-1", "web-2", "bad"].iter().for_each(|name| drop(watch.see(&dead(name))));
        }
        ["web-1", "bad"].iter().for_each(|name| drop(watch.see(&dead(name))));
        assert_eq!(watch.hopeless(), None);
        watch.see(&dead("web-2"));
        assert_eq!(watch.hopeless().as_deref(), Some("web-2 died 10 times before it ran: crash"));
    }

    #[test]
    fn warnings_are_shown_and_those_of_guests_do_not_hide_a_driver_domains() {
        let mut watch = Watch { serving: HashSet::from(["storage".to_owned()]), ..Watch::default() };
        watch.mortal.insert("hostile".to_owned());
        let mut shown = |line: &str| watch.see(&Line::parse(line));
        assert_eq!(shown("hostile| ERROR x: y"), None);
        assert_eq!(shown("web-1| INFO x: WARN "), None);
        let flood: Vec<_> =
            (0..100).filter_map(|guest| shown(&format!("web-{}| ERROR x: y", guest % 9))).collect();
        assert_eq!(flood.len(), WARNINGS as usize);
        assert!(flood[7].contains("in the log alone") && !flood[6].contains("alone"));
        let full = "storage| WARN driver_domain: the overlay of disk 0 of kv is full with 65536 bytes";
        assert_eq!(shown(full).as_deref(), Some(&*full.replace('|', ":")));
        assert_eq!((0..100).filter_map(|_| shown(full)).count(), WARNINGS as usize - 1);
    }

    #[test]
    fn an_audit_that_failed_is_not_forgotten_over_a_later_good_one() {
        let (watch, _) = watch(&["@audit {\"ok\":false,\"broken\":[\"x\"]}", "@audit {\"ok\":true}"]);
        assert_eq!(watch.faults.len(), 1);
    }

    #[test]
    fn a_guest_cannot_slip_in_a_snapshot() {
        let (watch, _) = watch(&["web-1| @snapshot {\"label\":1}"]);
        assert!(watch.snapshots.is_empty());
    }
}
