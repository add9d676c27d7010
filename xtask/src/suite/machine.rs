//! The parts that run in QEMU, small: the long counts are `soak`'s.
//! It exists so that every kind of run is tried on each change.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::bad_ends;
use super::bad_images;
use super::disks;
use super::failing;
use super::files;
use super::judge::{figures, number, plain, sound};
use super::kv;
use super::opening;
use super::part::Part;
use super::replay;
use crate::bench;
use crate::run::Coverage;

/// In the order of what builds on what, but that counted ones stand together, the longest first.
pub(super) fn parts() -> Vec<Part> {
    vec![
        Part::here("hello in 1 MiB", hello),
        Part::counted("measure: weights and bad neighbours", "slices", shared),
        Part::counted("hostile neighbours in ring 3, 1 s counted", "hostile", || hostile("3")),
        Part::counted("hostile neighbours in ring 1, 1 s counted", "hostile", || hostile("1")),
        replay::part(),
        Part::counted("processes in ring 1, counted", "processes", || processes("1")),
        Part::counted("processes in ring 3, counted", "processes", || processes("3")),
        Part::counted("measure: twice the same figures", "measure", measured),
        Part::counted("icount: suppression off", "inside", unsuppressed),
        Part::counted("icount: twice the same figures", "inside", repeated),
        Part::counted("rings: a system call stays inside", "rings", inside),
        Part::counted("measure: adaptive delivery with time to spare", "measure", spared),
        Part::counted("kernels in both rings, counted", "mixed", mixed),
        Part::counted("bench: twice the same counts", "bench", benched),
        Part::counted("sensitive instructions in each ring", "sensitive", sensitive),
        Part::here("web: both policies, host", web),
        Part::here("strikes in ring 1, a brief sweep", || strikes("1")),
        Part::here("strikes in ring 3, a brief sweep", || strikes("3")),
        Part::here("bad images beside good ones", bad_images::beside_good_ones),
        Part::here("disks, judged by their images", disks::written),
        Part::here("many disks of one guest, and one without memory", disks::many),
        Part::here("a disk with bad sectors beside a good one", failing::sectors),
        Part::here("bad front ends of disks, briefly", || bad_ends::fronts(1, 100)),
        Part::here("a bad back end for disks, briefly", || bad_ends::back(1, 50)),
        Part::here("files of an ext4 disk from 8 guests", files::served),
        Part::here("kv: its driver domain crashes 5 times", || kv::crashed("storage", 5)),
        Part::here("kv: QEMU is killed 10 times", || kv::killed(10)),
        Part::here("kv: connections that ask nothing give way", kv::crowded),
        Part::here("kv: the loss of an overlay is noticed", kv::lost),
        Part::here("kv: a disk that fails takes no acknowledged change with it", failing::server),
        Part::here("kv: a disk of somebody else's is left as it is", kv::refused),
        Part::here("driver domain crashes 5 times", || crashed("web", 4, 5, 4.0)),
        Part::here("driver domain crashes 20 times as connections open", || opening::crashed(20)),
    ]
}

fn hello() -> Result<String> {
    let output = plain("hello", &["run", "hello", "--seconds", "20"])?;
    ensure!(output.contains("hello| hello from hello"), "the guest did not say hello:\n{output}");
    let image = crate::paths::run("guests").join("hello");
    let bytes = std::fs::metadata(&image).context("looking at hello's image")?.len();
    ensure!(bytes <= 256 << 10, "hello's image has {bytes} bytes; the limit is 256 KiB");
    Ok(format!("image of {} KiB", bytes >> 10))
}

/// Every process that the guest runs comes to the end that it should, and the guest goes on.
fn processes(ring: &str) -> Result<String> {
    let name = format!("processes-{ring}");
    let output = plain(&name, &["run", "processes", "--ring", ring, "--icount", "--seconds", "300"])?;
    let line = |kind: &str| output.lines().rev().find_map(|line| line.split_once(kind)).map(|(_, body)| body);
    let body = line("processes| @processes ")
        .with_context(|| format!("the guest did not come to its end:\n{output}"))?;
    let totals: Value = serde_json::from_str(body).context("reading @processes")?;
    let (good, of) = (number(&totals, "/good")?, number(&totals, "/of")?);
    ensure!(totals["cpl"].as_u64() == ring.parse().ok(), "the kernel runs in another ring: {totals}");
    let bad: Vec<&str> = output.lines().filter(|line| line.contains("\"ok\":false")).collect();
    ensure!(good == of && of > 0.0 && bad.is_empty(), "{good} of {of} as they should be: {bad:?}");
    ensure!(
        output.contains("@audit") && output.contains("\"ok\":true,\"total_frames\""),
        "no audit held:\n{output}"
    );
    Ok(format!("{good} of {of} acts"))
}

/// The hypervisor counts no entry for a system call to a kernel in ring 1, and two for one in ring 3.
fn inside() -> Result<String> {
    let measured = |ring: &str| -> Result<Value> {
        let arguments = ["run", "rings", "--ring", ring, "--icount", "--seconds", "300"];
        let output = plain(&format!("rings-{ring}"), &arguments)?;
        let found = output.lines().filter_map(|line| line.split_once("bench| @bench ")).map(|(_, body)| body);
        let of = found.filter_map(|body| serde_json::from_str::<Value>(body).ok());
        of.into_iter()
            .find(|one| one["name"] == "user_system_call")
            .with_context(|| format!("no system call was measured:\n{output}"))
    };
    let (one, three) = (measured("1")?, measured("3")?);
    let figures =
        |of: &Value| Ok::<_, anyhow::Error>((number(of, "/instructions")?, number(of, "/entries")?));
    let ((instructions, entries), (instructions3, entries3)) = (figures(&one)?, figures(&three)?);
    ensure!(entries == 0.0, "{entries} entries into the hypervisor for a system call in ring 1");
    ensure!(
        (1.9..2.1).contains(&entries3),
        "{entries3} entries for one in ring 3, which the counters must see"
    );
    ensure!(instructions <= 60.0, "{instructions} instructions for a system call in ring 1");
    ensure!(instructions3 <= 300.0, "{instructions3} instructions for a system call in ring 3");
    Ok(format!("{instructions} instructions in ring 1, {instructions3} in ring 3"))
}

fn web() -> Result<String> {
    let figures = figures("web", &["run", "web", "--guests", "8", "--seconds", "2"])?;
    for domain in figures["domains"].as_array().context("no domains")? {
        ensure!(
            domain["cpl_seen"] == domain["ring"],
            "a guest runs in another ring than it should: {domain}"
        );
    }
    sound(&figures, 8)
}

fn unsuppressed() -> Result<String> {
    // Counted, so that the comparison does not depend on how busy this machine is.
    let figures = figures(
        "unsuppressed",
        &["run", "--icount", "--guests", "8", "--seconds", "0.5", "--suppress", "off"],
    )?;
    sound(&figures, 8)?;
    let suppressed = number(&figures, "/runs/0/interrupts/suppressed")?;
    ensure!(suppressed == 0.0, "{suppressed} notifications were suppressed");
    compare(&figures)
}

/// Batched delivery must batch: more events for an upcall, fewer switches for a request.
pub(super) fn compare(figures: &Value) -> Result<String> {
    let of = |run: usize, key: &str| number(figures, &format!("/runs/{run}/interrupts/{key}"));
    let (events, switches) = ("events_per_upcall", "switches_per_request");
    let (sync_events, batched_events) = (of(0, events)?, of(1, events)?);
    let (sync_switches, batched_switches) = (of(0, switches)?, of(1, switches)?);
    let remark = format!(
        "events/upcall {sync_events:.2} to {batched_events:.2}, switches/request {sync_switches:.2} to {batched_switches:.2}"
    );
    if batched_events <= sync_events || batched_switches >= sync_switches {
        bail!("batched delivery did not batch: {remark}");
    }
    Ok(remark)
}

fn repeated() -> Result<String> {
    let once = |name| figures(name, &["run", "--icount", "--guests", "4", "--seconds", "0.3"]);
    let (first, second) = (once("icount-1")?, once("icount-2")?);
    sound(&first, 4)?;
    for key in ["runs", "memory", "domains"] {
        ensure!(first[key] == second[key], "{key} differ:\n{}\n{}", first[key], second[key]);
    }
    ensure!(first["boot"]["virtual_ms"] == second["boot"]["virtual_ms"], "the start took another time");
    Ok(format!("{} requests each", number(&first, "/runs/0/http/requests")?))
}

/// A sweep repeats exactly but for wall times, and its policies were really in force.
fn measured() -> Result<String> {
    let sweep = |name| {
        let line = ["measure", "batching", "--guests", "2", "--rounds", "1", "--settled", "30"];
        let mut figures = figures(name, &line)?;
        for point in figures["points"].as_array_mut().context("no points")? {
            let point = point.as_object_mut().context("a point is a table")?;
            // What the host's time is in.
            for key in ["wall_ratio", "wall", "cpu_ratio", "cpu"] {
                point.remove(key);
            }
        }
        Ok::<Value, anyhow::Error>(figures["points"].take())
    };
    let (first, second) = (sweep("measure-1")?, sweep("measure-2")?);
    ensure!(first == second, "the points differ:\n{first}\n{second}");
    let points = first.as_array().context("no points")?;
    for point in points {
        ensure!(point["ready"] == 2 && point["errors"] == 0, "not all was answered: {point}");
        ensure!(point["requests"].as_u64().is_some_and(|requests| requests > 50), "few requests: {point}");
    }
    let switches = |at: usize| points.get(at).and_then(|point| point["switches_per_request"].as_f64());
    ensure!(switches(0) > switches(1), "batched delivery did not save switches: {first}");
    Ok(format!("{} points", points.len()))
}

/// While the processor idles now and then, adaptive delivery does what synchronous delivery does, and batched does not.
fn spared() -> Result<String> {
    let line = ["measure", "batching", "--guests", "8", "--rate", "4000", "--rounds", "1", "--settled", "50"];
    let figures = figures("measure-spared", &line)?;
    let figure = |at: usize, key: &str| number(&figures, &format!("/points/{at}/{key}"));
    let [synchronous, batched, adaptive] = [0, 1, 2].map(|at| figure(at, "switches_per_request"));
    let (synchronous, batched, adaptive) = (synchronous?, batched?, adaptive?);
    ensure!(batched < 0.9 * synchronous, "batched delivery is not in force: {figures}");
    ensure!((adaptive / synchronous - 1.0).abs() < 0.01, "adaptive delivery is not synchronous: {figures}");
    let p99 = figure(2, "p99_us")? / figure(0, "p99_us")?;
    ensure!(p99 < 1.05, "it costs {p99} of p99: {figures}");
    Ok(format!("{synchronous:.2} and {adaptive:.2} switches a request, batched {batched:.2}"))
}

/// Weights are honoured within 2 %, and no bad neighbour takes 2 % of another's work.
fn shared() -> Result<String> {
    let line = ["measure", "slices", "--guests", "8", "--slices", "1", "--window", "100"];
    let figures = figures("slices", &line)?;
    let together = number(&figures, "/points/1/against_one")?;
    ensure!(together > 0.98, "8 guests do only {together} of one guest's work");
    let worst = number(&figures, "/weights/worst_error")?;
    ensure!(worst < 0.02, "a share is {worst} off its weight: {}", figures["weights"]);
    let beside = figures["neighbours"].as_array().context("no neighbours")?;
    for one in beside {
        ensure!(number(one, "/against_computing")? > 0.98, "a bad neighbour takes too much: {one}");
        ensure!(number(one, "/neighbour_units")? > 1000.0, "a neighbour that does nothing: {one}");
    }
    Ok(format!("8 guests {together} of one, weights within {worst}, {} kinds of neighbours", beside.len()))
}

fn hostile(ring: &str) -> Result<String> {
    let figures = figures(
        &format!("hostile-{ring}"),
        &[
            "run",
            "hostile",
            "--icount",
            "--guests",
            "4",
            "--seconds",
            "1",
            "--delivery",
            "batched",
            "--ring",
            ring,
        ],
    )?;
    Ok(format!("{}; {}", sound(&figures, 4)?, hostility(&figures)?))
}

/// An NMI and a machine check before most instructions of the ways in and out, and all goes on.
fn strikes(ring: &str) -> Result<String> {
    swept(&figures(&format!("strikes-{ring}"), &["strike", "sweep", "--brief", "--ring", ring])?)
}

/// Says what a sweep struck, if that was enough for a brief one.
pub(super) fn swept(figures: &Value) -> Result<String> {
    let of = |key: &str| number(figures, key);
    let (struck, instructions, open) = (of("/struck")?, of("/instructions")?, of("/open")?);
    ensure!(struck > 0.8 * instructions, "only {struck} of {instructions} instructions were struck");
    let (nmis, checks) = (of("/nmis_counted")?, of("/machine_checks_counted")?);
    Ok(format!("{struck} of {instructions} instructions, {open} open; {nmis} NMIs, {checks} machine checks"))
}

/// Guests in ring 1 whose driver domain and client are in ring 3.
fn mixed() -> Result<String> {
    let figures = figures("mixed", &["run", "mixed", "--icount", "--seconds", "0.3"])?;
    let domains = figures["domains"].as_array().context("no domains")?;
    // The figures name the measured guests alone; that they answer at all is the other ring's doing.
    ensure!(
        domains.iter().all(|domain| domain["cpl_seen"] == 1 && domain["ring"] == 1),
        "a web guest does not run in ring 1"
    );
    sound(&figures, 8)
}

/// Hostile guests did something, and no answer was one that must not be.
pub(super) fn hostility(figures: &Value) -> Result<String> {
    let coverage = coverage(figures)?;
    ensure!(coverage.calls > 1000, "only {} hostile hypercalls", coverage.calls);
    ensure!(coverage.breaches.is_empty(), "{} breaches", coverage.breaches.len());
    let (lives, calls) = (coverage.seeds.len(), coverage.calls);
    let seen = coverage.due.len() - coverage.missing.len();
    Ok(format!(
        "{lives} hostile lives, {calls} hypercalls, {seen} of {} reachable answers",
        coverage.due.len()
    ))
}

/// What hostile guests tried.
pub(super) fn coverage(figures: &Value) -> Result<Coverage> {
    serde_json::from_value(figures["coverage"].clone()).context("the figures have no coverage")
}

/// A driver domain that dies under load and is built again costs its guests time alone. `web`: load from the host through
/// the real network card; `inside`: from a guest.
pub(super) fn crashed(scenario: &str, guests: u32, crashes: u32, seconds: f64) -> Result<String> {
    let (count, times, length) = (guests.to_string(), crashes.to_string(), seconds.to_string());
    let load = if scenario == "inside" { "inside" } else { "host" };
    let mut line = vec!["run", scenario, "--load", load, "--guests", &count, "--seconds", &length];
    line.extend(["--delivery", "batched", "--crash", "driver", "--crashes", &times]);
    let figures = figures(&format!("crashes-{scenario}"), &line)?;
    ensure!(figures["deaths"]["driver"] == crashes, "deaths: {}", figures["deaths"]);
    Ok(format!("{}, {crashes} crashes", sound(&figures, guests as usize)?))
}

fn benched() -> Result<String> {
    let once = |name| figures(name, &["bench", "operations"]);
    let (first, second) = (once("bench-1")?, once("bench-2")?);
    let operations = first["operations"].as_object().context("no operations")?;
    let differing: Vec<String> = operations
        .iter()
        .filter(|(name, one)| **one != second["operations"][name.as_str()])
        .map(|(name, one)| format!("{name} {one} and {}", second["operations"][name.as_str()]))
        .collect();
    ensure!(differing.is_empty(), "the counts differ: {}", differing.join(", "));
    let over = bench::over(&first);
    ensure!(over.is_empty(), "more than half of Xen's: {}", over.join(", "));
    Ok(format!("{} operations, none over half of Xen's", operations.len()))
}

fn sensitive() -> Result<String> {
    let figures = figures("sensitive", &["bench", "sensitive"])?;
    let count = figures["instructions"].as_object().map_or(0, serde_json::Map::len);
    ensure!(count > 100, "only {count} instructions");
    Ok(format!("{count} instructions as the document says"))
}
