//! The parts about a run that stays up: its trace watched, chosen and recorded from outside, and saved when it panics.
//! They judge what is said, not how fast, so a busy machine changes nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::judge::{figures, plain};
use super::keep::{Kept, PATIENCE};
use crate::paths;

/// What is run.
const WEB: [&str; 3] = ["web", "--guests", "2"];

/// The live view counts what is recorded, control changes it while it runs, and a recording holds what was chosen.
pub(super) fn watched() -> Result<String> {
    let mut run = Kept::start("kept", &WEB)?;
    let line = ["trace", "live", "web", "--load", "4", "--intervals", "3", "--interval", "1000"];
    let pictures = figures("kept-live", &line)?;
    let last = pictures.as_array().and_then(|all| all.last()).context("no pictures")?;
    ensure!(last["lost"] == 0, "{} records are lost", last["lost"]);
    let of = |name: &str| {
        let rows = last["domains"].as_array().into_iter().flatten();
        rows.into_iter().find(|row| row["domain"] == name).cloned().unwrap_or(Value::Null)
    };
    for name in ["driver", "web-1", "web-2"] {
        let (row, number) = (of(name), |row: &Value, key: &str| row[key].as_f64().unwrap_or(0.0));
        ensure!(number(&row, "calls_per_s") > 0.0, "{name} made no hypercall: {row}");
        let states = ["running", "runnable", "blocked"].map(|key| number(&row, key));
        let sum: f64 = states.iter().sum();
        ensure!((0.98..=1.02).contains(&sum), "{name}'s run states are {sum} of the time: {row}");
        ensure!(row["rings"].as_array().is_some_and(|rings| !rings.is_empty()), "{name} has no rings: {row}");
    }

    let standing = figures("kept-control-1", &["trace", "control", "categories=hypercall,run-state", "on"])?;
    ensure!(
        standing["on"] == true
            && standing["categories"] == serde_json::json!(["hypercall", "run-state", "trace"]),
        "{standing}"
    );
    let standing = figures("kept-control-2", &["trace", "control", "categories=event", "domains=web-1"])?;
    ensure!(standing["left_out"] == serde_json::json!(["domains"]), "{standing}");

    let file = paths::run("suite").join("kept.bin").to_string_lossy().into_owned();
    let mut line = vec!["trace", "record", "web", "--attach", "--seconds", "1", "--connections", "4"];
    line.extend(["--output", &file, "--categories", "event", "--domains", "web-2"]);
    let recorded = figures("kept-record", &line)?;
    ensure!(recorded["lost"] == 0, "{} records are lost", recorded["lost"]);
    let stats = figures("kept-stats", &["trace", "stats", &file])?;
    let kinds = stats["kinds"].as_object().context("no records")?;
    ensure!(kinds.contains_key("Upcall") && !kinds.contains_key("HypercallEntry"), "{kinds:?}");
    ensure!(kinds.contains_key("Trigger") == recorded["triggered"].is_string(), "{kinds:?}");
    let names: Vec<&str> = stats["domains"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|domain| domain["upcalls"].as_u64() > Some(0))
        .filter_map(|domain| domain["name"].as_str())
        .collect();
    ensure!(names == ["web-2"], "{names:?} were recorded");
    let standing = figures("kept-control-3", &["trace", "control"])?;
    ensure!(
        standing["on"] == false && standing["mode"] == "flight",
        "a recording leaves its choice: {standing}"
    );

    run.interrupt()?;
    ensure!(run.end()?, "the run did not end well:\n{}", run.said());
    Ok(format!("{} records of one domain's events", recorded["records"]))
}

/// A machine check that cannot be survived makes the hypervisor panic; the flight recorder outlives it.
pub(super) fn saved() -> Result<String> {
    let socket = paths::run("suite").join("monitor");
    let _ = std::fs::remove_file(&socket);
    let path = socket.to_string_lossy().into_owned();
    let mut run =
        Kept::start("kept-panic", &[&WEB[..], &["--trace-set", "on", "--monitor", &path]].concat())?;
    let trace = paths::run("web").join("last-words.bin");
    let _ = std::fs::remove_file(&trace);
    machine_check(&socket)?;
    ensure!(!run.end()?, "a run whose hypervisor panicked ends well");
    let said = run.said();
    let saved = said.lines().find(|line| line.contains("the trace up to the end is saved"));
    let saved = saved.with_context(|| format!("the run does not say where the trace is:\n{said}"))?;
    ensure!(saved.contains("last-words.bin"), "{saved}");
    let serial = std::fs::read_to_string(paths::run("web").join("serial.log")).context("reading the log")?;
    ensure!(serial.contains("panic: machine check"), "the hypervisor ended otherwise:\n{serial}");
    let stats = figures("kept-panic-stats", &["trace", "stats", &trace.to_string_lossy()])?;
    ensure!(stats["records"].as_u64() > Some(1000), "{} records", stats["records"]);
    ensure!(stats["damaged_blocks"] == 0, "{} damaged blocks", stats["damaged_blocks"]);
    let text = plain("kept-panic-text", &["trace", "text", &trace.to_string_lossy(), "--record", "Switch"])?;
    ensure!(text.lines().count() > 10, "the saved trace names no switches:\n{text}");
    Ok(format!("{} records up to the end", stats["records"]))
}

/// Has QEMU report an error that the processor cannot go on from.
fn machine_check(socket: &Path) -> Result<()> {
    let mut monitor = UnixStream::connect(socket).context("opening QEMU's monitor")?;
    // Bank 1: valid, uncorrected, enabled, context corrupt. No bit says that the processor may go on.
    writeln!(monitor, "mce 0 1 0xb200000000000000 0 0 0").context("asking for a machine check")?;
    monitor.set_read_timeout(Some(PATIENCE)).context("setting a time limit")?;
    // Who hangs up before the second prompt is not heard. The panic may come first, and its end is awaited elsewhere.
    let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
    while String::from_utf8_lossy(&said).matches("(qemu)").count() < 2 {
        match monitor.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(read) => said.extend_from_slice(&bytes[..read]),
        }
    }
    Ok(())
}
