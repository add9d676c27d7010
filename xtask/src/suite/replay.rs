//! The parts about replay: a run in QEMU, and the same run again on the host, to the same state or to the first difference.
//! They run counted, so that what is recorded is the same each time.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::judge::{figures, number, plain, refused, with_fault};
use super::part::Part;
use crate::paths;

/// Fewest hypercalls of the run that must be played to the same state.
const CALLS: f64 = 100_000.0;

/// The part that each change is tried by.
pub(super) fn part() -> Part {
    Part::counted("replay: hostile neighbours", "hostile", || same("2", "0.5", 5_000.0))
}

/// The parts that take longer.
pub(super) fn long() -> Vec<Part> {
    vec![
        Part::here("replay: 100,000 hypercalls", || same("16", "4", CALLS)),
        Part::here("replay: a planted fault is named", named),
        Part::here("replay: a panic becomes a test", kept),
    ]
}

/// Where a recording lies.
fn place(name: &str) -> String {
    paths::run("suite").join(format!("{name}.replay")).to_string_lossy().into_owned()
}

/// Plays a recording, which must come out otherwise than it was; the figures.
fn differing(name: &str, recording: &str) -> Result<Value> {
    let json = paths::run("suite").join(format!("{name}-replay.json"));
    let path = json.to_string_lossy().into_owned();
    refused(&format!("{name}-replay"), &["trace", "replay", recording, "--json", &path])?;
    let text = std::fs::read_to_string(&json).context("the replay left no figures")?;
    serde_json::from_str(&text).context("the figures are no JSON")
}

/// A run of so many guests and seconds, with at least so many hypercalls, is played to the same state.
fn same(guests: &str, seconds: &str, least: f64) -> Result<String> {
    let file = place("hostile");
    let line = "run hostile --icount --delivery batched --guests";
    let line = line.split(' ').chain([guests, "--seconds", seconds, "--record", &file]);
    let line: Vec<&str> = line.collect();
    plain("replay-record", &line)?;
    let played = figures("replay", &["trace", "replay", &file])?;
    ensure!(played["outcome"] == "same" && played["powered_off"] == true, "{played}");
    let (calls, digests) = (number(&played, "/hypercalls")?, number(&played, "/digests")?);
    ensure!(calls >= least && digests > 1.0, "only {calls} hypercalls, {digests} digests");
    // Cut short or changed, it is refused before anything is played.
    let mut bytes = std::fs::read(&file).context("reading the recording")?;
    bytes.truncate(bytes.len() / 2);
    std::fs::write(place("cut"), &bytes).context("writing a damaged recording")?;
    let said = refused("replay-cut", &["trace", "replay", &place("cut")])?;
    ensure!(said.contains("cut short"), "a recording that is cut short: {said}");
    std::fs::remove_file(&file).context("removing the recording")?;
    Ok(format!("{calls} hypercalls, {} questions and answers, {digests} digests", played["compared"]))
}

fn named() -> Result<String> {
    let file = place("planted");
    with_fault("console-write", &["run", "hello", "--icount", "--record", &file])?;
    let found = differing("planted", &file)?;
    let difference = &found["difference"];
    // The fault is in what the call answers, and `hello` makes the first of them.
    ensure!(
        difference["domain"] == "hello"
            && difference["what"].as_str().is_some_and(|what| what.contains("console_io(0x0,"))
            && difference["expected"].as_str().is_some_and(|text| text.contains("rax=0x1"))
            && difference["got"].as_str().is_some_and(|text| text.contains("rax=0x0")),
        "the first difference is another: {difference}"
    );
    let before = number(difference, "/call")?;
    ensure!(number(&found, "/calls")? == before, "it went on after call {before}");
    Ok(format!("call {before}: {}", difference["what"]))
}

/// A hypervisor that panics leaves a recording; kept, it is a test that the sound core passes.
fn kept() -> Result<String> {
    let (file, name) = (place("panic"), "suite-panic");
    let line = "run hostile --icount --guests 4 --seconds 1 --delivery batched --record";
    let line: Vec<&str> = line.split(' ').chain([file.as_str()]).collect();
    ensure!(with_fault("console-read", &line).is_err(), "the hypervisor did not panic");
    let played = figures("replay-panic", &["trace", "replay", &file, "--test", name])?;
    ensure!(played["broken_off"] == true && played["outcome"] == "same", "{played}");
    let test = paths::root().join("tests").join("replays").join(format!("{name}.replay"));
    let tried = super::part::run(
        "cargo",
        &["test", "--quiet", "--package", "tests", "--test", "replays"].map(str::to_owned),
        &[],
        &super::part::log("replay-kept"),
    );
    std::fs::remove_file(&test).context("removing the test")?;
    tried?;
    Ok(format!("{} calls to the panic", played["calls"]))
}
