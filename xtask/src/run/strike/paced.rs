//! NMIs one after the other under load, each waited for, and where they struck.
//! It exists because two at once count as one: only paced ones can be counted exactly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hypervisor_core::ring::Ring;
use serde::Serialize;

use super::monitor::Strike;
use super::{Counters, finish, start, stubs, write};
use crate::cli::StrikePaced;

/// What runs meanwhile.
const RUN: &str = "inside --load inside --guests 4 --seconds 86400 --delivery batched";
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest pause between two, in us.
const PAUSE_US: u64 = 1500;

/// The figures.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    ring: u8,
    injected: u64,
    counted: u64,
    /// Those that struck in the ways in and out.
    in_stubs: u64,
    /// Hypercalls of all domains while they came.
    hypercalls: u64,
    /// How many struck before each instruction of the ways in and out.
    histogram: BTreeMap<String, u64>,
}

/// Strikes so often.
pub(super) fn paced(options: &StrikePaced, ring: Ring) -> Result<()> {
    let mut struck = start(&format!("{RUN} --ring {}", options.ring), false)?;
    let stubs = stubs(ring)?;
    struck.session.await_guests()?;
    let before = calls(&struck.session.command("snapshot before")?);
    let mut hits: BTreeMap<u64, u64> = BTreeMap::new();
    let mut counters = Counters::of(&struck.monitor.read(stubs.counters, Counters::WORDS)?)?;
    ensure!(counters.nmis == 0, "{} NMIs before the first", counters.nmis);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 1..=u64::from(options.count) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % PAUSE_US));
        struck.monitor.strike(Strike::Nmi)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            counters = Counters::of(&struck.monitor.read(stubs.counters, Counters::WORDS)?)?;
            if counters.nmis == number {
                break;
            }
            ensure!(counters.nmis == number - 1, "{} NMIs counted of {number}", counters.nmis);
            if Instant::now() > deadline {
                bail!("NMI {number} is not counted within {} s", PATIENCE.as_secs());
            }
        }
        *hits.entry(counters.nmi_at).or_default() += 1;
        if number % 64 == 0 {
            struck.session.drain()?;
        }
    }
    let after = calls(&struck.session.command("snapshot after")?);
    let counted = finish(struck.session)?;
    let place = |address: &u64| stubs.all.get(address).map(|stub| stub.place.clone());
    let histogram: BTreeMap<String, u64> =
        hits.iter().filter_map(|(address, count)| Some((place(address)?, *count))).collect();
    let figures = Figures {
        ring: options.ring,
        injected: u64::from(options.count),
        counted: counted.nmis,
        in_stubs: histogram.values().sum(),
        hypercalls: after.saturating_sub(before),
        histogram,
    };
    write(&options.json, &figures)?;
    println!(
        "ring {}: {} NMIs, {} counted, at {} addresses; {} of them before {} instructions of the ways in and out; {} hypercalls meanwhile",
        figures.ring,
        figures.injected,
        figures.counted,
        hits.len(),
        figures.in_stubs,
        figures.histogram.len(),
        figures.hypercalls,
    );
    for (place, count) in &figures.histogram {
        println!("{count:8} {place}");
    }
    ensure!(figures.counted == figures.injected, "{} of {} were counted", figures.counted, figures.injected);
    ensure!(figures.hypercalls > 0, "there was no load");
    Ok(())
}

/// Hypercalls of all domains in a snapshot.
fn calls(snapshot: &serde_json::Value) -> u64 {
    let domains = snapshot["domains"].as_array().into_iter().flatten();
    let each = domains.filter_map(|domain| domain["hypercalls"].as_object());
    each.flat_map(serde_json::Map::values).filter_map(serde_json::Value::as_u64).sum()
}
