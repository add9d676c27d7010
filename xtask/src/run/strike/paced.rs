//! NMIs one after the other under load, each waited for, and where they struck.
//! It exists because two at once count as one: only paced ones can be counted exactly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hypervisor_core::ring::Ring;
use serde::Serialize;

use super::monitor::Strike;
use super::stubs::Stubs;
use super::{Counters, Struck, finish, start, stubs, write};
use crate::cli::StrikePaced;

/// What runs meanwhile.
const RUN: &str = "ways";
/// How long its guests may take to come up.
const START: Duration = Duration::from_secs(120);
/// A straight piece of code is struck often when so many strikes come to each of its instructions, those on the most
/// struck of them aside: then chance leaves none of them out.
const OFTEN: u64 = 12;
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
    /// Different addresses that were struck.
    addresses: usize,
    /// Those that struck in the ways in and out.
    in_stubs: u64,
    /// Hypercalls of all domains while they came.
    hypercalls: u64,
    /// How many struck before each instruction of the ways in and out.
    histogram: BTreeMap<String, u64>,
    /// Instructions in straight pieces of those ways that were struck at all.
    reached: usize,
    /// Instructions in those that were struck often.
    often: usize,
    /// Those of them that were never struck.
    gaps: Vec<String>,
}

/// Strikes so often.
pub(super) fn paced(options: &StrikePaced, ring: Ring) -> Result<()> {
    let mut struck = start(&format!("{RUN} --ring {}", options.ring), false)?;
    let stubs = stubs(ring)?;
    await_guests(&mut struck)?;
    let before = calls(&struck.session.command("snapshot before")?);
    let hits = strike(&mut struck, &stubs, options.count)?;
    let after = calls(&struck.session.command("snapshot after")?);
    let counted = finish(struck.session)?;
    let place = |address: &u64| stubs.all.get(address).map(|stub| stub.place.clone());
    let mut histogram = BTreeMap::new();
    for (address, count) in &hits {
        if let Some(place) = place(address) {
            *histogram.entry(place).or_default() += count;
        }
    }
    let (reached, often, gaps) = gaps(&stubs, &hits);
    let figures = Figures {
        ring: options.ring,
        injected: u64::from(options.count),
        counted: counted.nmis,
        addresses: hits.len(),
        in_stubs: histogram.values().sum(),
        hypercalls: after.saturating_sub(before),
        histogram,
        reached,
        often,
        gaps: gaps.iter().filter_map(place).collect(),
    };
    conclude(options, &figures)
}

/// Until each guest has said that it runs.
fn await_guests(struck: &mut Struck) -> Result<()> {
    let deadline = Instant::now() + START;
    let domains = struck.session.plan.config.domains.len();
    while struck.session.watch.banners.len() < domains {
        ensure!(Instant::now() < deadline, "the guests did not come up within {} s", START.as_secs());
        struck.session.drain()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// NMIs, each after the one before was counted; how many came to each address.
fn strike(struck: &mut Struck, stubs: &Stubs, count: u32) -> Result<BTreeMap<u64, u64>> {
    let mut hits = BTreeMap::new();
    let mut counters = Counters::of(&struck.monitor.read(stubs.counters, Counters::WORDS)?)?;
    ensure!(counters.nmis == 0, "{} NMIs before the first", counters.nmis);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 1..=u64::from(count) {
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
    Ok(hits)
}

/// How many instructions are in pieces that were struck at all and often, and those of the latter that never were.
fn gaps(stubs: &Stubs, hits: &BTreeMap<u64, u64>) -> (usize, usize, Vec<u64>) {
    let mut pieces = BTreeMap::<u64, Vec<(u64, u64)>>::new();
    for (address, stub) in &stubs.all {
        let count = hits.get(address).copied().unwrap_or(0);
        pieces.entry(stub.piece).or_default().push((*address, count));
    }
    let instructions = |pieces: &BTreeMap<u64, Vec<(u64, u64)>>| pieces.values().map(Vec::len).sum();
    pieces.retain(|_, piece| piece.iter().any(|(_, count)| *count > 0));
    let reached = instructions(&pieces);
    pieces.retain(|_, piece| {
        let (sum, most) = piece.iter().fold((0, 0), |(sum, most), (_, n)| (sum + n, most.max(*n)));
        sum - most >= OFTEN * piece.len() as u64
    });
    let never = pieces.values().flatten().filter(|(_, count)| *count == 0);
    (reached, instructions(&pieces), never.map(|(address, _)| *address).collect())
}

/// Prints and writes the figures, and judges them.
fn conclude(options: &StrikePaced, figures: &Figures) -> Result<()> {
    write(&options.json, figures)?;
    say!(
        "ring {}: {} NMIs, {} counted, at {} addresses; {} of them before {} instructions of the ways in and out; {} hypercalls meanwhile",
        figures.ring,
        figures.injected,
        figures.counted,
        figures.addresses,
        figures.in_stubs,
        figures.histogram.len(),
        figures.hypercalls,
    );
    for (place, count) in &figures.histogram {
        say!("{count:8} {place}");
    }
    say!(
        "{} of {} instructions in straight pieces that were struck at all, {} of {} in those that were struck often",
        figures.histogram.len(),
        figures.reached,
        figures.often - figures.gaps.len(),
        figures.often,
    );
    ensure!(figures.counted == figures.injected, "{} of {} were counted", figures.counted, figures.injected);
    ensure!(figures.hypercalls > 0, "there was no load");
    ensure!(figures.gaps.is_empty(), "a gap in the histogram: {}", figures.gaps.join(", "));
    Ok(())
}

/// Hypercalls of all domains in a snapshot.
fn calls(snapshot: &serde_json::Value) -> u64 {
    let domains = snapshot["domains"].as_array().into_iter().flatten();
    let each = domains.filter_map(|domain| domain["hypercalls"].as_object());
    each.flat_map(serde_json::Map::values).filter_map(serde_json::Value::as_u64).sum()
}

#[cfg(test)]
mod tests {
    use super::super::stubs::Stub;
    use super::*;

    #[test]
    fn a_gap_is_an_instruction_that_was_left_out_where_many_strikes_came() {
        let stub = |piece| Stub { place: String::new(), piece, interrupt: None, excuse: None };
        let all = [(1, stub(1)), (2, stub(1)), (3, stub(1)), (10, stub(10)), (11, stub(10)), (20, stub(20))];
        let stubs = Stubs::of(all);
        // The first piece has a heavy instruction, which does not count, and one that was left out.
        let hits = [(1, 900), (2, 40), (10, 1)].into_iter().collect();
        assert_eq!(gaps(&stubs, &hits), (5, 3, vec![3]));
        let hits = [(1, 900), (2, 1), (3, 1)].into_iter().collect();
        assert_eq!(gaps(&stubs, &hits), (3, 0, vec![]), "too seldom to tell");
    }
}
