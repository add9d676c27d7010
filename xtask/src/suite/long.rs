//! The long counts: many guests, many seeds, a minute of hostility.
//! It exists apart from `test` because it takes as long as it takes.

use anyhow::{Result, ensure};

use super::judge::{figures, sound};
use super::machine::compare;
use super::part::Part;

/// Seeds of one boot: each hostile domain draws its own.
const SEEDS_A_BOOT: u32 = 10;

/// In rising order of patience; `seeds` of the hostile runs in all.
pub(super) fn parts(seeds: u32) -> Vec<Part> {
    let mut parts = vec![
        Part::here("200 guests, suppression off", two_hundred),
        Part::here("icount, 32 guests, twice", repeated),
        Part::here("hostile neighbours, 60 s", || hostile("hostile-60", 1, 60.0)),
    ];
    for boot in 0..seeds.div_ceil(SEEDS_A_BOOT) {
        let first = 1 + boot * SEEDS_A_BOOT;
        let name = format!("hostile seeds {first} to {}", first + SEEDS_A_BOOT - 1);
        parts.push(Part::here(name, move || hostile("hostile-seeds", first, 5.0)));
    }
    parts
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

fn hostile(name: &str, seed: u32, seconds: f64) -> Result<String> {
    let (seed, seconds) = (seed.to_string(), seconds.to_string());
    let figures =
        figures(name, &["run", "hostile", "--seed", &seed, "--seconds", &seconds, "--delivery", "batched"])?;
    sound(&figures, 16)
}
