//! `cargo xtask trace record`: a trace of what is chosen, from a run of its own or from one that is up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::attach::Attached;
use super::setting::{chosen, setting};
use super::{Spool, input, remark, write_json};
use crate::cli::{Record, RecordMode, spare};
use crate::load::load;
use crate::table::grouped;
use crate::{BadInput, interrupt, paths, run};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What was recorded.
#[derive(Clone, Debug, Serialize)]
struct Recorded {
    /// Where it lies.
    file: PathBuf,
    /// Bytes of the file.
    bytes: u64,
    /// Records that can be read from it.
    records: u64,
    /// Records that should be in it but are not.
    lost: u64,
    /// Records that the hypervisor had no room for, by category.
    dropped: std::collections::BTreeMap<&'static str, u64>,
    /// From the first record to the last.
    span_ns: u64,
    /// What ended the recording by itself.
    triggered: Option<String>,
}

/// Records.
///
/// # Errors
/// [`BadInput`] for bad options, and all that can go wrong with a run.
pub(super) fn record(options: &Record) -> Result<()> {
    let mut options = options.clone();
    chosen(&options.choice)?;
    let choice = options.choice.settings().map(|(key, value)| format!("{key}={value}"));
    options.run.trace_set.extend(choice);
    let settings = options.run.trace_set.iter().filter(|text| *text != "on");
    let settings: Vec<String> =
        settings.map(|text| setting("--trace-set", text)).collect::<Result<_, BadInput>>()?;
    if settings.iter().any(|setting| setting.starts_with("mode ")) {
        return Err(BadInput("say --mode instead of --trace-set mode".to_owned()).into());
    }
    if options.mode == RecordMode::Flight && options.limit.is_some() {
        let text = "--limit is for --mode live; in mode flight the file is as large as the shared memory";
        return Err(BadInput(text.to_owned()).into());
    }
    let output = options.output.clone();
    if output.is_dir() {
        return Err(BadInput(format!("{} is a folder", output.display())).into());
    }
    if options.attach {
        attached(&options, &output, &settings)?;
    } else {
        run::record(&options, &output)?;
    }
    let recorded = look(&output)?;
    if let Some(condition) = &recorded.triggered {
        say!("the recording ended by itself: {condition}");
    }
    say!("look: cargo xtask trace stats {}", paths::shown(&output));
    write_json(&options.run.json, &recorded)
}

/// Records a run that is up.
fn attached(options: &Record, output: &Path, settings: &[String]) -> Result<()> {
    interrupt::install()?;
    let mut run = Attached::find(options.run.scenario.as_deref())?;
    spare([run.trace().as_path()], [Some(output), options.run.json.path()])?;
    let live = options.mode == RecordMode::Live;
    run.begin(if live { "live" } else { "flight" }, settings)?;
    let trace = run.trace().clone();
    let spool = live.then(|| Spool::start(&trace, output, options.most())).transpose()?;
    interrupt::be_gentle();
    let stop = Arc::new(AtomicBool::new(false));
    let end = options.run.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    if let Some(connections) = options.run.connections {
        let (targets, stop) = (run.targets()?, stop.clone());
        let length = Duration::from_secs_f64(options.run.seconds.unwrap_or(86_400.0));
        std::thread::spawn(move || load(&targets, connections as usize, length, &stop));
    }
    tell!("recording {}; Ctrl-C ends the recording", run.scenario());
    while !interrupt::pressed()
        && end.is_none_or(|end| Instant::now() < end)
        && !spool.as_ref().is_some_and(Spool::is_over)
    {
        std::thread::sleep(LOOK);
    }
    stop.store(true, Ordering::Release);
    run.ask("trace off")?;
    match spool {
        Some(spool) => spool.finish(),
        None => {
            let copied = std::fs::copy(&trace, output);
            copied.map(drop).with_context(|| format!("writing {}", output.display()))
        }
    }
}

/// Reads what was recorded, and says what is missing from it.
fn look(output: &Path) -> Result<Recorded> {
    let mut reader = input::open(output)?;
    let mut span: Option<(u64, u64)> = None;
    for entry in reader.by_ref() {
        let (first, last) = span.unwrap_or((entry.time_ns, entry.time_ns));
        span = Some((first, last.max(entry.time_ns)));
    }
    let (tally, header) = (reader.tally(), reader.header());
    let span_ns = span.map_or(0, |(first, last)| last - first);
    let dropped: std::collections::BTreeMap<&'static str, u64> =
        header.dropped.iter().map(|(category, count)| (category.word(), *count)).collect();
    let bytes = std::fs::metadata(output).map_or(0, |about| about.len());
    say!(
        "{}: {} over {:.3} s, {} KiB",
        paths::shown(output),
        remark(&tally),
        span_ns as f64 / 1e9,
        bytes >> 10
    );
    for (category, count) in &dropped {
        say!("no room for {} records of {category}", grouped(*count));
    }
    Ok(Recorded {
        file: output.to_owned(),
        bytes,
        records: tally.records,
        lost: tally.lost.saturating_add(tally.dropped),
        dropped,
        span_ns,
        triggered: header.triggered.map(|condition| format!("{condition:?}").to_lowercase()),
    })
}
