//! What the lines of a measured machine say: snapshots with the wall time of their coming, and the clients' records.
//! It exists apart from the figures so that either can be tested without the other.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::latency::Latency;
use crate::qemu::Stamp;
use crate::serial::Line;

/// Counters of all domains at one moment, by image.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Snapshot {
    /// System time.
    pub(crate) time_ns: u64,
    /// Domain switches.
    pub(crate) switches: u64,
    /// Time in which no domain ran.
    pub(crate) idle_ns: u64,
    /// By image.
    pub(crate) images: Vec<Image>,
}

/// The domains of one image.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Image {
    /// Its path.
    pub(crate) image: String,
    /// Events raised for them.
    pub(crate) raised: u64,
    /// Of those, merged.
    pub(crate) merged: u64,
    /// Notifications to them that ring indices saved.
    pub(crate) suppressed: u64,
    /// Upcalls.
    pub(crate) upcalls: u64,
    /// Instructions of the hypervisor meanwhile, where it counts them.
    #[serde(default)]
    pub(crate) hypervisor_ticks: Option<u64>,
    /// Time on the processor.
    pub(crate) running_ns: u64,
    /// Hypercalls by name.
    pub(crate) hypercalls: BTreeMap<String, u64>,
}

/// A client's segment.
#[derive(Clone, Debug, Deserialize)]
struct Segment {
    number: usize,
    requests: u64,
    errors: u64,
}

/// Part of a list of pairs.
#[derive(Clone, Debug, Deserialize)]
struct Pairs {
    #[serde(default)]
    number: usize,
    #[serde(default)]
    policy: usize,
    first: usize,
    pairs: Vec<u64>,
}

/// What all clients saw in a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Answers in the settled phase.
    pub(crate) requests: u64,
    /// Failures.
    pub(crate) errors: u64,
    /// Latencies.
    pub(crate) latency: Latency,
    /// The longest that a connection took to open, where that is looked at.
    pub(crate) connect_max_us: Option<u64>,
    /// How long it was, where it is not as long as it was meant to be.
    pub(crate) seconds: Option<f64>,
}

/// What a machine has said so far.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Snapshots by label, with the moment of their coming.
    pub(crate) snapshots: BTreeMap<u64, (Snapshot, Stamp)>,
    /// By segment.
    pub(crate) segments: BTreeMap<usize, Seen>,
    /// By policy: for each guest, answers and the sum of their latencies in us.
    pub(crate) served: BTreeMap<usize, Vec<(u64, u64)>>,
    /// Guests that answered before the start.
    pub(crate) ready: u64,
    /// The hypervisor's record of its start.
    pub(crate) boot: Option<Value>,
    /// Whether the ruler came to its end.
    pub(crate) ruled: bool,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
}

impl Collected {
    /// Takes a line to heart that came at this moment.
    ///
    /// # Errors
    /// When a record is not as it should be.
    pub(crate) fn see(&mut self, line: &Line, stamp: Stamp) -> Result<()> {
        match line {
            Line::Record { kind, body } => return self.record(kind, body, stamp),
            Line::Log(text) if text.starts_with("panic") => self.faults.push(text.clone()),
            Line::Console { domain, text } if text.contains("panicked at") || text.starts_with("panic") => {
                self.faults.push(format!("{domain}: {text}"));
            }
            _ => {}
        }
        let Some((domain, kind, body)) = line.guest_record() else { return Ok(()) };
        let of = || format!("the @{kind} record of {domain}");
        match kind.as_str() {
            "ready" => {
                self.ready += body["ready"].as_u64().unwrap_or(0);
                ensure!(body["late"] != true, "{domain} was ready only after the start of the measurement");
            }
            "segment" => {
                let segment: Segment = serde_json::from_value(body).with_context(of)?;
                let seen = self.segments.entry(segment.number).or_default();
                seen.requests += segment.requests;
                seen.errors += segment.errors;
            }
            "latency" => {
                let part: Pairs = serde_json::from_value(body).with_context(of)?;
                let seen = self.segments.entry(part.number).or_default();
                for pair in part.pairs.chunks_exact(2) {
                    seen.latency.add(pair[0], pair[1]);
                }
            }
            "served" => {
                let part: Pairs = serde_json::from_value(body).with_context(of)?;
                let served = self.served.entry(part.policy).or_default();
                for (guest, pair) in (part.first..).zip(part.pairs.chunks_exact(2)) {
                    if served.len() <= guest {
                        served.resize(guest + 1, (0, 0));
                    }
                    served[guest].0 += pair[0];
                    served[guest].1 += pair[1];
                }
            }
            "ruled" => self.ruled = true,
            _ => {}
        }
        Ok(())
    }

    /// Takes a record of the hypervisor to heart.
    pub(crate) fn record(&mut self, kind: &str, body: &Value, stamp: Stamp) -> Result<()> {
        match kind {
            "boot" => self.boot = Some(body.clone()),
            "snapshot" => {
                let label = body["label"].as_str().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
                let snapshot =
                    serde_json::from_value(body.clone()).context("a snapshot is not understood")?;
                self.snapshots.insert(label, (snapshot, stamp));
            }
            "audit" if body["ok"] != true => self.faults.push(format!("the audit failed: {body}")),
            // A client that has said everything ends itself.
            "domain" if body["state"] == "dead" && body["reason"] == "poweroff" => {}
            "domain" if body["state"] == "dead" || body["state"] == "failed" => {
                self.faults.push(format!("a domain ended: {body}"));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_several_clients_add_up() {
        let mut collected = Collected::default();
        for text in [
            "client-1| @ready {\"client\":0,\"ready\":2,\"targets\":2,\"late\":false}",
            "client-1| @segment {\"client\":0,\"number\":1,\"policy\":1,\"requests\":3,\"errors\":0}",
            "client-2| @segment {\"client\":1,\"number\":1,\"policy\":1,\"requests\":4,\"errors\":1}",
            "client-1| @latency {\"number\":1,\"first\":0,\"pairs\":[10,3]}",
            "client-2| @latency {\"number\":1,\"first\":0,\"pairs\":[10,1,20,3]}",
            "client-1| @served {\"client\":0,\"policy\":1,\"first\":1,\"pairs\":[3,30]}",
            "client-2| @served {\"client\":1,\"policy\":1,\"first\":0,\"pairs\":[4,70]}",
        ] {
            collected.see(&Line::parse(text), Stamp::default()).unwrap();
        }
        let seen = &collected.segments[&1];
        assert_eq!((seen.requests, seen.errors, seen.latency.count()), (7, 1, 7));
        assert_eq!(collected.served[&1], [(4, 70), (3, 30)]);
    }

    #[test]
    fn a_client_that_comes_too_late_spoils_the_measurement() {
        let late = "client-1| @ready {\"client\":0,\"ready\":2,\"targets\":2,\"late\":true}";
        assert!(Collected::default().see(&Line::parse(late), Stamp::default()).is_err());
    }
}
