//! `cargo xtask measure`: curves over the number of guests, from one command.
//! It exists because the question of what batching does as guests grow is answered by a curve and not by a run.
//!
//! A sweep has [`settings`], [`images`] and two machines for each of its cells, several at a time by [`work`]: [`prepare`] makes
//! the scenario, [`machine`] runs it, [`collect`] reads its lines and [`point`] computes its figures. [`resume`] keeps them until the sweep ends,
//! [`shard`] and [`merge`] spread it over machines. [`report`], [`findings`] and [`csv`] say what came out.
//! [`creation`] is no sweep: one machine shows the cost of each creation. Nor is [`slices`]: its guests only compute;
//! nor [`scale`]: two of its guests do one operation after the other.

mod collect;
mod creation;
mod csv;
mod findings;
mod histograms;
mod images;
mod latency;
mod machine;
mod merge;
mod outside;
mod own;
mod point;
mod policy;
mod prepare;
mod report;
mod resume;
mod scale;
mod settings;
mod shard;
mod slices;
mod spread;
mod sweep;
mod table;
mod traced;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use self::images::Frozen;
pub(crate) use self::policy::Policy;
use self::settings::{Cell, Settings};
pub(crate) use self::shard::Shard;
use self::sweep::Sweep;
use crate::cli::{Course, Json, MeasureKind};
use crate::{cli, host, interrupt, paths, setup};

/// How QEMU runs in all measurements.
const ACCELERATOR: &str = "TCG, -icount shift=0,sleep=off";

/// Measures.
pub(crate) fn measure(what: &MeasureKind) -> Result<()> {
    match what {
        MeasureKind::Batching(options) => sweep(&Settings::batching(options), &options.sweep.load.course),
        MeasureKind::Idle(options) => sweep(&Settings::idle(options), &options.sweep.load.course),
        MeasureKind::Window(options) => sweep(&Settings::window(options), &options.load.course),
        MeasureKind::Ticks(options) => sweep(&Settings::ticks(options), &options.course),
        MeasureKind::Creation(options) => creation::measure(options),
        MeasureKind::Slices(options) => slices::measure(options),
        MeasureKind::Scale(options) => scale::measure(options),
        MeasureKind::Merge { files, json } => {
            cli::spare(files.iter().map(PathBuf::as_path), [json.path()])?;
            finish(merge::merge(files)?, json)
        }
    }
}

fn sweep(settings: &Settings, course: &Course) -> Result<()> {
    prepare::fits(settings, None)?;
    let shard = Shard::chosen(course.shard)?;
    host::raise_open_files();
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let images = Frozen::build()?;
    prepare::fits(settings, Some(&images))?;
    let store = resume::Store::open(settings, images.number(), shard, course.fresh)?;
    let cells = settings.cells();
    let machines = cells.len();
    let mine: Vec<Cell> = cells
        .into_iter()
        .enumerate()
        .filter(|(number, _)| shard.holds(*number))
        .map(|(_, cell)| cell)
        .collect();
    let (known, missing): (Vec<Cell>, Vec<Cell>) =
        mine.iter().cloned().partition(|cell| store.points(cell).is_some());
    for cell in &known {
        tell!("{}: measured already", cell.name());
    }
    if settings.host {
        from_outside(settings, &images, &store, &missing)?;
    } else {
        let jobs = course.jobs.map_or_else(|| work::jobs(settings), usize::from);
        work::measure(settings, &images, &store, &missing, jobs)?;
    }
    if mine.is_empty() {
        tell!(
            "the sweep has {machines} machines, and none of them is this part's: there is nothing to measure"
        );
        return Ok(());
    }
    let points = mine.iter().filter_map(|cell| store.points(cell)).flatten().collect();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let figures = Sweep {
        command: format!("cargo xtask {}", arguments.join(" ")),
        settings: settings.clone(),
        images: format!("{:016x}", images.number()),
        qemu: sweep::qemu_version()?,
        accelerator: if settings.host { outside::ACCELERATOR } else { ACCELERATOR }.to_owned(),
        points,
    };
    finish(figures, &course.json)?;
    if shard.is_part() {
        tell!("a part of the sweep; cargo xtask measure merge puts the parts together");
    }
    store.finish()
}

/// One machine after the other, in real time.
fn from_outside(settings: &Settings, images: &Frozen, store: &resume::Store, cells: &[Cell]) -> Result<()> {
    for (done, cell) in cells.iter().enumerate() {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        let measured =
            outside::measure(settings, cell, images, store.run(0), &bar).with_context(|| cell.name())?;
        bar.finish_and_clear();
        store.keep(cell, &measured)?;
        tell!("{}: measured, {} of {}", cell.name(), done + 1, cells.len());
    }
    Ok(())
}

/// Prints a sweep and writes its files.
fn finish(mut figures: Sweep, json: &Json) -> Result<()> {
    figures.compare_idling();
    let figures = &figures;
    table::print(figures);
    let text = figures.json()?;
    let folder = paths::run("measure");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let own = folder.join(&figures.settings.kind).with_extension("json");
    for path in std::iter::once(&own).chain(&json.json) {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    for finding in findings::findings(figures) {
        say!("{finding}");
    }
    say!("report: {}", report::write(figures, &folder)?.display());
    Ok(())
}
