//! `cargo xtask trace`: what a trace file says, as text and as statistics.
//! It exists so that a trace is read with the hypervisor's own decoder, by the same declarations that wrote it.

mod audit;
mod stats;
mod text;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use hypervisor_core::trace::decode::{Decoded, decode};

use crate::BadInput;
use crate::cli::{Trace, TraceView};
use crate::table::{grouped, new, or_dash};

pub(crate) use stats::{Stats, of};

/// Shows a trace.
pub(crate) fn trace(options: &Trace) -> Result<()> {
    match &options.view {
        TraceView::Text { file } => write_text(&read(file)?),
        TraceView::Stats { file, json } => {
            let stats = of(&read(file)?);
            print(&stats);
            if let Some(path) = &json.json {
                let text = serde_json::to_string_pretty(&stats).context("writing JSON")? + "\n";
                std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
            }
            Ok(())
        }
    }
}

/// Reads a trace file, as far as it goes.
pub(crate) fn read(path: &Path) -> Result<Decoded> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|error| BadInput(format!("{}: cannot be read: {error}", path.display())))?;
    decode(&bytes).map_err(|error| BadInput(format!("{}: {error}", path.display())).into())
}

fn write_text(decoded: &Decoded) -> Result<()> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    let written = decoded
        .entries
        .iter()
        .try_for_each(|entry| writeln!(output, "{}", text::line(decoded, entry)))
        .and_then(|()| output.flush());
    match written {
        // The reader has had enough: `| head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
        other => other.context("writing the trace's text")?,
    }
    eprintln!("{}", remark(decoded));
    Ok(())
}

/// What is missing from a trace, in words.
fn remark(decoded: &Decoded) -> String {
    let mut text = format!(
        "{} records, {} lost of which {} were overwritten by newer ones",
        grouped(decoded.entries.len() as u64),
        grouped(decoded.lost),
        grouped(decoded.overwritten)
    );
    if decoded.damaged_blocks > 0 {
        text.push_str(&format!("; {} damaged blocks passed over", decoded.damaged_blocks));
    }
    if decoded.truncated {
        text.push_str("; the file ends too early and was read as far as it goes");
    }
    text
}

fn print(stats: &Stats) {
    let mut table = new(&["hypercall", "count", "share of time", "mean ns", "min ns", "max ns", "errors"]);
    let total: u64 = stats.hypercalls.values().map(|call| call.total_ns).sum();
    let mut calls: Vec<_> = stats.hypercalls.iter().collect();
    calls.sort_by_key(|(_, call)| std::cmp::Reverse(call.total_ns));
    for (name, call) in calls {
        let share = call.total_ns as f64 / total.max(1) as f64 * 100.0;
        table.add_row([
            name.clone(),
            grouped(call.count),
            format!("{share:.1} %"),
            or_dash(call.mean_ns.map(|mean| format!("{mean:.0}"))),
            grouped(call.min_ns),
            grouped(call.max_ns),
            grouped(call.errors),
        ]);
    }
    println!("{table}\ndurations without the time in which another domain, or none, had the processor\n");
    let mut table = new(&["record", "count"]);
    for (name, count) in &stats.kinds {
        table.add_row([name.clone(), grouped(*count)]);
    }
    println!("{table}");
    let mut table =
        new(&["domain", "records", "hypercalls", "events raised", "merged", "upcalls", "switched to"]);
    for domain in &stats.domains {
        let numbers = [
            domain.records,
            domain.hypercalls,
            domain.raised,
            domain.merged,
            domain.upcalls,
            domain.switches,
        ];
        table.add_row(std::iter::once(domain.name.clone()).chain(numbers.map(grouped)));
    }
    println!("{table}\n{} over {:.3} s", stats.remark, stats.span_ns as f64 / 1e9);
    if let Some(counters) = &stats.counters {
        let verdict = if counters.differing.is_empty() {
            "the hypervisor's own counters agree with the hypercalls in the trace".to_owned()
        } else {
            format!("the hypervisor's own counters differ: {}", counters.differing.join(", "))
        };
        println!("{verdict}");
    }
}
