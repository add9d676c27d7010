//! `cargo xtask trace`: traces recorded and watched, and what a trace file says, in every way that it can be asked.
//! It exists so that a trace is read with the hypervisor's own reader, by the same declarations that wrote it.

mod attach;
mod audit;
mod control;
#[cfg(test)]
mod damage;
mod diff;
mod drain;
mod export;
mod files;
mod filter;
mod follow;
mod input;
mod live;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod look;
mod names;
mod record;
mod report;
mod setting;
mod spool;
mod spread;
pub(crate) mod stats;
mod text;
mod timeline;
mod why;

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use hypervisor_core::trace::reader::Tally;

use crate::cli::{self, Json, Trace, TraceView};
use crate::table::grouped;
use filter::Filter;
use names::Names;

pub(crate) use drain::Drain;
pub(crate) use filter::time;
pub(crate) use input::open;
pub(crate) use setting::setting;
pub(crate) use spool::Spool;
pub(crate) use spread::{Spread, Summary};
pub(crate) use stats::Stats;

/// Shows a trace.
pub(crate) fn trace(options: &Trace) -> Result<()> {
    files::check(&options.view)?;
    match &options.view {
        TraceView::Record(options) => record::record(options),
        TraceView::Live(options) => live::live(options),
        TraceView::Control(options) => control::control(options),
        TraceView::Text { file, filter, columns, json } => write_text(file, filter, columns, json),
        TraceView::Timeline(options) => timeline::timeline(options),
        TraceView::Report(options) => report::report(options),
        TraceView::Replay(options) => crate::replay::replay(options),
        TraceView::Diff { one, other, per, json } => diff::diff(one, other, per.as_deref(), json),
        TraceView::Export { format, file, output, filter, json } => {
            export::export(*format, file, output, filter, json)
        }
        TraceView::Why(options) => why::why(options),
        TraceView::Stats { file, filter, json } => {
            let reader = input::open(file)?;
            let filter = Filter::new(filter, &Names::new(reader.names()))?;
            let stats = stats::of_some(reader, filter.clone());
            filter.must_meet(stats.reach)?;
            stats::print(&stats);
            write_json(json, &stats)
        }
    }
}

/// The statistics of a trace file.
pub(crate) fn stats_of(path: &Path) -> Result<Stats> {
    Ok(stats::of(input::open(path)?))
}

/// Writes figures where the option says.
pub(crate) fn write_json(json: &Json, figures: &impl serde::Serialize) -> Result<()> {
    let Some(path) = &json.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn write_text(file: &Path, filter: &cli::Filter, columns: &[cli::Column], json: &Json) -> Result<()> {
    let mut reader = input::open(file)?;
    let names = Names::new(reader.names());
    let filter = Filter::new(filter, &names)?;
    let columns = if columns.is_empty() { text::COLUMNS } else { columns };
    let mut last = None;
    let mut kept = json.json.as_deref().map(text::Kept::create).transpose()?;
    let mut reach = None;
    printed(|output| {
        for entry in reader.by_ref() {
            reach = Some((reach.map_or(entry.time_ns, |(first, _)| first), entry.time_ns));
            if !filter.wants(&entry) {
                continue;
            }
            let before = last.replace(entry.time_ns).unwrap_or(entry.time_ns);
            writeln!(output, "{}", text::line(&names, columns, before, &entry))?;
            if let Some(kept) = &mut kept {
                kept.add(&names, &entry)?;
            }
        }
        Ok(())
    })?;
    if let Some(kept) = kept {
        kept.finish()?;
    }
    filter.must_meet(reach)?;
    tell!("{}", remark(&reader.tally()));
    Ok(())
}

/// Writes to the terminal until whoever reads has had enough: `| head`.
pub(crate) fn printed(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    match write(&mut output).and_then(|()| output.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing the trace's text"),
    }
}

/// What is missing from a trace, in words, if anything is.
fn missing(tally: &Tally) -> Option<String> {
    let whole = tally.lost == 0 && tally.unknown == 0 && tally.damaged_blocks == 0 && !tally.truncated;
    (!whole).then(|| remark(tally))
}

/// What there is of a trace and what is missing, in words.
fn remark(tally: &Tally) -> String {
    let mut text = format!(
        "{} records, {} lost of which {} were overwritten by newer ones",
        grouped(tally.records),
        grouped(tally.lost),
        grouped(tally.overwritten)
    );
    if tally.unknown > 0 {
        text.push_str(&format!("; {} are of kinds that this tool does not know", tally.unknown));
    }
    if tally.damaged_blocks > 0 {
        text.push_str(&format!("; {} damaged blocks passed over", tally.damaged_blocks));
    }
    if tally.truncated {
        text.push_str("; the file ends too early and was read as far as it goes");
    }
    text
}
