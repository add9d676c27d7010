//! The long counts: many guests, many seeds, a minute of hostility.
//! It exists apart from `test` because it takes as long as it takes.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::judge::{figures, sound};
use super::machine::{compare, hostility};
use super::part::Part;

/// In rising order of patience; `seeds` of the hostile runs in all.
pub(super) fn parts(seeds: u32) -> Vec<Part> {
    vec![
        Part::here("200 guests, suppression off", two_hundred),
        Part::here("icount, 32 guests, twice", repeated),
        Part::here("hostile neighbours, 60 s", || hostile(1, 60.0).map(|(_, remark)| remark)),
        Part::here(format!("{seeds} hostile seeds"), move || many(seeds)),
    ]
}

/// Boots with other seeds until so many hostile lives have been lived.
fn many(seeds: u32) -> Result<String> {
    let mut lived = BTreeSet::new();
    let mut boots = 0;
    while lived.len() < seeds as usize {
        boots += 1;
        ensure!(boots <= seeds, "{} seeds in {boots} boots: hostile guests do not get on", lived.len());
        let (figures, _) = hostile(100 + boots, 10.0)?;
        let seeds = figures["coverage"]["seeds"].as_array().context("no seeds in the coverage")?;
        lived.extend(seeds.iter().filter_map(serde_json::Value::as_u64));
    }
    Ok(format!("{} seeds in {boots} boots", lived.len()))
}

fn two_hundred() -> Result<String> {
    let figures = figures("guests-200", &["run", "--guests", "200", "--memory", "1G", "--suppress", "off"])?;
    ensure!(figures["runs"].as_array().map_or(0, Vec::len) == 2, "a policy is missing");
    Ok(format!("{}; {}", sound(&figures, 200)?, compare(&figures)?))
}

fn repeated() -> Result<String> {
    let once = |name| figures(name, &["run", "--icount", "--guests", "32"]);
    let (first, second) = (once("icount-32-1")?, once("icount-32-2")?);
    ensure!(first["runs"] == second["runs"], "the figures differ:\n{}\n{}", first["runs"], second["runs"]);
    sound(&first, 32)
}

fn hostile(seed: u32, seconds: f64) -> Result<(serde_json::Value, String)> {
    let (seed, seconds) = (seed.to_string(), seconds.to_string());
    let figures = figures(
        "hostile-long",
        &["run", "hostile", "--seed", &seed, "--seconds", &seconds, "--delivery", "batched"],
    )?;
    let remark = format!("{}; {}", sound(&figures, 16)?, hostility(&figures)?);
    Ok((figures, remark))
}
