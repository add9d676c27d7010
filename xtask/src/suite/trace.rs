//! The parts about traces: other tools read them, and what changed between two runs is named.
//! They judge counted runs, so that what they find does not depend on how busy this machine is.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use super::judge::{figures, plain};
use super::part::Part;
use crate::setup::{self, BABELTRACE};

/// Each stands alone; what several look at is recorded by the first that wants it.
pub(super) fn parts() -> Vec<Part> {
    vec![
        Part::here("trace stats against counters", counted),
        Part::here("trace diff: switches saved", compared),
        Part::here("trace export: babeltrace2", exported),
        Part::here("trace export: Perfetto's own reader", || super::perfetto::opened(&batched()?)),
        Part::here("trace why: a neighbour that floods", blamed),
        Part::here("trace why: a disk that is waited for", waited),
        Part::here("trace views: timeline, page, text", seen),
        Part::here("trace of a run that is up: live, control, record", super::kept::watched),
        Part::here("trace saved from a panic", super::kept::saved),
        super::storm::part(),
        super::path::part(),
    ]
}

/// Where a part's file lies.
fn place(name: &str) -> PathBuf {
    crate::paths::run("suite").join(name)
}

/// Traces that this program has recorded.
static RECORDED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A trace of this name, recorded so unless there is one of this run of the suite: nothing of it is lost.
fn recorded(name: &str, line: &str) -> Result<String> {
    let trace = place(&format!("{name}.bin")).to_string_lossy().into_owned();
    let mut done = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    if !done.contains(name) {
        let line: Vec<&str> = line.split(' ').chain(["--output", &trace]).collect();
        let told = figures(&format!("trace-{name}"), &line)?;
        ensure!(told["lost"] == 0, "{} records are lost", told["lost"]);
        ensure!(told["records"].as_u64() > Some(5_000), "{} records", told["records"]);
        done.insert(name.to_owned());
    }
    Ok(trace)
}

/// A short counted run, recorded live.
fn batched() -> Result<String> {
    recorded(
        "batched",
        "trace record inside --icount --guests 8 --seconds 0.2 --suppress off --delivery batched",
    )
}

/// A run with a neighbour that floods.
fn flood() -> Result<String> {
    recorded("flood", "trace record flood --icount --seconds 0.2 --delivery batched")
}

/// What the trace counts, the hypervisor counts: in a flight recorder under a host's load, and live.
fn counted() -> Result<String> {
    let line = "trace record web --guests 2 --seconds 1 --mode flight --delivery synchronous";
    let mut remarks = Vec::new();
    for trace in [recorded("flight", line)?, batched()?] {
        let stats = figures("trace-stats", &["trace", "stats", &trace])?;
        ensure!(stats["lost"] == 0, "{} records are lost", stats["lost"]);
        let counters = &stats["counters"];
        let differing = counters["differing"].as_array().context("no counters in the trace")?;
        ensure!(differing.is_empty(), "trace and counters differ: {differing:?}");
        let compared = counters["compared"].as_u64().context("nothing was compared")?;
        ensure!(compared > 10, "only {compared} counts were compared");
        ensure!(counters["vcpus"].as_u64() > Some(2), "run states of {} vCPUs", counters["vcpus"]);
        // A tick of the clock that the trace is told in.
        ensure!(counters["states_off_ns"].as_u64() <= Some(1), "off by {} ns", counters["states_off_ns"]);
        remarks.push(format!("{} records, {compared} counts", stats["records"]));
    }
    Ok(remarks.join("; "))
}

fn compared() -> Result<String> {
    let line = "trace record inside --icount --guests 8 --seconds 0.2 --suppress off --delivery synchronous";
    let (synchronous, batched) = (recorded("synchronous", line)?, batched()?);
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
    let trace = batched()?;
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
    let trace = flood()?;
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

/// A guest that waits for its disk: its stages are named, and most of its time is the device's.
fn waited() -> Result<String> {
    let folder = place("why-disk");
    std::fs::create_dir_all(&folder).context("making a folder for a disk")?;
    let (image, scenario) = (folder.join("disk.img"), folder.join("why-disk.toml"));
    std::fs::write(&image, vec![0; 1 << 20]).context("writing an image")?;
    let domain = |name: &str, kind: &str, more: String| {
        format!(
            "[[domain]]\nname = \"{name}\"\nimage = \"{kind}\"\nmemory = \"16M\"\nweight = 256\nring = 3\n\
             delivery = \"batched\"\non_crash = \"destroy\"\n{more}"
        )
    };
    let disk = format!("disk = [{{ backend = \"driver\", image = {image:?}, mode = \"w\" }}]\n");
    let text = "description = \"A guest that waits for its disk\"\nmemory = \"128M\"\nslice = \"5ms\"\n"
        .to_owned()
        + &domain("driver", "driver-domain", String::new())
        + &domain("reader", "disk", disk);
    std::fs::write(&scenario, text).context("writing a scenario")?;
    let trace = place("why-disk.bin").to_string_lossy().into_owned();
    let scenario = scenario.to_string_lossy();
    let line = ["trace", "record", &scenario, "--icount", "--seconds", "25", "--output", &trace];
    ensure!(figures("trace-disk", &line)?["lost"] == 0, "records are lost");
    let why = figures("trace-why-disk", &["trace", "why", &trace, "reader", "--slowest", "1"])?;
    let request = &why["requests"][0];
    let steps = request["steps"].as_array().context("no steps")?;
    let of = |stage: &str| -> u64 {
        steps.iter().filter(|step| step["stage"] == stage).filter_map(|step| step["ns"].as_u64()).sum()
    };
    for stage in ["disk's queue", "disk's ring", "disk's work", "device", "wake", "run queue", "work"] {
        ensure!(of(stage) > 0, "no time is laid to the {stage}: {request}");
    }
    ensure!(request["blame"][0]["domain"] == "device", "not the device is blamed: {request}");
    Ok(why["verdict"].as_str().unwrap_or_default().to_owned())
}

/// The other views of the trace that names the neighbour.
fn seen() -> Result<String> {
    let trace = flood()?;
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
