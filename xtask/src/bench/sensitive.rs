//! `cargo xtask bench sensitive`: what becomes of each sensitive instruction in each ring, beside what must come.
//! What must come is the table of `docs/SENSITIVE.md`, so that the document cannot say what is not so.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use hypercall_abi::layout;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{PATIENCE, command, is_dead, shown, write};
use crate::cli::Bench;
use crate::qemu::{Clock, Machine, Next};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::serial::Line;
use crate::table::new;
use crate::{compile, interrupt, paths, setup};

const SCENARIO: &str = "sensitive";
const DOCUMENT: &str = "docs/SENSITIVE.md";
/// The rings in the order of the table's columns.
const RINGS: [u64; 2] = [3, 1];

/// A `@sensitive` line.
#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Found {
    name: String,
    outcome: String,
}

/// A row of the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Row {
    ring3: String,
    ring1: String,
    /// What becomes of it, in a word.
    kind: String,
    remark: String,
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    /// What was found, with kind and remark of the document.
    instructions: BTreeMap<String, Row>,
    /// What was not as it must be, in words.
    differences: Vec<String>,
}

/// Executes them in each ring.
pub(super) fn bench(options: &Bench) -> Result<()> {
    let text = std::fs::read_to_string(paths::root().join(DOCUMENT)).context(DOCUMENT)?;
    let expected = parsed(&text)?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let mut columns = Vec::new();
    for ring in RINGS {
        tell!("executing sensitive instructions in ring {ring} ...");
        columns.push(run(ring).with_context(|| format!("in ring {ring}"))?);
    }
    let differences = differences(&expected, &columns);
    let instructions = found(&expected, &columns);
    print(&expected, &instructions);
    write(&options.json, &Figures { command: command(), instructions, differences: differences.clone() })?;
    ensure!(differences.is_empty(), "not as {DOCUMENT} says:\n  {}", differences.join("\n  "));
    Ok(())
}

/// Boots the guest in a ring and collects what it found.
fn run(ring: u64) -> Result<Vec<Found>> {
    let mut scenario = Scenario::open(&paths::root(), SCENARIO)?;
    for domain in &mut scenario.system.domain {
        domain.ring = Spanned::new(domain.ring.span(), ring.try_into().context("a ring is a small number")?);
    }
    scenario.check(&compile::is_guest)?;
    let clock = Clock::Counted { seed: scenario.system.seed };
    let how = How::new(clock);
    let mut booted = boot::boot(how, &scenario, lower(&scenario)?)?;
    collected(&mut booted.machine)
}

fn collected(machine: &mut Machine) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    loop {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(line) if is_dead(&line) => break,
            Next::Line(line) => match (line.guest_record(), &line) {
                (Some((_, kind, body)), _) if kind == SCENARIO => {
                    found.push(serde_json::from_value(body).context("reading a @sensitive line")?);
                }
                (None, Line::Console { text, .. }) if text.contains("panic") => tell!("{text}"),
                _ => {}
            },
            Next::Timeout => {
                bail!("silent for {} s; the log is {}", PATIENCE.as_secs(), shown(machine.log()))
            }
            Next::End => break,
        }
    }
    Ok(found)
}

/// The rows of the document, in its order.
fn parsed(text: &str) -> Result<Vec<(String, Row)>> {
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[name, ring3, ring1, kind, remark] = cells.as_slice() else {
            bail!("{DOCUMENT}: a row with {} cells: {line}", cells.len());
        };
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        let row = Row { ring3: code(ring3), ring1: code(ring1), kind: kind.into(), remark: remark.into() };
        for outcome in [&row.ring3, &row.ring1] {
            let right = match kind {
                "trapped" => outcome.starts_with('#'),
                "refused" => outcome == "refuses",
                "emulated" | "differs" | "native" => !outcome.starts_with('#') && outcome != "refuses",
                _ => false,
            };
            ensure!(right, "{DOCUMENT}: {name} is {kind} and its outcome {outcome}");
        }
        rows.push((name.to_owned(), row));
    }
    ensure!(!rows.is_empty(), "{DOCUMENT} has no table");
    Ok(rows)
}

/// What is not as it must be.
fn differences(expected: &[(String, Row)], columns: &[Vec<Found>]) -> Vec<String> {
    let mut differences = Vec::new();
    for (ring, column) in RINGS.into_iter().zip(columns) {
        for (name, row) in expected {
            let wanted = if ring == 3 { &row.ring3 } else { &row.ring1 };
            match column.iter().find(|found| found.name == *name) {
                None => differences.push(format!("ring {ring}: {name} was not executed")),
                Some(found) if found.outcome != *wanted => {
                    differences.push(format!("ring {ring}: {name} gives {}, not {wanted}", found.outcome));
                }
                Some(_) => {}
            }
        }
        for Found { name, outcome } in column {
            if expected.iter().all(|(known, _)| known != name) {
                differences.push(format!("ring {ring}: {name} gives {outcome} and is not in the table"));
            }
            if is_hypervisors(outcome) {
                differences.push(format!("ring {ring}: {name} gives away the hypervisor's {outcome}"));
            }
        }
    }
    differences
}

/// Whether an outcome is an address in the range that no guest may use.
fn is_hypervisors(outcome: &str) -> bool {
    let value = outcome.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    value.is_some_and(|value| (layout::HYPERVISOR_START..layout::HYPERVISOR_END).contains(&value))
}

/// What was found, with what the document says of it.
fn found(expected: &[(String, Row)], columns: &[Vec<Found>]) -> BTreeMap<String, Row> {
    let outcome = |column: usize, name: &str| {
        let of = columns.get(column).and_then(|column| column.iter().find(|found| found.name == name));
        of.map_or_else(String::new, |found| found.outcome.clone())
    };
    let row = |(name, row): &(String, Row)| {
        let row = Row { ring3: outcome(0, name), ring1: outcome(1, name), ..row.clone() };
        (name.clone(), row)
    };
    expected.iter().map(row).collect()
}

fn print(expected: &[(String, Row)], found: &BTreeMap<String, Row>) {
    let mut table = new(&["instruction", "ring 3", "ring 1", "what becomes of it"]);
    for (name, _) in expected {
        let row = &found[name];
        table.add_row([name.clone(), row.ring3.clone(), row.ring1.clone(), row.kind.clone()]);
    }
    say!("{table}");
}

#[cfg(test)]
mod tests {
    use super::{Found, RINGS, differences, parsed};

    const TABLE: &str = "| sgdt | `#GP(0x0)` | `#GP(0x0)` | trapped | UMIP |\n| mov from cs | `0xe033` | `0xe019` | differs | |\n";

    fn column(outcomes: [&str; 2]) -> Vec<Found> {
        let found = |(name, outcome): (&str, &str)| Found { name: name.into(), outcome: outcome.into() };
        ["sgdt", "mov from cs"].into_iter().zip(outcomes).map(found).collect()
    }

    #[test]
    fn the_document_is_a_table_that_agrees_with_itself() {
        let text = include_str!("../../../docs/SENSITIVE.md");
        assert!(parsed(text).unwrap().len() > 100);
        assert!(parsed(&TABLE.replace("trapped", "native")).is_err());
        assert!(parsed(&TABLE.replace("| UMIP ", "")).is_err());
    }

    #[test]
    fn another_outcome_a_missing_one_and_a_leak_are_named() {
        let expected = parsed(TABLE).unwrap();
        let good = [column(["#GP(0x0)", "0xe033"]), column(["#GP(0x0)", "0xe019"])];
        assert_eq!(RINGS, [3, 1]);
        assert!(differences(&expected, &good).is_empty());
        let [in_ring3, in_ring1] = good;
        let leak = column(["0xffff808000280000", "0xe033"]);
        let named = differences(&expected, &[leak, in_ring1]);
        assert!(named.iter().any(|what| what.contains("not #GP")), "{named:?}");
        assert!(named.iter().any(|what| what.contains("gives away")), "{named:?}");
        let none = differences(&expected, &[in_ring3, Vec::new()]);
        assert_eq!(none.len(), 2, "{none:?}");
    }
}
