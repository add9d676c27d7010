//! From what was seen to figures: the same for load from the host and from inside.
//! It exists so that each figure is computed in one place.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::options::from_inside;
use super::session::Session;
use super::watch::Watch;
use crate::cli::{self, Idle, Switch};
use crate::counters::{Snapshot, ratio};
use crate::figures::{Boot, Call, Domain, Figures, Http, Memory, Run, Traced};
use crate::load::Outcome;
use crate::scenario::{Delivery, Scenario};
use crate::{paths, trace};

/// Percentiles of the latency curve.
const CURVE: &[f64] = &[1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// The figures that are known when the guests are up.
pub(super) fn start(options: &cli::Run, scenario: &Scenario, session: &Session, ready: &Snapshot) -> Figures {
    let names = session.subjects();
    let mut figures = about(options, scenario, session, |name| names.contains(name));
    figures.memory.hypervisor_bytes_per_guest = per_guest(session);
    figures.memory.shared_bytes = shared(session);
    figures.boot.virtual_ms = Some(ready.time_ns as f64 / 1e6);
    figures
}

/// The figures of a run in which nothing was measured: all domains, ready those that said so.
pub(super) fn listened(options: &cli::Run, scenario: &Scenario, session: &Session) -> Figures {
    let mut figures = about(options, scenario, session, |_name| true);
    figures.ready = figures.domains.iter().filter(|domain| domain.cpl_seen.is_some()).count();
    figures.load = "none".to_owned();
    figures
}

fn about(
    options: &cli::Run,
    scenario: &Scenario,
    session: &Session,
    meant: impl Fn(&str) -> bool,
) -> Figures {
    let configured = session.plan.config.domains.iter().filter(|domain| meant(&domain.name));
    let domains: Vec<Domain> = configured
        .map(|domain| Domain {
            name: domain.name.clone(),
            ring: domain.ring,
            cpl_seen: session.watch.banners.get(&domain.name).map(|banner| banner.cpl),
            memory_bytes: domain.memory_bytes,
        })
        .collect();
    let clock = match (options.icount, options.kvm) {
        (true, _) => "counted",
        (_, true) => "kvm",
        _ => "real",
    };
    let guest_bytes = domains.first().map_or(0, |domain| domain.memory_bytes);
    Figures {
        scenario: scenario.name.clone(),
        command: command(),
        guests: domains.len(),
        load: if from_inside(options) { "inside" } else { "host" }.to_owned(),
        clock: clock.to_owned(),
        seed: scenario.system.seed,
        domains,
        memory: Memory { hypervisor_bytes_per_guest: None, guest_bytes, shared_bytes: None },
        boot: Boot { virtual_ms: None, wall_s: session.started.elapsed().as_secs_f64() },
        ..Figures::default()
    }
}

/// What the hypervisor's heap grew by for each domain when it created them.
fn per_guest(session: &Session) -> Option<u64> {
    let used = session.watch.boot.as_ref()?.get("heap_used_by_domains")?.as_u64()?;
    used.checked_div(u64::try_from(session.plan.config.domains.len()).ok()?)
}

/// What its domains had in common when the hypervisor had created them.
fn shared(session: &Session) -> Option<u64> {
    session.watch.boot.as_ref()?.get("shared_bytes")?.as_u64()
}

/// The command line that made this.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", arguments.join(" "))
}

/// One measurement: what the clients saw, and the counters before and after.
pub(super) fn run(
    options: &cli::Run,
    delivery: Delivery,
    http: Http,
    (before, after): (&Snapshot, &Snapshot),
    subjects: &HashSet<&str>,
) -> Run {
    let change = before.until(after, subjects);
    let calls = change.hypercalls.iter().map(|(name, &count)| (name.clone(), Call { count, mean_ns: None }));
    Run {
        delivery: delivery.word().to_owned(),
        suppress: if options.suppress == Switch::On { "on" } else { "off" }.to_owned(),
        idle: if options.idle == Idle::Timeout { "timeout" } else { "plain" }.to_owned(),
        interrupts: change.interrupts(http.requests),
        http,
        hypercalls: calls.collect(),
        idle_share: ratio(change.idle_ns, change.time_ns),
    }
}

/// What is known when the machine has ended.
pub(super) fn conclude(figures: &mut Figures, watch: &Watch) {
    for (name, _reason) in watch.deaths.iter().filter(|(_, reason)| reason != "poweroff") {
        *figures.deaths.entry(name.clone()).or_default() += 1;
    }
    figures.audit = watch.audit.clone();
    figures.coverage = (!watch.coverage.is_empty()).then(|| {
        let mut coverage = watch.coverage.clone();
        coverage.conclude();
        coverage
    });
}

/// What clients on the host saw.
pub(super) fn http(outcome: &Outcome, connections: usize) -> Http {
    let at = |percentile| quantile(&outcome.latency, percentile);
    Http {
        requests: outcome.requests,
        errors: outcome.errors,
        first_error: outcome.first_error.clone(),
        failed: outcome.failed.clone(),
        p50_us: at(50.0),
        p99_us: at(99.0),
        curve: CURVE.iter().map(|&percentile| (percentile, at(percentile))).collect(),
        ..pace(outcome.requests, outcome.elapsed, connections)
    }
}

/// The part of it that says how fast.
pub(super) fn pace(requests: u64, elapsed: Duration, connections: usize) -> Http {
    let seconds = elapsed.max(Duration::from_micros(1)).as_secs_f64();
    Http {
        requests,
        requests_per_s: (requests as f64 / seconds * 10.0).round() / 10.0,
        connections,
        seconds: (seconds * 1000.0).round() / 1000.0,
        ..Http::default()
    }
}

/// Reads the trace that a run left, copies it to where it was asked for, and adds what it says.
pub(super) fn add_trace(
    options: &cli::Run,
    scenario: &Scenario,
    figures: &mut Figures,
    delivery: Delivery,
    requests: u64,
) -> Result<()> {
    let file = paths::run(&scenario.name).join("trace.bin");
    let stats = trace::stats_of(&file)?;
    if let Some(copy) = &options.trace {
        std::fs::copy(&file, copy).with_context(|| format!("writing {}", copy.display()))?;
    }
    for run in &mut figures.runs {
        for (name, call) in &mut run.hypercalls {
            call.mean_ns = stats.hypercalls.get(name).and_then(|traced| traced.mean_ns);
        }
    }
    figures.traced = Some(Traced {
        file: file.display().to_string(),
        delivery: delivery.word().to_owned(),
        records: stats.records,
        lost: stats.lost,
        requests,
    });
    Ok(())
}

fn quantile(latency: &Histogram<u64>, percentile: f64) -> u64 {
    if latency.is_empty() { 0 } else { latency.value_at_percentile(percentile) }
}
