//! `cargo xtask bench rings`: what a kernel in ring 1 and one in ring 3 cost, and Xen's with the same image.
//! Instructions are exact; times are ratios of runs that took turns, since only those of one machine and hour compare.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use toml::Spanned;

use super::{Measured, command, guest, is_dead, measured, write, xen};
use crate::cli::{Bench, Peer};
use crate::qemu::{Clock, Machine};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::table::{fraction, grouped, new, or_dash};
use crate::{compile, interrupt, paths, setup};

/// Rounds of the runs whose time counts. Those of one round are compared, so that a busy hour does not count.
const ROUNDS: usize = 3;
const SCENARIO: &str = "rings";

/// Where the guest's kernel runs.
#[derive(Clone, Debug)]
enum Place {
    /// On Denizen, in a ring.
    Denizen(Box<Scenario>),
    /// On Xen, in ring 3: its image.
    Xen(PathBuf),
}

/// Figures of one place each.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Columns<T> {
    ring1: Option<T>,
    ring3: Option<T>,
    xen: Option<T>,
}

impl<T> Columns<T> {
    fn of(&mut self, column: usize) -> &mut Option<T> {
        match column {
            0 => &mut self.ring1,
            1 => &mut self.ring3,
            _ => &mut self.xen,
        }
    }
}

/// One operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Row {
    /// Instructions.
    #[serde(flatten)]
    instructions: Columns<u64>,
    /// Entries into the hypervisor for each.
    hypervisor_entries_ring1: Option<f64>,
    hypervisor_entries_ring3: Option<f64>,
    /// Time, as a multiple of ring 3's on Denizen in the same round; the median of the rounds.
    wall: Columns<f64>,
    /// The lowest and the highest of them.
    wall_spread: Columns<[f64; 2]>,
    /// Repetitions that each figure is the mean of.
    n: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    /// Rounds of the runs behind `wall`.
    rounds: usize,
    rows: BTreeMap<String, Row>,
}

/// Measures.
pub(super) fn bench(options: &Bench) -> Result<()> {
    let places = places(options)?;
    let mut counted: [Vec<Measured>; 3] = Default::default();
    let mut timed: [Vec<Vec<Measured>>; 3] = Default::default();
    let seed = Clock::Counted { seed: 1 };
    for (column, place) in &places {
        tell!("counting instructions {} ...", name(*column));
        counted[*column] = run(place, seed).with_context(|| name(*column).to_owned())?;
    }
    for round in 1..=ROUNDS {
        for (column, place) in &places {
            tell!("taking times {}, {round} of {ROUNDS} ...", name(*column));
            timed[*column].push(run(place, Clock::Real).with_context(|| name(*column).to_owned())?);
        }
    }
    let rows = rows(&counted, &timed);
    print(&rows, &counted);
    write(&options.json, &Figures { command: command(), rounds: ROUNDS, rows })
}

const fn name(column: usize) -> &'static str {
    ["in ring 1", "in ring 3", "on Xen"][column]
}

/// Where to measure, with the column of each.
fn places(options: &Bench) -> Result<Vec<(usize, Place)>> {
    let root = paths::root();
    let mut places = Vec::new();
    for (column, ring) in [1, 3].into_iter().enumerate() {
        let mut scenario = Scenario::open(&root, SCENARIO)?;
        for domain in &mut scenario.system.domain {
            domain.ring = Spanned::new(domain.ring.span(), ring);
        }
        match scenario.check(&compile::is_guest) {
            Ok(()) => places.push((column, Place::Denizen(Box::new(scenario)))),
            Err(refusal) if ring == 1 => tell!("skipping ring 1: {refusal}"),
            Err(refusal) => return Err(refusal.into()),
        }
    }
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    if let Some(Peer::Xen) = options.peer {
        match xen::fetch() {
            Ok(kernel) => places.push((2, Place::Xen(kernel))),
            Err(error) => tell!("skipping Xen: {error:#}"),
        }
    }
    Ok(places)
}

/// Boots the guest in a place and collects what it measures.
fn run(place: &Place, clock: Clock) -> Result<Vec<Measured>> {
    match place {
        Place::Denizen(scenario) => {
            let how = How::new(clock);
            let mut booted = boot::boot(how, scenario, lower(scenario)?)?;
            measured(&mut booted.machine, is_dead)
        }
        Place::Xen(kernel) => {
            let options = xen::options(kernel.clone(), &guest()?, "what=rings", clock);
            let mut machine = Machine::start(&options, &paths::run("xen").join("serial.log"))?;
            measured(&mut machine, xen::is_end)
        }
    }
}

/// Puts the runs together.
fn rows(counted: &[Vec<Measured>; 3], timed: &[Vec<Vec<Measured>>; 3]) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (column, run) in counted.iter().enumerate() {
        for one in run {
            let row = rows.entry(one.name.clone()).or_default();
            *row.instructions.of(column) = Some(one.instructions);
            row.n = one.n;
            match column {
                0 => row.hypervisor_entries_ring1 = one.entries,
                1 => row.hypervisor_entries_ring3 = one.entries,
                _ => {}
            }
        }
    }
    for (name, row) in &mut rows {
        for (column, runs) in timed.iter().enumerate() {
            let mut ratios: Vec<f64> = runs
                .iter()
                .zip(&timed[1])
                .filter_map(|(run, ring3)| Some(time(run, name)? / time(ring3, name)?))
                .collect();
            ratios.sort_by(f64::total_cmp);
            *row.wall.of(column) = ratios.get(ratios.len() / 2).copied();
            *row.wall_spread.of(column) =
                ratios.first().zip(ratios.last()).map(|(&lowest, &highest)| [lowest, highest]);
        }
    }
    rows
}

/// A figure of a run.
fn time(run: &[Measured], name: &str) -> Option<f64> {
    run.iter().find(|one| one.name == name).map(|one| one.instructions.max(1) as f64)
}

/// Prints the table in the order in which the guest measured.
fn print(rows: &BTreeMap<String, Row>, counted: &[Vec<Measured>; 3]) {
    let longest = counted.iter().max_by_key(|run| run.len()).map(Vec::as_slice).unwrap_or_default();
    let mut table = new(&[
        "instructions",
        "ring 1",
        "ring 3",
        "Xen",
        "entries, 1",
        "entries, 3",
        "time, 1",
        "time, Xen",
        "n",
    ]);
    for Measured { name, .. } in longest {
        let row = &rows[name];
        let number = |value: Option<u64>| or_dash(value.map(grouped));
        table.add_row([
            name.clone(),
            number(row.instructions.ring1),
            number(row.instructions.ring3),
            number(row.instructions.xen),
            fraction(row.hypervisor_entries_ring1),
            fraction(row.hypervisor_entries_ring3),
            spread(row.wall.ring1, row.wall_spread.ring1),
            spread(row.wall.xen, row.wall_spread.xen),
            grouped(row.n),
        ]);
    }
    say!("{table}");
    say!(
        "one tick an instruction (QEMU -icount shift=0), so there is no spread; entries into the hypervisor for each;\n\
         time under QEMU's emulation as a multiple of ring 3's in the same round, median and range of {ROUNDS} rounds: a \
         write to CR3 is dear there"
    );
}

/// A ratio with its range.
fn spread(median: Option<f64>, range: Option<[f64; 2]>) -> String {
    match range {
        Some([lowest, highest]) => format!("{} ({lowest:.2} to {highest:.2})", fraction(median)),
        None => fraction(median),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(instructions: u64, entries: Option<f64>) -> Measured {
        Measured { name: "user_system_call".to_owned(), instructions, n: 10, entries }
    }

    #[test]
    fn times_are_multiples_of_ring_3s_in_the_same_round() {
        let counted = [vec![one(50, Some(0.0))], vec![one(250, Some(2.0))], vec![]];
        let runs = |times: [u64; 3]| times.map(|time| vec![one(time, None)]).to_vec();
        let rows = rows(&counted, &[runs([30, 10, 20]), runs([90, 20, 50]), vec![]]);
        let row = &rows["user_system_call"];
        assert_eq!(row.instructions, Columns { ring1: Some(50), ring3: Some(250), xen: None });
        assert_eq!((row.hypervisor_entries_ring1, row.hypervisor_entries_ring3), (Some(0.0), Some(2.0)));
        assert_eq!(row.wall, Columns { ring1: Some(0.4), ring3: Some(1.0), xen: None });
        assert_eq!(row.wall_spread.ring1, Some([1.0 / 3.0, 0.5]));
        assert_eq!(row.wall_spread.xen, None);
    }

    #[test]
    fn what_one_place_did_not_measure_is_left_out() {
        let rows = rows(&[vec![], vec![], vec![one(700, None)]], &[vec![], vec![], vec![vec![one(9, None)]]]);
        assert_eq!(rows["user_system_call"].wall, Columns::default());
    }
}
