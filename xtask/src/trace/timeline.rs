//! A short time seen closely: who had the processor when, and each record in between.
//! It exists because a slow moment is understood from what lay around it, not from averages.

mod chart;
pub(super) mod window;

use anyhow::Result;
use serde::Serialize;

use super::names::Names;
use super::text::{fields, seconds};
use super::{input, missing, printed, write_json};
use crate::BadInput;
use crate::cli::Timeline;
use window::Window;

/// What is shown.
#[derive(Clone, Debug, Serialize)]
struct Shown {
    /// Beginning and end.
    from_ns: u64,
    to_ns: u64,
    /// Run states.
    states: Vec<StateOf>,
    /// Records.
    records: Vec<RecordOf>,
    /// Records in the window that are not listed.
    more: u64,
}

/// One time in one run state.
#[derive(Clone, Debug, Serialize)]
struct StateOf {
    domain: String,
    state: &'static str,
    from_ns: u64,
    to_ns: u64,
}

/// One record.
#[derive(Clone, Debug, Serialize)]
struct RecordOf {
    time_ns: u64,
    domain: String,
    record: &'static str,
    fields: String,
}

/// Shows what lay around a point of time.
///
/// # Errors
/// [`BadInput`] for a file that is no trace, a domain that it does not name, or a time that it does not reach.
pub(super) fn timeline(options: &Timeline) -> Result<()> {
    let mut reader = input::open(&options.file)?;
    let names = Names::new(reader.names());
    let mut domains = Vec::new();
    for pattern in &options.domain {
        let found = names.fitting(pattern);
        if found.is_empty() {
            return Err(BadInput(format!("no domain fits {pattern}; the trace has {}", names.all())).into());
        }
        domains.extend(found);
    }
    let half = options.window.saturating_mul(1000) / 2;
    let (from, to) = (options.around.0.saturating_sub(half), options.around.0.saturating_add(half));
    let window = Window::of(reader.by_ref(), from, to, options.lines);
    let Some((first, last)) = window.reach.filter(|_| !window.is_empty()) else {
        return Err(
            BadInput(format!("nothing is recorded around {} s", seconds(options.around.0).trim())).into()
        );
    };
    if last < from || first > to {
        let (first, last) = (seconds(first), seconds(last));
        let text = format!("the trace goes from {} s to {} s", first.trim(), last.trim());
        return Err(BadInput(text).into());
    }
    let wanted = |id| domains.is_empty() || domains.contains(&id);
    printed(|output| {
        output.write_all(chart::text(&window, &names, wanted, options.width.into()).as_bytes())?;
        writeln!(output)?;
        let mut before = from;
        for entry in window.entries.iter().filter(|entry| wanted(entry.domain)) {
            writeln!(
                output,
                "{}  {:>10}  {:<12} {:<15}{}",
                seconds(entry.time_ns),
                format!("+{}", entry.time_ns.saturating_sub(before)),
                names.of(entry.domain),
                entry.record.name(),
                fields(&names, entry)
            )?;
            before = entry.time_ns;
        }
        if window.more > 0 {
            writeln!(output, "{} records further off are not shown; --lines shows more", window.more)?;
        }
        Ok(())
    })?;
    if let Some(missing) = missing(&reader.tally()) {
        tell!("up to there: {missing}");
    }
    write_json(&options.json, &shown(&window, &names, wanted))
}

fn shown(window: &Window, names: &Names, wanted: impl Fn(hypercall_abi::DomId) -> bool) -> Shown {
    let states = window.spans.iter().filter(|span| wanted(span.domain)).map(|span| StateOf {
        domain: names.of(span.domain),
        state: span.state.word(),
        from_ns: span.from,
        to_ns: span.to,
    });
    let records = window.entries.iter().filter(|entry| wanted(entry.domain)).map(|entry| RecordOf {
        time_ns: entry.time_ns,
        domain: names.of(entry.domain),
        record: entry.record.name(),
        fields: fields(names, entry).trim().to_owned(),
    });
    Shown {
        from_ns: window.from,
        to_ns: window.to,
        states: states.collect(),
        records: records.collect(),
        more: window.more,
    }
}

/// Shows a window of a damaged trace.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn tried(entries: &[hypervisor_core::trace::reader::Entry], names: &Names) {
    let Some(middle) = entries.get(entries.len() / 2) else { return };
    for half in [0, 1000, u64::MAX] {
        let (from, to) = (middle.time_ns.saturating_sub(half), middle.time_ns.saturating_add(half));
        let window = Window::of(entries.iter().copied(), from, to, 50);
        let text = chart::text(&window, names, |_| true, 80);
        assert!(text.lines().all(|line| line.chars().count() <= 200), "{text}");
        let _ = shown(&window, names, |_| true);
    }
}

#[cfg(test)]
mod tests;
