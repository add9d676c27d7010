//! What requests waited for: from an event for a domain, over its turn and its work, until its back end took the answer.
//! It exists because a slow request is seldom slow by itself: somebody else had what it waited for.
//!
//! The trace is read twice: once for where requests begin and end, once for who did what within those that are shown.

mod chain;
mod disk;
mod requests;
mod work;

use std::path::Path;

use anyhow::Result;
use hypercall_abi::DomId;
use serde::Serialize;

use super::names::Names;
use super::text::seconds;
use super::{input, missing, write_json};
use crate::BadInput;
use crate::cli::Why;
use crate::counters::ratio;
use chain::Step;
use requests::Request;

/// Share of the time below which a domain is not named on the terminal.
const SMALLEST: f64 = 0.005;

/// The most steps of a request on the terminal, the longest of all.
const STEPS: usize = 32;

/// What is shown.
#[derive(Clone, Debug, Serialize)]
struct Answer {
    /// Requests, the slowest first.
    requests: Vec<Told>,
    /// Who held them up, in all of them together, the worst first.
    blame: Vec<Blame>,
    /// The answer, in words.
    verdict: String,
}

/// One request.
#[derive(Clone, Debug, Serialize)]
struct Told {
    /// Whose.
    domain: String,
    /// Who ran when its event was raised.
    from: String,
    /// At which port.
    port: u32,
    /// When its event was raised.
    begin_ns: u64,
    /// When it was over.
    end_ns: u64,
    /// From one to the other.
    duration_ns: u64,
    /// What it waited for, in order.
    steps: Vec<Step>,
    /// Who held it up, the worst first.
    blame: Vec<Blame>,
}

/// A domain that held requests up.
#[derive(Clone, Debug, Serialize)]
struct Blame {
    /// Its name; `device` for the time that a disk took.
    domain: String,
    /// For how long.
    ns: u64,
    /// Share of the requests' time.
    share: f64,
}

/// Says why requests took as long as they did.
///
/// # Errors
/// [`BadInput`] for a domain that the trace does not name, or if there is no such request.
pub(super) fn why(options: &Why) -> Result<()> {
    let mut reader = input::open(&options.file)?;
    let names = Names::new(reader.names());
    let whose = match &options.domain {
        None => None,
        Some(pattern) => match names.fitting(pattern)[..] {
            [] => {
                return Err(
                    BadInput(format!("no domain fits {pattern}; the trace has {}", names.all())).into()
                );
            }
            ref found => Some(found.to_vec()),
        },
    };
    let at = options.at.map(|at| at.0);
    let wanted = |id: DomId| whose.as_ref().is_none_or(|whose| whose.contains(&id));
    let found = requests::slowest(&mut reader, wanted, at, options.slowest as usize);
    if found.is_empty() {
        let also = missing(&reader.tally()).map_or_else(String::new, |missing| format!("; {missing}"));
        return Err(BadInput(format!("the trace has no such request from beginning to end{also}")).into());
    }
    let answer = answer(&options.file, &found, &names, missing(&reader.tally()))?;
    for told in &answer.requests {
        print(told);
    }
    say!("{}", answer.verdict);
    write_json(&options.json, &answer)
}

fn answer(file: &Path, found: &[Request], names: &Names, missing: Option<String>) -> Result<Answer> {
    let parts = work::of(input::open(file)?, found);
    let mut requests = Vec::new();
    for (request, pieces) in found.iter().zip(&parts) {
        let (steps, blame) = chain::of(request, pieces, names);
        requests.push(Told {
            domain: names.of(request.domain),
            from: names.of(request.from),
            port: request.port,
            begin_ns: request.begin,
            end_ns: request.end,
            duration_ns: request.duration(),
            steps,
            blame: ranked(blame, request.duration()),
        });
    }
    let whole = requests.iter().map(|told| told.duration_ns).fold(0, u64::saturating_add);
    let all = requests.iter().flat_map(|told| &told.blame).map(|blame| (blame.domain.clone(), blame.ns));
    let blame = ranked(all.collect(), whole);
    let share = |share: f64| format!("{:.0} %", share * 100.0);
    let mut verdict = match &blame[..] {
        [] => "nobody held these requests up: they took their own time".to_owned(),
        [worst, rest @ ..] => {
            let others: Vec<String> = rest
                .iter()
                .filter(|one| one.share >= SMALLEST)
                .take(3)
                .map(|one| format!("{} {}", one.domain, share(one.share)))
                .collect();
            let then =
                if others.is_empty() { String::new() } else { format!("; then {}", others.join(", ")) };
            format!("held up most by {}: {} of the time{then}", worst.domain, share(worst.share))
        }
    };
    if let Some(missing) = missing {
        verdict.push_str(&format!("\n{missing}"));
    }
    Ok(Answer { requests, blame, verdict })
}

/// The worst first, each domain once.
fn ranked(all: Vec<(String, u64)>, whole: u64) -> Vec<Blame> {
    let mut sums = std::collections::BTreeMap::<String, u64>::new();
    for (domain, ns) in all {
        let sum = sums.entry(domain).or_default();
        *sum = sum.saturating_add(ns);
    }
    let share = |ns| ratio(ns, whole).unwrap_or(0.0);
    let mut blame: Vec<Blame> =
        sums.into_iter().map(|(domain, ns)| Blame { domain, ns, share: share(ns) }).collect();
    blame.sort_by_key(|one| std::cmp::Reverse(one.ns));
    blame
}

fn us(ns: u64) -> String {
    format!("{}.{:03} us", ns / 1000, ns % 1000)
}

/// How long a step must be to be shown on the terminal, where a request that waited often has too many.
fn shortest_shown(steps: &[Step]) -> u64 {
    let mut longest: Vec<u64> = steps.iter().map(|step| step.ns).collect();
    longest.sort_unstable_by(|one, other| other.cmp(one));
    longest.get(STEPS - 1).filter(|_| longest.len() > STEPS).copied().unwrap_or(0)
}

fn print(told: &Told) {
    say!(
        "{}: {} from {} s (event raised by {} at port {})",
        told.domain,
        us(told.duration_ns),
        seconds(told.begin_ns).trim_start(),
        told.from,
        told.port
    );
    let least = shortest_shown(&told.steps);
    let (mut left_out, mut rest) = (0, 0);
    for step in &told.steps {
        if step.ns < least {
            (left_out, rest) = (left_out + 1, step.ns.saturating_add(rest));
            continue;
        }
        let by: Vec<String> =
            step.by.iter().take(4).map(|one| format!("{} {}", one.what, us(one.ns))).collect();
        let more = if step.by.len() > 4 { ", ..." } else { "" };
        say!("  +{:>14} {:>14}  {:<20} {}{more}", us(step.after_ns), us(step.ns), step.stage, by.join(", "));
    }
    if left_out > 0 {
        say!("  and {left_out} shorter ones of {} together", us(rest));
    }
    let blame: Vec<String> = told
        .blame
        .iter()
        .filter(|one| one.share >= SMALLEST)
        .take(4)
        .map(|one| format!("{} {:.0} %", one.domain, one.share * 100.0))
        .collect();
    say!("  held up by: {}\n", if blame.is_empty() { "nobody".to_owned() } else { blame.join(", ") });
}

/// Explains all requests of a damaged trace.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn tried(entries: &[hypervisor_core::trace::reader::Entry], names: &Names) {
    let mut found = Vec::new();
    requests::requests(entries.iter().copied(), |request| found.push(request));
    found.truncate(20);
    for (request, pieces) in found.iter().zip(work::of(entries.iter().copied(), &found)) {
        let (steps, blame) = chain::of(request, &pieces, names);
        let sum: u128 = steps.iter().map(|step| u128::from(step.ns)).sum();
        assert_eq!(sum, u128::from(request.duration()));
        let _ = ranked(blame, request.duration());
    }
}

#[cfg(test)]
mod tests;
