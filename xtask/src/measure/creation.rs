//! `measure creation`: what the creation of the k-th guest costs, in instructions.
//! It exists because a thousand guests are only worth something if the thousandth comes as cheaply as the tenth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypervisor_core::trace::Record;
use hypervisor_core::trace::decode::{Decoded, decode};
use hypervisor_core::trace::records::{MemoryChange, Stage};
use serde::Serialize;
use serde_json::Value;

use super::point::round;
use super::prepare::{View, plan, scenario};
use super::settings::{Cell, Settings};
use super::sweep::qemu_version;
use crate::cli::Creation;
use crate::html::{Curve, Words, curves};
use crate::qemu::{Clock, Next};
use crate::run::boot::{self, How};
use crate::serial::Line;
use crate::table::grouped;
use crate::{interrupt, paths, setup};

/// How long the machine may be silent.
const PATIENCE: Duration = Duration::from_secs(300);
/// Guests at either end whose mean cost is compared: one alone may have met a page more or less.
const NEAR: usize = 5;

/// What the creations cost.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    qemu: String,
    accelerator: String,
    seed: u64,
    guests: u32,
    /// Instructions of each creation, in order.
    instructions: Vec<u64>,
    /// Mean around the 10th.
    tenth: f64,
    /// Mean at the last ones.
    last: f64,
    /// The latter through the former.
    ratio: f64,
    /// What the hypervisor's heap grew by for each domain.
    heap_bytes_a_domain: u64,
    /// The same by what it is for; `rest` is configurations, and what the heap itself takes.
    records_a_domain: BTreeMap<String, u64>,
    /// Memory that is free after all creations.
    free_bytes: u64,
    /// Memory that domains of one image have in common, of all images.
    shared_bytes: u64,
    /// Memory that the last guest has for itself.
    own_bytes_a_guest: u64,
}

/// Measures.
pub(crate) fn measure(options: &Creation) -> Result<()> {
    let settings = Settings::creation(options);
    super::prepare::fits(&settings, None)?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let cell = Cell { guests: options.guests, suppress: "off".to_owned(), idle: "timeout".to_owned() };
    let scenario = scenario(&settings, &cell)?;
    let mut plan = plan(&settings, &cell, &scenario, View::Plain)?;
    plan.config.trace = true;
    let domains = plan.config.domains.len() as u64;
    let how = How::new(Clock::Counted { seed: settings.seed });
    let mut machine = boot::boot(how, &scenario, plan)?.machine;
    let boot = loop {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(Line::Record { kind, body }) if kind == "boot" => break body,
            Next::Line(_) => {}
            Next::Timeout => bail!("silent for {} s", PATIENCE.as_secs()),
            Next::End => return Err(machine.death()),
        }
    };
    // All creations lie before that line, and the trace is in shared memory.
    drop(machine);
    let file = paths::run("measure").join("trace.bin");
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let decoded = decode(&bytes).context("reading the trace")?;
    let instructions = costs(&decoded, options.guests as usize);
    ensure!(instructions.len() >= 10 + NEAR, "only {} creations are in the trace", instructions.len());
    let mean = |costs: &[u64]| costs.iter().sum::<u64>() as f64 / costs.len().max(1) as f64;
    let (tenth, last) = (mean(&instructions[9..9 + NEAR]), mean(&instructions[instructions.len() - NEAR..]));
    let number = |key: &str| boot[key].as_u64().unwrap_or(0);
    let heap = number("heap_used_by_domains") / domains.max(1);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let figures = Figures {
        command: format!("cargo xtask {}", arguments.join(" ")),
        qemu: qemu_version()?,
        accelerator: super::ACCELERATOR.to_owned(),
        seed: settings.seed,
        guests: options.guests,
        tenth: round(tenth),
        last: round(last),
        ratio: round(last / tenth),
        heap_bytes_a_domain: heap,
        records_a_domain: records(&boot["records"], heap, domains.max(1)),
        free_bytes: number("free_bytes"),
        shared_bytes: number("shared_bytes"),
        own_bytes_a_guest: own_bytes(&decoded, options.guests as usize),
        instructions,
    };
    finish(options, &figures)
}

/// What is kept of a domain on average, and what of the heap's growth that does not explain.
fn records(said: &Value, heap: u64, domains: u64) -> BTreeMap<String, u64> {
    let items = said.as_object().into_iter().flatten();
    let mut records: BTreeMap<String, u64> =
        items.map(|(name, bytes)| (name.clone(), bytes.as_u64().unwrap_or(0) / domains)).collect();
    let rest = heap.saturating_sub(records.values().sum());
    records.insert("rest".to_owned(), rest);
    records
}

/// The time between the creations of two guests, one after the other. The driver domain is created before them all, the
/// clients after.
fn costs(decoded: &Decoded, guests: usize) -> Vec<u64> {
    let is_built =
        |record: &Record| matches!(record, Record::Life { stage, .. } if *stage == Stage::Built.raw());
    let built = decoded.entries.iter().filter(|entry| is_built(&entry.record));
    let times: Vec<u64> = built.map(|entry| entry.time_ns).skip(1).take(guests).collect();
    times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect()
}

/// What the last guest was given for itself. As above, the driver domain comes first.
fn own_bytes(decoded: &Decoded, guests: usize) -> u64 {
    let mut given = decoded.entries.iter().filter_map(|entry| match entry.record {
        Record::Memory { change, frames } if change == MemoryChange::Given.raw() => Some(frames << 12),
        _ => None,
    });
    given.nth(guests).unwrap_or(0)
}

fn finish(options: &Creation, figures: &Figures) -> Result<()> {
    say!(
        "creating a guest takes {} instructions around the 10th and {} around the {}th: a ratio of {}; {} bytes of heap a domain; \
         the last guest has {} KiB for itself, {} KiB are shared, {} KiB are free",
        grouped(figures.tenth as u64),
        grouped(figures.last as u64),
        figures.guests,
        figures.ratio,
        grouped(figures.heap_bytes_a_domain),
        grouped(figures.own_bytes_a_guest >> 10),
        grouped(figures.shared_bytes >> 10),
        grouped(figures.free_bytes >> 10)
    );
    let items = figures.records_a_domain.iter().map(|(name, bytes)| format!("{name} {}", grouped(*bytes)));
    say!("bytes of heap a domain: {}", items.collect::<Vec<_>>().join(", "));
    let source = format!(
        "scenario measure, seed {}, QEMU {}, {}; {}",
        figures.seed, figures.qemu, figures.accelerator, figures.command
    );
    let points = (2_u32..).zip(&figures.instructions);
    let curve = Curve {
        name: "creation".to_owned(),
        points: points.map(|(guest, &cost)| (f64::from(guest), cost as f64 / 1e3)).collect(),
    };
    let words = Words {
        title: "cost of creating the k-th guest",
        across: "k",
        up: "thousand instructions",
        source: &source,
    };
    let folder = paths::run("measure");
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    let put = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    };
    put(&folder.join("creation.svg"), &curves(words, &[curve])?)?;
    put(&folder.join("creation.json"), &text)?;
    if let Some(path) = &options.json.json {
        put(path, &text)?;
    }
    say!("plot: {}", folder.join("creation.svg").display());
    Ok(())
}
