//! `cargo xtask bench path`: how long an interrupt takes to its handler, stage by stage.
//! It exists because whether a delay is the hypervisor's work or somebody else's turn decides what can be done about it.
//!
//! Web guests are loaded by a client, and one more guest reads a disk, whose interrupts go to the driver domain. All is
//! counted in instructions and taken from the trace alone; [`stages`] follows it and [`report`] writes the page.

mod report;
mod stages;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::stages::{Figures as Stages, Stage, Target, Ways};
use super::load;
use crate::cli::{Bench, Policies};
use crate::qemu::Clock;
use crate::run::boot::{self, How};
use crate::scenario::{Plan, Scenario, Size, lower};
use crate::table::{self, grouped, new, or_dash};
use crate::{compile, interrupt, paths, setup, trace};

/// Numbers of guests when none are given.
const GUESTS: [u32; 4] = [1, 8, 64, 256];
/// Virtual seconds of the load, and how much less for many guests.
const SECONDS: f64 = 0.1;
/// Only what is looked at.
const CATEGORIES: &str = "categories event,run-state,interrupt,life";
/// Bytes of the disk that is read.
const DISK_BYTES: u64 = 1 << 20;
/// Memory of the machine beside that of the guests, and of each guest, in MiB.
const MEMORY_MIB: u64 = 384;
const MEMORY_A_GUEST_MIB: u64 = 2;

/// One number of guests under one policy.
#[derive(Clone, Debug, Serialize)]
struct Point {
    guests: u32,
    delivery: &'static str,
    requests: u64,
    /// Events that were followed to the end of their handler.
    events: u64,
    /// Records that the trace had no room for.
    lost: u64,
    stages: Vec<Stages>,
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    seconds: f64,
    points: Vec<Point>,
}

/// Measures.
pub(super) fn bench(options: &Bench) -> Result<()> {
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let mut guests = if options.guests.is_empty() { GUESTS.to_vec() } else { options.guests.clone() };
    guests.sort_unstable();
    guests.dedup();
    let mut points = Vec::new();
    for &count in &guests {
        for delivery in [Policies::Synchronous, Policies::Batched] {
            tell!("{}, {} ...", table::guests(count), word(delivery));
            points.push(point(count, delivery)?);
        }
    }
    let figures = Figures { command: super::command(), seconds: SECONDS, points };
    print(&figures);
    report::write(&figures)?;
    super::write(&options.json, &figures)
}

const fn word(delivery: Policies) -> &'static str {
    match delivery {
        Policies::Batched => "batched",
        _ => "synchronous",
    }
}

fn point(guests: u32, delivery: Policies) -> Result<Point> {
    let (scenario, plan) = plan(guests, word(delivery))?;
    let how = How::new(Clock::Counted { seed: scenario.system.seed });
    let mut machine = boot::boot(how, &scenario, plan)?.machine;
    let requests = load::follow(&mut machine)?.requests;
    drop(machine);
    let mut records = trace::open(&paths::run(&scenario.name).join("trace.bin"))?;
    let mut ways = Ways::default();
    records.by_ref().for_each(|entry| ways.see(&entry));
    let tally = records.tally();
    ensure!(tally.damaged_blocks == 0, "the trace has damaged blocks");
    ensure!(ways.ended > 0, "no event reached the end of its handler");
    let stages = ways.figures();
    ensure!(stages.iter().any(|one| one.of_device), "no device raised an interrupt");
    Ok(Point { guests, delivery: word(delivery), requests, events: ways.ended, lost: tally.lost, stages })
}

/// The scenario `inside` and a reader of a disk, all domains under one policy.
fn plan(guests: u32, delivery: &str) -> Result<(Scenario, Plan)> {
    let folder = paths::run("path");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let image: PathBuf = folder.join("disk.img");
    std::fs::write(&image, vec![7; DISK_BYTES as usize])
        .with_context(|| format!("writing {}", image.display()))?;
    let inside = paths::root().join("images").join("inside.toml");
    let mut text =
        std::fs::read_to_string(&inside).with_context(|| format!("reading {}", inside.display()))?;
    text += &format!(
        "\n[[domain]]\nname = \"reader\"\nimage = \"disk\"\nmemory = \"2M\"\nweight = 256\nslice = \"5ms\"\nring = 3\n\
         command_line = \"\"\ndelivery = \"batched\"\non_crash = \"destroy\"\ncontrol = false\n\
         disk = [{{ backend = \"driver\", image = \"{}\", mode = \"r\" }}]\n",
        image.display()
    );
    let path = folder.join("path.toml");
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    let mut scenario = Scenario::open(&paths::root(), &path.to_string_lossy())?;
    if let Some(subject) = scenario.subject_mut() {
        subject.count = Some(toml::Spanned::new(0..0, guests));
    }
    let mib = MEMORY_MIB + MEMORY_A_GUEST_MIB * u64::from(guests);
    scenario.system.memory = toml::Spanned::new(0..0, Size(mib << 20));
    scenario.keep(crate::scenario::Load::Inside);
    scenario.check(&compile::is_guest)?;
    let mut plan = lower(&scenario)?;
    plan.config.trace = true;
    plan.config.trace_settings = vec![CATEGORIES.to_owned()];
    let targets = plan.guests.first().map(|first| format!("{}+{guests}", first.address));
    let (seconds, connections) = (SECONDS.to_string(), (2 * guests).min(64).to_string());
    let words = [
        ("{policies}", delivery),
        ("{seconds}", &seconds),
        ("{connections}", &connections),
        ("{seed}", "1"),
        ("{targets}", targets.as_deref().unwrap_or_default()),
    ];
    let policy = match delivery {
        "batched" => hypervisor_core::config::Policy::Batched,
        _ => hypervisor_core::config::Policy::Synchronous,
    };
    for domain in &mut plan.config.domains {
        for (word, value) in &words {
            domain.command_line = domain.command_line.replace(word, value);
        }
        domain.delivery.policy = policy;
    }
    Ok((scenario, plan))
}

fn print(figures: &Figures) {
    let mut table = new(&[
        "event of",
        "delivery",
        "guests",
        "target",
        "events",
        "raised",
        "pending",
        "woken",
        "switched to",
        "upcall",
        "handler done",
        "whole",
        "whole p99",
    ]);
    for point in &figures.points {
        for of_device in [true, false] {
            for target in [Target::Runs, Target::Waits, Target::Sleeps] {
                let of = |stage: Stage| {
                    point
                        .stages
                        .iter()
                        .find(|one| one.of_device == of_device && one.target == target && one.stage == stage)
                };
                let Some(whole) = of(Stage::Whole) else { continue };
                let mut cells = vec![
                    if of_device { "device" } else { "domain" }.to_owned(),
                    point.delivery.to_owned(),
                    point.guests.to_string(),
                    target.word().to_owned(),
                    grouped(whole.summary.count),
                ];
                cells.extend(
                    Stage::ALL.map(|stage| or_dash(of(stage).map(|one| grouped(one.summary.p50_ns)))),
                );
                cells.push(grouped(whole.summary.p99_ns));
                table.add_row(cells);
            }
        }
    }
    say!("{table}");
    say!("medians by stage, in instructions (QEMU -icount shift=0); each stage is named by its end");
}
