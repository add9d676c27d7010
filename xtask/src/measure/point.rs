//! A point of a curve: one policy on one machine, all its rounds together.
//! It exists so that each figure is computed in one place, and JSON, table and plots read the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::collect::{Collected, Image, Snapshot};
use super::latency::Latency;
use super::own::Own;
use super::policy::Policy;
use super::settings::{Cell, Settings};
use super::spread::{Ratio, median};
use super::traced::Delays;
use crate::counters::ratio;

/// One point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Guests.
    pub(crate) guests: u32,
    /// Guests that answered before the start.
    pub(crate) ready: u64,
    /// The policy, with its window.
    pub(crate) delivery: String,
    /// `on` or `off`.
    pub(crate) suppress: String,
    /// `timeout` or `plain`.
    pub(crate) idle: String,
    /// Connections at once.
    pub(crate) connections: u32,
    /// Answers.
    pub(crate) requests: u64,
    /// Failures.
    pub(crate) errors: u64,
    /// Requests per second of virtual time.
    pub(crate) throughput: f64,
    /// The smallest and the largest of the rounds.
    pub(crate) throughput_spread: [f64; 2],
    /// Requests per second of wall time through those of the first policy in the same round: the median.
    pub(crate) wall_ratio: Option<f64>,
    /// Of the wall ratio.
    pub(crate) wall: Ratio,
    /// The same by the time that QEMU had processors of the host, which other work there does not lengthen.
    #[serde(default)]
    pub(crate) cpu_ratio: Option<f64>,
    /// Of that ratio.
    #[serde(default)]
    pub(crate) cpu: Ratio,
    /// Half of the requests took no longer, in us.
    pub(crate) p50_us: Option<u64>,
    /// 99 of 100 took no longer.
    pub(crate) p99_us: Option<u64>,
    /// 999 of 1,000.
    #[serde(default)]
    pub(crate) p999_us: Option<u64>,
    /// The slowest of all.
    #[serde(default)]
    pub(crate) max_us: Option<u64>,
    /// The longest that a connection from the host took to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connect_max_us: Option<u64>,
    /// Mean latency of the guest with the longest through that of the one with the shortest, of guests with at least
    /// [`FAIR_MIN`] answers.
    pub(crate) latency_max_min: Option<f64>,
    /// Answers of the guest with the most through those of the one with the fewest; by the load's own spread it is large.
    pub(crate) requests_max_min: Option<f64>,
    /// Interrupts of the guests.
    pub(crate) interrupts: Interrupts,
    /// Domain switches for each request.
    pub(crate) switches_per_request: Option<f64>,
    /// (raised + suppressed) / upcalls of the guests.
    pub(crate) events_per_upcall: Option<f64>,
    /// How often a guest went to sleep for each request, or tried to: its wake-ups.
    pub(crate) sleeps_per_request: Option<f64>,
    /// Hypercalls of all domains for each request.
    pub(crate) hypercalls_per_request: BTreeMap<String, f64>,
    /// By who had the processor.
    pub(crate) instructions_per_request: Instructions,
    /// Where ways to idle are compared, of idle-with-timeout: the throughput through that without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<f64>,
    /// Share of the time in which no domain ran.
    pub(crate) idle_share: Option<f64>,
    /// From raise to handling, from a traced round of its own.
    pub(crate) delays: Option<Delays>,
}

/// The fewest answers of a guest whose latency is compared.
const FAIR_MIN: u64 = 5;

/// Interrupts of the measured guests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interrupts {
    /// Notifications sent.
    pub(crate) raised: u64,
    /// Those that hit a bit already pending.
    pub(crate) merged: u64,
    /// Those that ring indices saved.
    pub(crate) suppressed: u64,
    /// Upcalls.
    pub(crate) upcalls: u64,
    /// Domain switches of the whole system.
    pub(crate) switches: u64,
}

/// Instructions for each request. What the hypervisor does for a domain counts as that domain's; `hypervisor` says how
/// much that is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instructions {
    /// All of them, idle time left out.
    pub(crate) total: Option<f64>,
    /// The driver domain.
    pub(crate) driver: Option<f64>,
    /// The measured guests.
    pub(crate) guests: Option<f64>,
    /// The clients that make the load.
    pub(crate) clients: Option<f64>,
    /// Between domains: what no domain was charged for.
    pub(crate) between: Option<f64>,
    /// Time in which nobody ran.
    pub(crate) idle: Option<f64>,
    /// The hypervisor's own part of the above, from a round of its own.
    pub(crate) hypervisor: Option<Own>,
}

/// A segment's two ends.
pub(super) struct Phase<'a> {
    number: usize,
    before: &'a Snapshot,
    pub(super) after: &'a Snapshot,
    wall_s: Option<f64>,
    cpu_s: Option<f64>,
}

impl Phase<'_> {
    fn grown(&self, field: fn(&Snapshot) -> u64) -> u64 {
        field(self.after).saturating_sub(field(self.before))
    }

    /// What a counter of the domains of one image grew by.
    pub(super) fn of(&self, image: &str, field: fn(&Image) -> u64) -> u64 {
        let at =
            |snapshot: &Snapshot| snapshot.images.iter().find(|found| found.image == image).map_or(0, field);
        at(self.after).saturating_sub(at(self.before))
    }
}

/// The points of a machine, one a policy.
///
/// # Errors
/// When something is missing from what it said.
pub(crate) fn points(settings: &Settings, cell: &Cell, collected: &Collected) -> Result<Vec<Point>> {
    if !collected.ruled {
        bail!("the measurement did not come to its end");
    }
    let count = settings.policies.len();
    let mut phases = Vec::new();
    for number in 0..count * settings.rounds as usize {
        phases.push(phase(collected, number)?);
    }
    let rates = |seconds: fn(&Phase<'_>) -> Option<f64>| -> Vec<f64> {
        let rate = |phase: &Phase<'_>| {
            let answers = requests(collected, phase.number) as f64;
            seconds(phase).map_or(f64::NAN, |seconds| answers / seconds.max(1e-9))
        };
        phases.iter().map(rate).collect()
    };
    let (wall, cpu) = (rates(|phase| phase.wall_s), rates(|phase| phase.cpu_s));
    settings
        .policies
        .iter()
        .enumerate()
        .map(|(index, policy)| {
            let mine: Vec<&Phase<'_>> =
                phases.iter().filter(|phase| policy_of(phase.number, count) == index).collect();
            let ratios = [&wall, &cpu].map(|rates| ratios_of(rates, count, index));
            point(settings, cell, collected, policy, index, &mine, &ratios)
        })
        .collect()
}

/// Which policy a segment was under; the clients know the same rule.
pub(crate) const fn policy_of(number: usize, count: usize) -> usize {
    (number / count + number % count) % count
}

/// Rates of a policy through those of the first, round by round.
fn ratios_of(rates: &[f64], count: usize, index: usize) -> Vec<f64> {
    let round = |(number, round): (usize, &[f64])| {
        let of = |wanted| (0..count).find(|&place| policy_of(number * count + place, count) == wanted);
        Some(round[of(index)?] / round[of(0)?])
    };
    rates.chunks_exact(count).enumerate().filter_map(round).filter(|ratio| ratio.is_finite()).collect()
}

pub(super) fn phase(collected: &Collected, number: usize) -> Result<Phase<'_>> {
    let at = |label: usize| {
        collected.snapshots.get(&(label as u64)).with_context(|| format!("snapshot {label} is missing"))
    };
    let ((before, from), (after, to)) = (at(2 * number)?, at(2 * number + 1)?);
    Ok(Phase { number, before, after, wall_s: to.wall_since(*from), cpu_s: to.cpu_since(*from) })
}

pub(super) fn requests(collected: &Collected, number: usize) -> u64 {
    collected.segments.get(&number).map_or(0, |seen| seen.requests)
}

fn point(
    settings: &Settings,
    cell: &Cell,
    collected: &Collected,
    policy: &Policy,
    index: usize,
    phases: &[&Phase<'_>],
    [wall, cpu]: &[Vec<f64>; 2],
) -> Result<Point> {
    let sum = |value: &dyn Fn(&Phase<'_>) -> u64| phases.iter().map(|phase| value(phase)).sum::<u64>();
    let mut latency = Latency::default();
    let (mut answers, mut errors, mut connect_max_us) = (0, 0, None);
    for phase in phases {
        let seen = collected.segments.get(&phase.number).context("the clients said nothing of a segment")?;
        latency.merge(&seen.latency);
        answers += seen.requests;
        errors += seen.errors;
        connect_max_us = connect_max_us.max(seen.connect_max_us);
    }
    // Clients inside count in exactly this time, and the snapshots are as far apart.
    let meant = f64::from(settings.settled_ms) / 1e3;
    let seconds = |phase: &Phase<'_>| {
        collected.segments.get(&phase.number).and_then(|seen| seen.seconds).unwrap_or(meant)
    };
    let rates: Vec<f64> =
        phases.iter().map(|phase| requests(collected, phase.number) as f64 / seconds(phase)).collect();
    let all: f64 = phases.iter().map(|phase| seconds(phase)).sum();
    let of = |image: &'static str, field: fn(&Image) -> u64| sum(&|phase| phase.of(image, field));
    let interrupts = Interrupts {
        raised: of(GUEST, |image| image.raised),
        merged: of(GUEST, |image| image.merged),
        suppressed: of(GUEST, |image| image.suppressed),
        upcalls: of(GUEST, |image| image.upcalls),
        switches: sum(&|phase| phase.grown(|snapshot| snapshot.switches)),
    };
    let time = sum(&|phase| phase.grown(|snapshot| snapshot.time_ns));
    let idle = sum(&|phase| phase.grown(|snapshot| snapshot.idle_ns));
    let run = |image| of(image, |image| image.running_ns);
    let ran = run(DRIVER) + run(GUEST) + run(CLIENT);
    let a_request = |instructions| ratio(instructions, answers);
    let (slowest, most) = fairness(collected.served.get(&index).map(Vec::as_slice).unwrap_or_default());
    Ok(Point {
        guests: cell.guests,
        ready: collected.ready,
        delivery: policy.to_string(),
        suppress: cell.suppress.clone(),
        idle: cell.idle.clone(),
        connections: {
            let (each, clients) = settings.connections(cell.guests);
            each * clients
        },
        requests: answers,
        errors,
        throughput: round(answers as f64 / all.max(meant)),
        throughput_spread: [
            round(rates.iter().copied().fold(f64::INFINITY, f64::min)),
            round(rates.iter().copied().fold(0.0, f64::max)),
        ],
        wall_ratio: median(wall),
        wall: Ratio::of(wall, phases.iter().filter_map(|phase| phase.wall_s).sum()),
        cpu_ratio: median(cpu),
        cpu: Ratio::of(cpu, phases.iter().filter_map(|phase| phase.cpu_s).sum()),
        p50_us: latency.of_1000(500),
        p99_us: latency.of_1000(990),
        p999_us: latency.of_1000(999),
        max_us: latency.of_1000(1000),
        connect_max_us,
        latency_max_min: slowest,
        requests_max_min: most,
        switches_per_request: a_request(interrupts.switches),
        events_per_upcall: ratio(interrupts.raised + interrupts.suppressed, interrupts.upcalls),
        interrupts,
        // A web guest has no other use for this hypercall.
        sleeps_per_request: a_request(of(GUEST, |image| {
            image.hypercalls.get("extension").copied().unwrap_or(0)
        })),
        hypercalls_per_request: hypercalls(phases, answers),
        instructions_per_request: Instructions {
            total: a_request(time.saturating_sub(idle)),
            driver: a_request(run(DRIVER)),
            guests: a_request(run(GUEST)),
            clients: a_request(run(CLIENT)),
            between: a_request(time.saturating_sub(idle + ran)),
            idle: a_request(idle),
            hypervisor: None,
        },
        factor: None,
        idle_share: ratio(idle, time),
        delays: None,
    })
}

pub(super) const DRIVER: &str = "guests/driver-domain";
pub(super) const GUEST: &str = "guests/web";
pub(super) const CLIENT: &str = "guests/client";

/// Hypercalls of all domains for each request.
fn hypercalls(phases: &[&Phase<'_>], requests: u64) -> BTreeMap<String, f64> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (snapshot, sign) in phases.iter().flat_map(|phase| [(phase.after, true), (phase.before, false)]) {
        for (name, &count) in snapshot.images.iter().flat_map(|image| &image.hypercalls) {
            let total = counts.entry(name.clone()).or_default();
            *total = if sign { total.wrapping_add(count) } else { total.wrapping_sub(count) };
        }
    }
    counts.into_iter().filter_map(|(name, count)| Some((name, ratio(count, requests)?))).collect()
}

/// The longest mean latency through the shortest, and the most answers through the fewest.
fn fairness(served: &[(u64, u64)]) -> (Option<f64>, Option<f64>) {
    let known = served.iter().filter(|(requests, _)| *requests >= FAIR_MIN);
    let means: Vec<f64> = known.map(|&(requests, us)| us as f64 / requests as f64).collect();
    let longest = means.iter().copied().fold(0.0, f64::max);
    let shortest = means.iter().copied().fold(f64::INFINITY, f64::min);
    let counts = || served.iter().map(|(requests, _)| *requests);
    (
        (shortest > 0.0 && !means.is_empty()).then(|| round(longest / shortest)),
        counts().max().zip(counts().min()).and_then(|(most, fewest)| ratio(most, fewest)),
    )
}

/// Four digits are more than any of these figures means.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_every_policy_once_and_another_first() {
        for count in 1..5 {
            for round in 0..4 {
                let mut policies: Vec<_> =
                    (0..count).map(|place| policy_of(round * count + place, count)).collect();
                assert_eq!(policies[0], round % count);
                policies.sort_unstable();
                assert_eq!(policies, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn wall_ratios_compare_within_a_round() {
        // Two rounds of two policies; in the second round the second policy comes first.
        let rates = [10.0, 12.0, 30.0, 20.0];
        assert_eq!(ratios_of(&rates, 2, 0), [1.0, 1.0]);
        assert_eq!(ratios_of(&rates, 2, 1), [1.2, 1.5]);
    }

    #[test]
    fn a_guest_with_few_answers_says_nothing_about_fairness() {
        let (latency, requests) = fairness(&[(10, 1000), (20, 1000), (1, 90_000)]);
        assert_eq!((latency, requests), (Some(2.0), Some(20.0)));
        assert_eq!(fairness(&[]), (None, None));
    }
}
