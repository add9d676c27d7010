//! A key-value server whose driver domain dies under load, and whose machine does.
//! It exists because what a server says is durable has to be there after anything.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::judge::{figures, number};

/// A driver domain of the server crashes under load so often. No client sees an error, no change that was acknowledged is
/// lost, all frames are there in the end: `kv load` fails otherwise.
pub(super) fn crashed(domain: &str, times: u32) -> Result<String> {
    let count = times.to_string();
    let line = ["kv", "load", "--seconds", "1", "--crash", domain, "--crashes", &count];
    let figures = figures(&format!("kv-{domain}"), &line)?;
    ensure!(figures["crashes"] == times && figures["crashed"] == domain, "other crashes: {figures}");
    let changes = changes(&figures, times)?;
    let longest = number(&figures, "/longest_ms")?;
    Ok(format!("{changes} changes, {times} crashes, the longest wait {longest} ms"))
}

/// QEMU is killed under load so often. Each time the disk holds what was acknowledged, as it was left and as a power cut
/// may have left it: `kv load` fails otherwise.
pub(super) fn killed(times: u32) -> Result<String> {
    let count = times.to_string();
    let figures = figures("kv-kills", &["kv", "load", "--seconds", "1", "--kills", &count])?;
    ensure!(figures["kills"] == times, "other kills: {figures}");
    let (changes, flushes) = (changes(&figures, times)?, number(&figures, "/flushes")?);
    let cuts = number(&figures, "/power_cuts")?;
    ensure!(cuts >= f64::from(times), "only {cuts} power cuts");
    ensure!(flushes >= 2.0 * f64::from(times), "only {flushes} flushes before {times} kills");
    Ok(format!("{changes} changes, {times} kills, {cuts} power cuts"))
}

/// How many changes were acknowledged; some for each death.
fn changes(figures: &Value, deaths: u32) -> Result<f64> {
    let changes = number(figures, "/changes")?;
    ensure!(changes >= f64::from(deaths), "only {changes} changes with {deaths} deaths");
    ensure!(figures["audit"]["ok"] == true, "no audit held: {}", figures["audit"]);
    Ok(changes)
}
