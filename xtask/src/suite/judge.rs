//! Runs this program as a person would and judges the figures that it writes.
//! It exists so that a test of a whole run reads the same JSON as everybody.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::part::{log, run};
use crate::{compile, paths};

/// Runs `cargo xtask` with these arguments and returns the figures of its `--json`.
pub(super) fn figures(name: &str, arguments: &[&str]) -> Result<Value> {
    let json = log(name).with_extension("json");
    if json.exists() {
        std::fs::remove_file(&json).context("removing old figures")?;
    }
    let path = json.to_string_lossy().into_owned();
    let mut all: Vec<&str> = arguments.to_vec();
    all.extend(["--json", &path]);
    plain(name, &all)?;
    let text = std::fs::read_to_string(&json).context("the run left no figures")?;
    serde_json::from_str(&text).context("the figures are no JSON")
}

/// Runs `cargo xtask` with these arguments and returns its output.
pub(super) fn plain(name: &str, arguments: &[&str]) -> Result<String> {
    let program: PathBuf = std::env::current_exe().context("finding this program")?;
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let environment = [("CARGO_TARGET_DIR".to_owned(), paths::target().to_string_lossy().into_owned())];
    let log = log(name);
    run(&program.to_string_lossy(), &arguments, &environment, &log)?;
    std::fs::read_to_string(&log).context("reading the log")
}

/// Runs `cargo xtask` with these arguments, which must fail, and returns its output.
pub(super) fn refused(name: &str, arguments: &[&str]) -> Result<String> {
    ensure!(plain(name, arguments).is_err(), "`{}` did not fail", arguments.join(" "));
    std::fs::read_to_string(log(name)).context("reading the log")
}

/// Runs `cargo xtask` with a fault planted into the hypervisor.
pub(super) fn with_fault(fault: &str, arguments: &[&str]) -> Result<()> {
    let program: PathBuf = std::env::current_exe().context("finding this program")?;
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let environment = [
        ("CARGO_TARGET_DIR".to_owned(), paths::target().to_string_lossy().into_owned()),
        (compile::PLANTED.to_owned(), fault.to_owned()),
    ];
    run(&program.to_string_lossy(), &arguments, &environment, &log(fault))
}

/// Runs `cargo xtask` with a fault planted into the hypervisor, which must be found: the run fails, and says
/// these words.
pub(super) fn found(fault: &str, arguments: &[&str], words: &str) -> Result<()> {
    ensure!(with_fault(fault, arguments).is_err(), "the fault {fault} was not found");
    let text = std::fs::read_to_string(log(fault)).context("reading the log")?;
    ensure!(text.contains(words), "the run with the fault {fault} failed for another reason:\n{text}");
    Ok(())
}

/// A number in the figures, by JSON pointer.
pub(super) fn number(figures: &Value, pointer: &str) -> Result<f64> {
    figures
        .pointer(pointer)
        .and_then(Value::as_f64)
        .with_context(|| format!("the figures have no number {pointer}"))
}

/// Every guest answered, no request was lost, the audit held.
pub(super) fn sound(figures: &Value, guests: usize) -> Result<String> {
    let ready = number(figures, "/ready")?;
    ensure!(ready == guests as f64, "{ready} of {guests} guests answered");
    let runs = figures.pointer("/runs").and_then(Value::as_array).context("the figures have no runs")?;
    ensure!(!runs.is_empty(), "nothing was measured");
    let mut requests = 0.0;
    for run in runs {
        let errors = number(run, "/http/errors")?;
        ensure!(
            errors == 0.0,
            "{errors} errors: {}",
            run.pointer("/http/first_error").unwrap_or(&Value::Null)
        );
        let of_run = number(run, "/http/requests")?;
        ensure!(of_run > 0.0, "no request under {}", run.pointer("/delivery").unwrap_or(&Value::Null));
        requests += of_run;
    }
    ensure!(figures["audit"]["ok"] == true, "no audit held: {}", figures["audit"]);
    Ok(format!("{guests} guests, {requests} requests, no error"))
}

/// The records of a kind that a domain wrote.
pub(super) fn records(output: &str, name: &str, kind: &str) -> Result<Vec<Value>> {
    let wanted = format!("{name}| {kind} ");
    let bodies = output.lines().filter_map(|line| line.strip_prefix(&wanted));
    bodies.map(|body| serde_json::from_str(body).with_context(|| format!("reading {kind}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::sound;
    use serde_json::json;

    fn figures(ready: u32, errors: u32, audit: bool) -> serde_json::Value {
        json!({"ready": ready, "audit": {"ok": audit},
               "runs": [{"delivery": "batched", "http": {"requests": 5, "errors": errors}}]})
    }

    #[test]
    fn a_silent_guest_an_error_or_a_failed_audit_fails_a_run() {
        assert!(sound(&figures(2, 0, true), 2).is_ok());
        assert!(sound(&figures(1, 0, true), 2).is_err());
        assert!(sound(&figures(2, 1, true), 2).is_err());
        assert!(sound(&figures(2, 0, false), 2).is_err());
        assert!(sound(&json!({"ready": 2, "runs": []}), 2).is_err());
    }
}
