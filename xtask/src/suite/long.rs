//! The long counts: many guests, many seeds, a minute of hostility.
//! It exists apart from `test` because it takes as long as it takes.

use anyhow::{Result, ensure};

use super::bad_ends;
use super::disks;
use super::host;
use super::judge::{figures, found, number, sound};
use super::kv;
use super::machine::{compare, coverage, crashed, hostility, swept};
use super::part::Part;
use crate::run::Coverage;

/// Seconds of virtual time in each of the boots that gather seeds: several lives of half a second for each domain.
const SECONDS_A_BOOT: f64 = 3.0;

/// In rising order of patience; `seeds` of the hostile runs in all.
pub(super) fn parts(seeds: u32) -> Vec<Part> {
    vec![
        Part::here("200 guests, suppression off", two_hundred),
        Part::here("icount, 256 guests in 1 GiB", quarter_of_a_thousand),
        Part::here("icount, 32 guests, twice", repeated),
        Part::here("256 overlays of one image", disks::overlays),
        Part::here("bad front ends of disks, 10 seeds", || bad_ends::fronts(10, 300)),
        Part::here("a bad back end for disks, 10 seeds", || bad_ends::back(10, 150)),
        Part::here("driver domain crashes 20 times, host", || crashed("web", 32, 20, 20.0)),
        Part::here("driver domain crashes 20 times, inside", || crashed("inside", 32, 20, 20.0)),
        Part::here("kv: its driver domain crashes 100 times", || kv::crashed("storage", 100)),
        Part::here("kv: its network's domain crashes 20 times", || kv::crashed("network", 20)),
        Part::here("kv: QEMU is killed 200 times", || kv::killed(200)),
        Part::here("hostile neighbours and the host, 20 s", beside_the_host),
        Part::here(format!("{seeds} hostile seeds of half a second, ring 3"), move || many(seeds, "3")),
        Part::here(format!("{seeds} hostile seeds of half a second, ring 1"), move || many(seeds, "1")),
        Part::here("strikes at each instruction, ring 1", || strikes("1")),
        Part::here("strikes at each instruction, ring 3", || strikes("3")),
        Part::here("30,000 paced NMIs, ring 1", || paced("1")),
        Part::here("30,000 paced NMIs, ring 3", || paced("3")),
        super::storm::long(),
        Part::command(
            "10,000 mutated traces in every view",
            "cargo",
            &["test", "--quiet", "--package", "xtask", "--lib", "a_mutated_or_spliced_file_ends_every_view"],
            &[("DAMAGE_SEEDS", "10000")],
        ),
        Part::here("properties, other cases", || host::other_cases(20)),
        Part::here("planted faults are found", planted),
        Part::here("hostile neighbours, 60 s counted", a_minute),
    ]
}

/// Boots with other seeds until so many hostile lives have been lived in full. Together they get every answer that
/// there is to get.
fn many(seeds: u32, ring: &str) -> Result<String> {
    let mut all = Coverage::default();
    let mut boots = 0;
    while all.whole.len() < seeds as usize {
        boots += 1;
        ensure!(
            boots <= seeds,
            "{} whole lives in {boots} boots: hostile guests do not get on",
            all.whole.len()
        );
        all.absorb(coverage(&hostile(100 + boots, SECONDS_A_BOOT, ring)?.0)?);
    }
    // A few seeds are not expected to see everything.
    ensure!(all.missing.is_empty() || seeds < 100, "{}", all.reached());
    let (whole, lives) = (all.whole.len(), all.seeds.len());
    Ok(format!(
        "{whole} lives of half a second and {} shorter ones in {boots} boots; {}",
        lives - whole,
        all.reached()
    ))
}

fn two_hundred() -> Result<String> {
    let figures = figures("guests-200", &["run", "--guests", "200", "--memory", "1G", "--suppress", "off"])?;
    ensure!(figures["runs"].as_array().map_or(0, Vec::len) == 2, "a policy is missing");
    Ok(format!("{}; {}", sound(&figures, 200)?, compare(&figures)?))
}

/// Each of them answers, in the memory that a fourth of a thousand may take.
fn quarter_of_a_thousand() -> Result<String> {
    let line = [
        "run",
        "inside",
        "--icount",
        "--guests",
        "256",
        "--memory",
        "1G",
        "--delivery",
        "batched",
        "--seconds",
        "0.1",
    ];
    sound(&figures("inside-256", &line)?, 256)
}

fn repeated() -> Result<String> {
    let once = |name| figures(name, &["run", "--icount", "--guests", "32", "--suppress", "off"]);
    let (first, second) = (once("icount-32-1")?, once("icount-32-2")?);
    ensure!(first["runs"] == second["runs"], "the figures differ:\n{}\n{}", first["runs"], second["runs"]);
    Ok(format!("{}; {}", sound(&first, 32)?, compare(&first)?))
}

/// Real time, a real client, a real network card.
fn beside_the_host() -> Result<String> {
    let figures = figures("hostile-host", &["run", "hostile", "--seconds", "20", "--delivery", "batched"])?;
    Ok(format!("{}; {}", sound(&figures, 16)?, hostility(&figures)?))
}

fn a_minute() -> Result<String> {
    hostile(1, 60.0, "3").map(|(_, remark)| remark)
}

fn hostile(seed: u32, seconds: f64, ring: &str) -> Result<(serde_json::Value, String)> {
    let (seed, seconds) = (seed.to_string(), seconds.to_string());
    let figures = figures(
        "hostile-long",
        &[
            "run",
            "hostile",
            "--icount",
            "--seed",
            &seed,
            "--seconds",
            &seconds,
            "--delivery",
            "batched",
            "--ring",
            ring,
        ],
    )?;
    let remark = format!("{}; {}", sound(&figures, 16)?, hostility(&figures)?);
    Ok((figures, remark))
}

/// No instruction of the ways in and out is left out without a reason.
fn strikes(ring: &str) -> Result<String> {
    swept(&figures(&format!("strikes-all-{ring}"), &["strike", "sweep", "--ring", ring])?)
}

/// As many NMIs are counted as came, and none of the instructions where many came is left out.
fn paced(ring: &str) -> Result<String> {
    let line = ["strike", "paced", "--ring", ring, "--count", "30000"];
    let figures = figures(&format!("paced-{ring}"), &line)?;
    let of = |key: &str| number(&figures, key);
    let (counted, in_stubs) = (of("/counted")?, of("/in_stubs")?);
    let (often, reached) = (of("/often")?, of("/reached")?);
    ensure!(often >= 20.0, "only {often} instructions are in pieces that were struck often");
    ensure!(counted == 30_000.0, "{counted} of 30,000 NMIs were counted");
    Ok(format!(
        "{counted} counted, {in_stubs} of them in the ways in and out; no gap in {often} of {reached} instructions"
    ))
}

/// The hostile guest in ring 1 finds each fault that is planted into the hypervisor.
fn planted() -> Result<String> {
    let faults = [
        ("writable-area", "has not just one page that can be written"),
        ("frame-kept", "holds more than our last frame"),
        ("interrupt-gate", "ring1/exit.rs"),
    ];
    for (fault, words) in faults {
        let arguments = ["run", "hostile", "--icount", "--guests", "4", "--seconds", "0.2", "--ring", "1"];
        found(fault, &arguments, words)?;
    }
    Ok(format!("{} faults", faults.len()))
}
