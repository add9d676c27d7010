//! `measure slices`: what the scheduler costs, whether weights hold, and what bad neighbours take from others.
//! It exists because a scheduler is judged by the work that is left to guests, which guests count themselves.
//!
//! [`machine`] runs one machine of computing guests and collects what they say, [`report`] writes the page. Nothing but the
//! guests' own counts of work goes into the figures, all within one window of virtual time.

mod machine;
mod report;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::machine::{Computed, Wanted, equal, neighbours, run, weighted};
use super::point::round;
use super::sweep::qemu_version;
use crate::cli::Slices;
use crate::table::{self, grouped, new};
use crate::{interrupt, setup};

/// Weights that are compared.
const WEIGHTS: [u32; 3] = [128, 256, 512];
/// Turns that each of them gets at the least.
const ROUNDS: u32 = 110;
/// Slices that a victim and its neighbours are looked at for: a turn more or less at the end is then 0.3 % of the
/// victim's.
const NEIGHBOURS: u32 = 1_000;
/// What neighbours do, the good ones first.
const ACTS: &[&str] = &["compute", "events", "wakes", "pages", "memory", "rings", "flood"];

/// All that is found out.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    qemu: String,
    accelerator: String,
    seed: u64,
    /// Virtual time in which work counts.
    window_ms: u32,
    /// One point for each slice and number of guests.
    points: Vec<Point>,
    weights: Weights,
    neighbours: Vec<Neighbours>,
}

/// Computing guests under one slice.
#[derive(Clone, Debug, Serialize)]
struct Point {
    slice_us: u32,
    guests: u32,
    /// Units of work of all guests together.
    units: u64,
    /// The same through that of one guest.
    against_one: f64,
    /// Turns of all guests together.
    turns: u64,
    /// The longest time that anybody waited for a turn, for guests that had two.
    longest_wait_us: u64,
}

/// How weights came out.
#[derive(Clone, Debug, Serialize)]
struct Weights {
    slice_us: u32,
    window_ms: u32,
    guests: Vec<Weighted>,
    /// The largest difference between a share and what the weight says, through the latter.
    worst_error: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Weighted {
    weight: u32,
    units: u64,
    turns: u64,
    share: f64,
    expected: f64,
    error: f64,
}

/// A victim beside two neighbours.
#[derive(Clone, Debug, Serialize)]
struct Neighbours {
    /// What they do.
    act: String,
    /// The victim's units of work.
    victim_units: u64,
    /// The same through that beside computing neighbours.
    against_computing: f64,
    /// Units of the neighbours together, each in its own measure.
    neighbour_units: u64,
    victim_longest_wait_us: u64,
}

/// Measures.
pub(crate) fn measure(options: &Slices) -> Result<()> {
    let mut guests = options.guests.clone();
    guests.push(1);
    guests.sort_unstable();
    guests.dedup();
    let most = guests.last().copied().unwrap_or(1);
    machine::fits(most, options)?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;

    let mut points: Vec<Point> = Vec::new();
    for ms in BTreeSet::from_iter(options.slices.iter().copied()) {
        let slice_us = ms * 1_000;
        let mut one = None;
        for &count in &guests {
            let wanted = Wanted { slice_us, window_ms: options.window, seed: options.seed };
            tell!("{}, slices of {ms} ms ...", table::guests(count));
            let point = point(slice_us, count, one, &run(&equal(wanted, count, options)?)?);
            one = one.or(Some(point.units));
            points.push(point);
        }
    }
    let figures = Figures {
        command: format!("cargo xtask {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        qemu: qemu_version()?,
        accelerator: super::ACCELERATOR.to_owned(),
        seed: options.seed,
        window_ms: options.window,
        points,
        weights: weights(options)?,
        neighbours: beside(options)?,
    };
    print(&figures);
    report::write(&figures, &options.json)
}

fn point(slice_us: u32, guests: u32, one: Option<u64>, said: &[Computed]) -> Point {
    let units: u64 = said.iter().map(|one| one.units).sum();
    Point {
        slice_us,
        guests,
        units,
        against_one: round(units as f64 / one.unwrap_or(units).max(1) as f64),
        turns: said.iter().map(|one| one.turns).sum(),
        longest_wait_us: said.iter().map(|one| one.longest_wait_us).max().unwrap_or(0),
    }
}

/// Weights and neighbours are looked at under the shortest slice, which gives the most turns.
fn shortest_us(options: &Slices) -> u32 {
    options.slices.iter().min().copied().unwrap_or(1) * 1_000
}

fn weights(options: &Slices) -> Result<Weights> {
    let slice_us = shortest_us(options);
    let round_us = WEIGHTS.map(|weight| u64::from(slice_us) * u64::from(weight) / 256).iter().sum::<u64>();
    let window_ms = u32::try_from((u64::from(ROUNDS) * round_us).div_ceil(1_000)).context("a long slice")?;
    tell!("weights {WEIGHTS:?}, slices of {slice_us} us ...");
    let said = run(&weighted(Wanted { slice_us, window_ms, seed: options.seed }, &WEIGHTS, options)?)?;
    let fewest = said.iter().map(|one| one.turns).min().unwrap_or(0);
    ensure!(fewest >= 100, "only {fewest} turns of one weight; 100 are wanted");
    let guests = shares(&said);
    let worst_error = guests.iter().map(|one| one.error.abs()).fold(0.0, f64::max);
    Ok(Weights { slice_us, window_ms, guests, worst_error })
}

/// The share of each weight in the work of all, in the order of [`WEIGHTS`].
fn shares(said: &[Computed]) -> Vec<Weighted> {
    let units: u64 = said.iter().map(|one| one.units).sum();
    let all: u32 = WEIGHTS.iter().sum();
    let one = |(&weight, one): (&u32, &Computed)| {
        let share = one.units as f64 / units.max(1) as f64;
        let expected = f64::from(weight) / f64::from(all);
        Weighted {
            weight,
            units: one.units,
            turns: one.turns,
            share: round(share),
            expected: round(expected),
            error: round(share / expected - 1.0),
        }
    };
    WEIGHTS.iter().zip(said).map(one).collect()
}

fn beside(options: &Slices) -> Result<Vec<Neighbours>> {
    let slice_us = shortest_us(options);
    let mut found: Vec<Neighbours> = Vec::new();
    for &act in ACTS {
        tell!("two neighbours: {act} ...");
        let wanted = Wanted { slice_us, window_ms: NEIGHBOURS * slice_us / 1_000, seed: options.seed };
        let said = run(&neighbours(wanted, act)?)?;
        let (victim, others) = said.split_first().context("nobody computed")?;
        let base = found.first().map_or(victim.units, |first| first.victim_units);
        found.push(Neighbours {
            act: act.to_owned(),
            victim_units: victim.units,
            against_computing: round(victim.units as f64 / base.max(1) as f64),
            neighbour_units: others.iter().map(|one| one.units).sum(),
            victim_longest_wait_us: victim.longest_wait_us,
        });
    }
    Ok(found)
}

fn print(figures: &Figures) {
    let mut table = new(&["slice ms", "guests", "units", "against one guest", "turns", "longest wait us"]);
    for point in &figures.points {
        table.add_row([
            (point.slice_us / 1_000).to_string(),
            point.guests.to_string(),
            grouped(point.units),
            format!("{:.4}", point.against_one),
            grouped(point.turns),
            grouped(point.longest_wait_us),
        ]);
    }
    say!("{table}");
    let mut table = new(&["weight", "share", "expected", "error %", "turns"]);
    for one in &figures.weights.guests {
        table.add_row([
            one.weight.to_string(),
            format!("{:.4}", one.share),
            format!("{:.4}", one.expected),
            format!("{:+.2}", one.error * 100.0),
            one.turns.to_string(),
        ]);
    }
    say!("{table}");
    let mut table = new(&["two neighbours", "victim's units", "against computing", "longest wait us"]);
    for one in &figures.neighbours {
        table.add_row([
            one.act.clone(),
            grouped(one.victim_units),
            format!("{:.4}", one.against_computing),
            grouped(one.victim_longest_wait_us),
        ]);
    }
    say!("{table}");
    for finding in report::findings(figures) {
        say!("{finding}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(units: u64) -> Computed {
        Computed { units, turns: 100, longest_wait_us: 1, late: false }
    }

    #[test]
    fn a_share_is_held_against_its_weight() {
        let exact = shares(&[said(100), said(200), said(400)]);
        assert!(exact.iter().all(|one| one.error == 0.0), "{exact:?}");
        let off = shares(&[said(110), said(190), said(400)]);
        assert_eq!(off.iter().map(|one| one.error).collect::<Vec<_>>(), [0.1, -0.05, 0.0]);
    }

    #[test]
    fn work_is_compared_with_one_guests() {
        let one = point(1_000, 1, None, &[said(1_000)]);
        let two = point(1_000, 2, Some(one.units), &[said(450), said(450)]);
        assert_eq!((one.against_one, two.against_one, two.turns), (1.0, 0.9, 200));
    }
}
