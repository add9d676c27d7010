//! `cargo xtask bench tracing`: what the trace costs in each of its four states, in instructions.
//! It exists because a trace that changes what it measures is worth little; each state proves that it did, or did
//! not, record.

mod categories;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hypervisor_core::trace::reader::{Entry, Tally};
use serde::Serialize;

use super::load::{self, Load};
use super::{is_dead, measured};
use crate::cli::Bench;
use crate::qemu::{Clock, Next};
use crate::run::boot::{self, Build, How};
use crate::scenario::{Plan, Scenario, lower};
use crate::table::{grouped, new, or_dash};
use crate::trace::{self, Drain};
use crate::{compile, interrupt, paths, setup};

/// The trace's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not compiled in.
    Out,
    /// Compiled in, and off.
    Off,
    /// On as a flight recorder.
    Flight,
    /// On, and read while it is written.
    Live,
}

impl State {
    const ALL: [Self; 4] = [Self::Out, Self::Off, Self::Flight, Self::Live];

    const fn word(self) -> &'static str {
        match self {
            Self::Out => "compiled-out",
            Self::Off => "off",
            Self::Flight => "flight",
            Self::Live => "live",
        }
    }

    const fn records(self) -> bool {
        matches!(self, Self::Flight | Self::Live)
    }
}

/// What one state's trace held.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Held {
    /// Records read.
    records: u64,
    /// Records lost.
    lost: u64,
    /// Bytes of the records, points of time included.
    bytes: u64,
    /// Bytes that they would take if all were as long as the longest.
    fixed_bytes: u64,
    /// The first through the second.
    bytes_ratio: Option<f64>,
}

impl From<Tally> for Held {
    fn from(tally: Tally) -> Self {
        let fixed_bytes = tally.records * tally.longest_words * 8;
        Self {
            records: tally.records,
            lost: tally.lost + tally.dropped,
            bytes: tally.bytes,
            fixed_bytes,
            bytes_ratio: (fixed_bytes > 0).then(|| rounded(tally.bytes as f64 / fixed_bytes as f64)),
        }
    }
}

/// One thing measured in all states.
#[derive(Clone, Debug, Default, Serialize)]
struct Row {
    /// Instructions by state.
    instructions: BTreeMap<&'static str, f64>,
    /// Of a load: records by state.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    records: BTreeMap<&'static str, f64>,
    /// Off against compiled out, in instructions.
    off_more: Option<f64>,
    /// The same in percent.
    off_percent: Option<f64>,
    /// Flight against off, divided by the records of one operation.
    per_record_flight: Option<f64>,
    /// Live against off, likewise.
    per_record_live: Option<f64>,
    /// Repetitions.
    n: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    /// Single operations: instructions each.
    operations: BTreeMap<String, Row>,
    /// Loads: instructions in which somebody ran, a request.
    loads: BTreeMap<String, Row>,
    /// Single categories under the web load, if they were measured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    categories: BTreeMap<&'static str, categories::Cost>,
    /// What was recorded, by what ran and state.
    held: BTreeMap<String, BTreeMap<&'static str, Held>>,
}

/// How long the hypervisor may take to power off.
const FAREWELL: Duration = Duration::from_secs(10);

/// Records that one repetition of an operation makes; of others no price a record is said.
const RECORDS: &[(&str, f64)] = &[("null_hypercall", 2.0), ("xen_version", 2.0)];

/// Measures.
pub(super) fn bench(options: &Bench) -> Result<()> {
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let mut figures = Figures {
        command: format!("cargo xtask {command}"),
        operations: BTreeMap::new(),
        loads: BTreeMap::new(),
        categories: BTreeMap::new(),
        held: BTreeMap::new(),
    };
    for state in State::ALL {
        tell!("measuring with the trace {} ...", state.word());
        operations(state, &mut figures)?;
        for load in Load::ALL {
            let found = loaded(state, load, &[])?;
            let row = figures.loads.entry(load.word().to_owned()).or_default();
            row.instructions.insert(state.word(), found.instructions);
            row.records.insert(state.word(), found.records);
            row.n = found.requests;
            if state.records() {
                figures.held.entry(load.word().to_owned()).or_default().insert(state.word(), found.held);
            }
        }
    }
    if options.full {
        figures.categories = categories::measure(&figures.loads)?;
    }
    for (name, row) in &mut figures.operations {
        row.conclude(RECORDS.iter().find(|(of, _)| of == name).map(|(_, records)| (*records, *records)));
    }
    for row in figures.loads.values_mut() {
        let records = |state: State| row.records.get(state.word()).copied();
        row.conclude(records(State::Flight).zip(records(State::Live)));
    }
    print(&figures);
    if let Some(path) = &options.json.json {
        let text = serde_json::to_string_pretty(&figures).context("writing JSON")? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

impl Row {
    /// Fills in the differences; `records` are those of one repetition in flight and live.
    fn conclude(&mut self, records: Option<(f64, f64)>) {
        let of = |state: State| self.instructions.get(state.word()).copied();
        let (Some(out), Some(off)) = (of(State::Out), of(State::Off)) else { return };
        self.off_more = Some(rounded(off - out));
        self.off_percent = (out > 0.0).then(|| rounded((off - out) / out * 100.0));
        if let (Some((flight, live)), Some(in_flight), Some(in_live)) =
            (records, of(State::Flight), of(State::Live))
        {
            self.per_record_flight = Some(rounded((in_flight - off) / flight));
            self.per_record_live = Some(rounded((in_live - off) / live));
        }
    }
}

fn operations(state: State, figures: &mut Figures) -> Result<()> {
    let scenario = Scenario::open(&paths::root(), "bench")?;
    scenario.check(&compile::is_guest)?;
    let (machine, drain) = boot(state, &scenario, lower(&scenario)?)?;
    let mut machine = machine;
    let results = measured(&mut machine, is_dead)?;
    // A trace is closed when the hypervisor goes.
    machine.tell("poweroff")?;
    while !matches!(machine.next(Instant::now() + FAREWELL)?, Next::End | Next::Timeout) {}
    drop(machine);
    let held = judge(state, "bench", drain)?.held;
    figures.held.entry("operations".to_owned()).or_default().insert(state.word(), held);
    for one in results {
        let row = figures.operations.entry(one.name).or_default();
        row.instructions.insert(state.word(), one.instructions as f64);
        row.n = one.n;
    }
    Ok(())
}

/// What a load came to in one state.
struct Loaded {
    requests: u64,
    /// Instructions in which somebody ran, a request.
    instructions: f64,
    /// Records between the load's first and last moment, a request.
    records: f64,
    held: Held,
}

fn loaded(state: State, load: Load, settings: &[String]) -> Result<Loaded> {
    let (scenario, mut plan) = load.plan()?;
    plan.config.trace_settings.extend_from_slice(settings);
    let (mut machine, drain) = boot(state, &scenario, plan)?;
    let load::Followed { requests, busy_ns, during_ns } = load::follow(&mut machine)?;
    drop(machine);
    let found = judge(state, &scenario.name, drain)?;
    let a_request = |count: f64| rounded(count / requests.max(1) as f64);
    let records = found.times.iter().filter(|time| during_ns.contains(time)).count();
    Ok(Loaded {
        requests,
        instructions: a_request(busy_ns as f64),
        records: a_request(records as f64),
        held: found.held,
    })
}

/// Starts a machine in a state, and for the live one whoever reads its trace.
fn boot(state: State, scenario: &Scenario, mut plan: Plan) -> Result<(crate::qemu::Machine, Option<Taken>)> {
    plan.config.trace = state.records();
    if state == State::Live {
        plan.config.trace_settings.push("mode live".to_owned());
    }
    let how = How {
        build: if state == State::Out { Build::Traceless } else { Build::Usual },
        ..How::new(Clock::Counted { seed: scenario.system.seed })
    };
    let machine = boot::boot(how, scenario, plan)?.machine;
    Ok((machine, (state == State::Live).then(|| Taken::start(&paths::run(&scenario.name).join("trace.bin")))))
}

/// A live trace being read, with the times of its records.
struct Taken {
    drain: Drain,
    times: Arc<Mutex<Vec<u64>>>,
}

impl Taken {
    fn start(file: &Path) -> Self {
        let times = Arc::new(Mutex::new(Vec::new()));
        let noted = times.clone();
        let note = move |entry: &Entry| {
            if let Ok(mut times) = noted.lock() {
                times.push(entry.time_ns);
            }
        };
        Self { drain: Drain::watch(file, note), times }
    }

    fn finish(self) -> Result<(Tally, Vec<u64>)> {
        let tally = self.drain.finish()?;
        let times = self.times.lock().map(|mut times| core::mem::take(&mut *times)).unwrap_or_default();
        Ok((tally, times))
    }
}

/// What was found in a trace.
struct Found {
    held: Held,
    /// The time of each record, in ns.
    times: Vec<u64>,
}

/// What was recorded, if it is what the state promises.
fn judge(state: State, name: &str, taken: Option<Taken>) -> Result<Found> {
    let file = paths::run(name).join("trace.bin");
    let (tally, times) = match (taken, state) {
        (Some(taken), _) => taken.finish()?,
        (None, State::Out) => {
            ensure!(trace::open(&file).is_err(), "a hypervisor without a trace has written one");
            (Tally::default(), Vec::new())
        }
        (None, _) => {
            let mut records = trace::open(&file)?;
            let times = records.by_ref().map(|entry| entry.time_ns).collect();
            (records.tally(), times)
        }
    };
    if state.records() {
        ensure!(tally.records > 0, "{name}: the trace is on and holds nothing");
        ensure!(tally.damaged_blocks == 0, "{name}: damaged blocks in the trace");
        let header = trace::open(&file)?;
        let written: u64 = header.header().written.values().sum();
        let found = tally.records + tally.lost;
        ensure!(written == found, "{name}: {written} records written, {found} read or counted as lost");
    } else {
        ensure!(tally.records == 0, "{name}: the trace is off and holds {} records", tally.records);
    }
    Ok(Found { held: tally.into(), times })
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn print(figures: &Figures) {
    for (what, rows) in [("operation", &figures.operations), ("load, a request", &figures.loads)] {
        let mut table = new(&[
            what,
            "compiled out",
            "off",
            "flight",
            "live",
            "off: more",
            "%",
            "a record, flight",
            "live",
        ]);
        for (name, row) in rows {
            let of = |state: State| {
                or_dash(row.instructions.get(state.word()).map(|count| grouped(count.round() as u64)))
            };
            let number = |value: Option<f64>| or_dash(value.map(|value| format!("{value:.1}")));
            let mut cells = vec![name.clone()];
            cells.extend(State::ALL.map(of));
            cells.extend(
                [row.off_more, row.off_percent, row.per_record_flight, row.per_record_live].map(number),
            );
            table.add_row(cells);
        }
        say!("{table}");
    }
    categories::print(&figures.categories);
    let mut table = new(&["recorded", "state", "records", "lost", "bytes", "as fixed", "ratio"]);
    for (what, states) in &figures.held {
        for (state, held) in states.iter().filter(|(_, held)| held.records > 0) {
            table.add_row([
                what.clone(),
                (*state).to_owned(),
                grouped(held.records),
                grouped(held.lost),
                grouped(held.bytes),
                grouped(held.fixed_bytes),
                or_dash(held.bytes_ratio.map(|ratio| format!("{ratio:.2}"))),
            ]);
        }
    }
    say!("{table}");
    say!("instructions by QEMU -icount shift=0, the same at each run; loads: instructions of all but idling");
}
