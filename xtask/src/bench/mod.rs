//! `cargo xtask bench`: what single operations cost, in instructions, beside another hypervisor.
//! It exists because one binary on two hypervisors is a comparison that nobody can argue with.

mod block;
mod budget;
mod export;
mod load;
mod path;
mod rings;
mod sensitive;
mod tracing;
mod xen;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use budget::over;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cli::{Bench, BenchKind, Json, Peer};
use crate::counters::ratio;
use crate::qemu::{Clock, Machine, Next};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::serial::Line;
use crate::table::{fraction, grouped, new, or_dash};
use crate::{BadInput, compile, interrupt, paths, setup};

/// How long the bench may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `@bench` line.
#[derive(Clone, Debug, Deserialize)]
struct Measured {
    name: String,
    instructions: u64,
    n: u64,
    /// Entries into the hypervisor for each, where somebody counts them.
    entries: Option<f64>,
}

/// One operation on both.
#[derive(Clone, Debug, Default, Serialize)]
struct Operation {
    /// Instructions on Denizen.
    denizen: Option<u64>,
    /// Instructions on Xen.
    xen: Option<u64>,
    /// The first through the second.
    ratio: Option<f64>,
    /// Repetitions that each figure is the mean of.
    n: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    operations: BTreeMap<String, Operation>,
}

/// Measures.
pub(crate) fn bench(options: &Bench) -> Result<()> {
    let only = |given: bool, option: &str, kinds: &str| match given {
        true => Err(BadInput(format!("{option} is for {kinds} alone"))),
        false => Ok(()),
    };
    let what = options.what;
    only(!options.guests.is_empty() && !matches!(what, BenchKind::Path), "--guests", "path")?;
    let is_compared = matches!(what, BenchKind::Operations | BenchKind::Rings);
    only(options.peer.is_some() && !is_compared, "--peer", "operations and rings")?;
    let has_more = matches!(what, BenchKind::Block | BenchKind::Tracing);
    only(options.full && !has_more, "--full", "block and tracing")?;
    match what {
        BenchKind::Operations => operations(options),
        BenchKind::Block => block::bench(options),
        BenchKind::Export => export::bench(options),
        BenchKind::Rings => rings::bench(options),
        BenchKind::Sensitive => sensitive::bench(options),
        BenchKind::Tracing => tracing::bench(options),
        BenchKind::Path => path::bench(options),
    }
}

fn operations(options: &Bench) -> Result<()> {
    let root = paths::root();
    let scenario = Scenario::open(&root, "bench")?;
    scenario.check(&compile::is_guest)?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;

    tell!("measuring on Denizen ...");
    let how = How::new(Clock::Counted { seed: scenario.system.seed });
    let mut booted = boot::boot(how, &scenario, lower(&scenario)?)?;
    let ours = measured(&mut booted.machine, is_dead).context("on Denizen")?;
    drop(booted);
    let theirs = match options.peer {
        Some(Peer::Xen) => on_xen()?,
        None => Vec::new(),
    };
    let operations = merged(&ours, &theirs);
    print(&operations, &ours);
    write(&options.json, &Figures { command: command(), operations })
}

/// This command, as a person would type it.
fn command() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}

/// Writes figures where they are wanted.
fn write(options: &Json, figures: &impl Serialize) -> Result<()> {
    let Some(path) = &options.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn on_xen() -> Result<Vec<Measured>> {
    let kernel = match xen::fetch() {
        Ok(kernel) => kernel,
        Err(error) => {
            tell!("skipping Xen: {error:#}");
            return Ok(Vec::new());
        }
    };
    tell!("measuring on Xen ...");
    let folder = paths::run("xen");
    let guest = guest()?;
    let options = xen::options(kernel, &guest, "", Clock::Counted { seed: 1 });
    let mut machine = Machine::start(&options, &folder.join("serial.log"))?;
    measured(&mut machine, xen::is_end).context("on Xen")
}

/// Whether Denizen says that its only domain has ended.
pub(crate) fn is_dead(line: &Line) -> bool {
    matches!(line, Line::Record { kind, body } if kind == "domain" && body["state"] == "dead")
}

/// The bench's own image.
fn guest() -> Result<PathBuf> {
    compile::guests(&["bench".to_owned()])?.pop().context("cargo built no bench")
}

/// Collects `@bench` lines until the machine or, as `over` sees it, the guest ends.
fn measured(machine: &mut Machine, over: fn(&Line) -> bool) -> Result<Vec<Measured>> {
    let mut results: Vec<Measured> = Vec::new();
    loop {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(line) if over(&line) => break,
            Next::Line(line) => {
                let body = match &line {
                    Line::Record { kind, body } if kind == "bench" => Some(body.clone()),
                    line => {
                        line.guest_record().filter(|(_, kind, _)| kind == "bench").map(|(_, _, body)| body)
                    }
                };
                if let Some(body) = body {
                    results.push(serde_json::from_value(body).context("reading a @bench line")?);
                } else if let Some(text) = complaint(&line) {
                    tell!("{text}");
                }
            }
            Next::Timeout => {
                bail!("silent for {} s; the log is {}", PATIENCE.as_secs(), shown(machine.log()))
            }
            Next::End => break,
        }
    }
    if results.is_empty() {
        bail!("no operation was measured; the log is {}", shown(machine.log()));
    }
    Ok(results)
}

fn shown(path: &Path) -> String {
    paths::shown(path)
}

/// What the bench says of an operation that it could not measure.
fn complaint(line: &Line) -> Option<String> {
    let text = match line {
        Line::Console { text, .. } | Line::Other(text) => text,
        Line::Log(_) | Line::Record { .. } => return None,
    };
    (text.starts_with("bench: ") || text.contains("panic")).then(|| text.clone())
}

fn merged(ours: &[Measured], theirs: &[Measured]) -> BTreeMap<String, Operation> {
    let mut operations: BTreeMap<String, Operation> = BTreeMap::new();
    for one in ours {
        let operation = operations.entry(one.name.clone()).or_default();
        (operation.denizen, operation.n) = (Some(one.instructions), one.n);
    }
    for one in theirs {
        let operation = operations.entry(one.name.clone()).or_default();
        (operation.xen, operation.n) = (Some(one.instructions), one.n);
    }
    for operation in operations.values_mut() {
        operation.ratio = operation.denizen.zip(operation.xen).and_then(|(ours, theirs)| ratio(ours, theirs));
    }
    operations
}

/// Prints the table in the order in which the bench measured.
fn print(operations: &BTreeMap<String, Operation>, order: &[Measured]) {
    let mut names: Vec<&str> = order.iter().map(|one| one.name.as_str()).collect();
    names.extend(
        operations.keys().map(String::as_str).filter(|name| order.iter().all(|one| one.name != **name)),
    );
    names.dedup();
    let mut table = new(&["instructions", "Denizen", "Xen", "ratio", "n"]);
    for name in names {
        let one = &operations[name];
        let number = |value: Option<u64>| or_dash(value.map(grouped));
        table.add_row([
            name.to_owned(),
            number(one.denizen),
            number(one.xen),
            fraction(one.ratio),
            grouped(one.n),
        ]);
    }
    say!("{table}");
    say!(
        "one tick an instruction (QEMU -icount shift=0): every run gives the same counts, so there is no spread"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, instructions: u64) -> Measured {
        Measured { name: name.to_owned(), instructions, n: 10, entries: None }
    }

    #[test]
    fn an_operation_of_one_side_has_no_ratio() {
        let merged = merged(
            &[measured("yield", 100), measured("ours", 5)],
            &[measured("yield", 400), measured("theirs", 7)],
        );
        assert_eq!(merged["yield"].ratio, Some(0.25));
        assert_eq!((merged["ours"].xen, merged["ours"].ratio), (None, None));
        assert_eq!((merged["theirs"].denizen, merged["theirs"].ratio), (None, None));
    }
}
