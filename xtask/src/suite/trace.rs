//! The parts about traces: other tools read them, and what changed between two runs is named.
//! They judge counted runs, so that what they find does not depend on how busy this machine is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::judge::{figures, plain};
use super::part::Part;
use crate::setup::{self, BABELTRACE};

/// In the order of what builds on what: the first part's traces are the second's.
pub(super) fn parts() -> Vec<Part> {
    vec![
        Part::here("trace diff: switches saved", compared),
        Part::here("trace export: babeltrace2", exported),
        Part::here("trace why: a neighbour that floods", blamed),
        Part::here("trace views: timeline, page, text", seen),
        Part::here("trace of a run that is up: live, control, record", super::kept::watched),
        Part::here("trace saved from a panic", super::kept::saved),
        super::storm::part(),
    ]
}

/// Where a part's file lies.
fn place(name: &str) -> PathBuf {
    crate::paths::run("suite").join(name)
}

/// A short counted run under one policy, recorded live: whatever its length, nothing is lost.
fn recorded(delivery: &str) -> Result<String> {
    let trace = place(&format!("{delivery}.bin")).to_string_lossy().into_owned();
    let line = "trace record inside --icount --guests 8 --seconds 0.2 --suppress off --delivery";
    let line: Vec<&str> = line.split(' ').chain([delivery, "--output", &trace]).collect();
    let recorded = figures(&format!("trace-{delivery}"), &line)?;
    ensure!(recorded["lost"] == 0, "{} records are lost", recorded["lost"]);
    ensure!(recorded["records"].as_u64() > Some(10_000), "{} records", recorded["records"]);
    Ok(trace)
}

fn compared() -> Result<String> {
    let (synchronous, batched) = (recorded("synchronous")?, recorded("batched")?);
    let diff = figures("trace-diff", &["trace", "diff", &synchronous, &batched])?;
    let largest = diff["largest"].as_str().context("no change is named")?;
    ensure!(diff["work"][0]["what"] == "domain switches", "the largest change is another: {largest}");
    let [then, now] = [0, 1].map(|run| diff["work"][0]["count"][run].as_f64().unwrap_or(0.0));
    ensure!(now < then, "batching saved no switches: {largest}");
    Ok(largest.to_owned())
}

fn exported() -> Result<String> {
    if let Err(error) = setup::need(BABELTRACE) {
        return Ok(format!("skipped: {error:#}"));
    }
    let trace = place("batched.bin").to_string_lossy().into_owned();
    let stats = figures("trace-ctf", &["trace", "stats", &trace])?;
    let folder = place("ctf").to_string_lossy().into_owned();
    plain("trace-ctf-export", &["trace", "export", "ctf", &trace, &folder])?;
    let output = Command::new("babeltrace2").arg(&folder).stdin(Stdio::null()).output();
    let output = output.context("starting babeltrace2")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && errors.trim().is_empty(), "babeltrace2: {errors}");
    let events = output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
    ensure!(events > 0 && stats["records"] == events, "{events} events of {} records", stats["records"]);
    Ok(format!("{events} events, no warning"))
}

fn blamed() -> Result<String> {
    let trace = place("flood.bin").to_string_lossy().into_owned();
    let line = "trace record flood --icount --seconds 0.2 --delivery batched --output";
    plain("trace-flood", &line.split(' ').chain([trace.as_str()]).collect::<Vec<_>>())?;
    let why = figures("trace-why", &["trace", "why", &trace, "--slowest", "5"])?;
    let requests = why["requests"].as_array().context("no requests")?;
    ensure!(requests.len() == 5, "{} of 5 requests", requests.len());
    for request in requests {
        ensure!(request["blame"][0]["domain"] == "flood", "somebody else is blamed: {request}");
    }
    let share = why["blame"][0]["share"].as_f64().context("no share")?;
    ensure!(share > 0.5, "the neighbour is blamed for {share} only");
    Ok(why["verdict"].as_str().unwrap_or_default().to_owned())
}

/// The other views of the trace that names the neighbour.
fn seen() -> Result<String> {
    let trace = place("flood.bin").to_string_lossy().into_owned();
    let why = figures("trace-why", &["trace", "why", &trace, "--slowest", "1"])?;
    let begin = format!("{}ns", why["requests"][0]["begin_ns"]);
    let line = ["trace", "timeline", &trace, "--around", &begin, "--window", "200"];
    let closely = figures("trace-timeline", &line)?;
    let states = closely["states"].as_array().context("no run states")?;
    let floods = |state: &serde_json::Value| state["domain"] == "flood" && state["state"] == "running";
    ensure!(states.iter().any(floods), "the neighbour does not run where the request waits");
    let page = place("flood.html").to_string_lossy().into_owned();
    let stats = figures("trace-report", &["trace", "report", &trace, "--output", &page])?;
    let text = std::fs::read_to_string(&page).context("reading the page")?;
    let plots = text.matches("<svg").count();
    ensure!(plots == 5 && text.contains("flood"), "{plots} plots");
    let line = ["trace", "text", &trace, "--record", "Switch", "--domain", "flood"];
    let switches = figures("trace-text", &line)?;
    let switches = switches.as_array().context("no records")?.len() as u64;
    let domains = stats["domains"].as_array().context("no domains")?;
    let flood = domains.iter().find(|domain| domain["name"] == "flood").context("no such domain")?;
    ensure!(flood["switches"] == switches, "{switches} switches listed, {} counted", flood["switches"]);
    Ok(format!("{} run states in 200 us, {plots} plots, {switches} switches", states.len()))
}
