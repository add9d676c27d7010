//! The part about the interrupt's path: every stage is there, and says what delivery does to it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::judge::figures;
use super::part::Part;

/// The short one.
pub(super) fn part() -> Part {
    Part::here("bench path: an event's stages", staged)
}

/// Eight guests under both policies.
fn staged() -> Result<String> {
    let found = figures("bench-path", &["bench", "path", "--guests", "8"])?;
    let points = found["points"].as_array().context("no points")?;
    ensure!(points.len() == 2, "{} points", points.len());
    let mut wholes = Vec::new();
    for delivery in ["synchronous", "batched"] {
        let point = points.iter().find(|point| point["delivery"] == delivery);
        let point = point.with_context(|| format!("nothing is measured {delivery}"))?;
        ensure!(point["lost"] == 0, "{delivery}: {} records are lost", point["lost"]);
        let all = point["stages"].as_array().context("no stages")?;
        ensure!(all.iter().any(|one| one["of_device"] == true), "{delivery}: no device is followed");
        let median =
            |stage: &str| median(all, stage).with_context(|| format!("{delivery}: no stage {stage}"));
        let parts = ["pending", "woken", "switched-to", "upcall", "handler-done"];
        let longest =
            parts.into_iter().map(median).try_fold(0, |most, one| Ok::<_, anyhow::Error>(one?.max(most)))?;
        let whole = median("whole")?;
        ensure!(longest <= whole, "{delivery}: a stage takes {longest}, all of them {whole}");
        wholes.push(whole);
    }
    ensure!(wholes[0] < wholes[1], "batching has nobody wait: {wholes:?}");
    Ok(format!("a sleeping target's whole way: {} instructions, batched {}", wholes[0], wholes[1]))
}

/// The median of a stage of events from domains to a target that sleeps.
fn median(stages: &[Value], stage: &str) -> Option<u64> {
    let wanted =
        |one: &&Value| one["of_device"] == false && one["target"] == "sleeps" && one["stage"] == stage;
    stages.iter().find(wanted)?["p50_ns"].as_u64()
}
