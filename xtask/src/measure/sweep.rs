//! A sweep's figures as its JSON file has them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::point::Point;
use super::settings::Settings;

/// Everything that a sweep found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sweep {
    /// The command that makes these figures.
    pub(crate) command: String,
    /// What was measured.
    pub(crate) settings: Settings,
    /// A number that stands for the images.
    pub(crate) images: String,
    /// QEMU's version.
    pub(crate) qemu: String,
    /// How QEMU ran.
    pub(crate) accelerator: String,
    /// The points, by number of guests.
    pub(crate) points: Vec<Point>,
}

impl Sweep {
    /// Puts both ways to idle beside each other, where both were measured.
    pub(crate) fn compare_idling(&mut self) {
        let key = |point: &Point| (point.guests, point.suppress.clone(), point.delivery.clone());
        let plain = self.points.iter().filter(|point| point.idle == "plain" && point.throughput > 0.0);
        let plain: BTreeMap<_, f64> = plain.map(|point| (key(point), point.throughput)).collect();
        for point in self.points.iter_mut().filter(|point| point.idle == "timeout") {
            point.factor = plain.get(&key(point)).map(|base| point.throughput / base);
        }
    }

    /// As text.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).context("writing JSON")? + "\n")
    }
}

/// The version that QEMU says of itself.
pub(crate) fn qemu_version() -> Result<String> {
    let output = std::process::Command::new(crate::qemu::PROGRAM).arg("--version").output();
    let output = output.with_context(|| format!("starting {}", crate::qemu::PROGRAM))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The number, without what a distribution adds to it.
    let number =
        text.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    Ok(number.unwrap_or_default().to_owned())
}
