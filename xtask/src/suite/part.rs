//! A part of a suite, and the report over all of them.
//! It exists so that one failure neither hides the others nor goes unseen.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;

use super::space;
use super::turns::Turns;
use crate::cli::Json;
use crate::{html, paths, table, tied};

/// What a part does: it may return a remark for the report.
type Action = Box<dyn Fn() -> Result<String> + Send + Sync>;

/// One part.
pub(super) struct Part {
    name: String,
    action: Action,
    /// The run that it makes, if another part may go on beside it: not one that makes the same.
    run: Option<&'static str>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({})", self.name)
    }
}

impl Part {
    /// A part that is a function of this program.
    pub(super) fn here(
        name: impl Into<String>,
        action: impl Fn() -> Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), action: Box::new(action), run: None }
    }

    /// One that judges a counted run, of this name: how busy the host is changes nothing, so that another may go on beside it.
    pub(super) fn counted(
        name: &str,
        run: &'static str,
        action: impl Fn() -> Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self { run: Some(run), ..Self::here(name, action) }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Does it, and says how it went.
    fn outcome(&self) -> Outcome {
        // What goes on beside others says so when it is done, in one line.
        let name = format!("{:<44} ", self.name);
        if self.run.is_none() {
            crate::say::aside(format_args!("{name}"));
        }
        let start = Instant::now();
        let result = (self.action)();
        let seconds = (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let (ok, remark) = match result {
            Ok(remark) => (true, remark),
            Err(error) => (false, format!("{error:#}")),
        };
        let name = if self.run.is_some() { name.as_str() } else { "" };
        let mark = if ok { "ok".to_owned() } else { format!("FAILED\n    {remark}") };
        tell!("{name}{seconds:>6.1} s  {mark}");
        Outcome { name: self.name.clone(), ok, seconds, remark }
    }

    /// A part that is a command, good when its status is 0.
    pub(super) fn command(
        name: &str,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = log(name);
        let program = program.to_owned();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let environment: Vec<(String, String)> = environment.iter().map(owned).collect();
        Self::here(name, move || {
            run(&program, &arguments, &environment, &log)?;
            Ok(counted(&std::fs::read_to_string(&log).unwrap_or_default()))
        })
    }
}

/// Runs parts beside each other; what came out, in their order.
fn together(parts: &[Part]) -> Vec<Outcome> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let turns = Turns::new(parts.iter().map(|part| part.run).collect());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(parts.len()) {
            scope.spawn(|| {
                while let Some(at) = turns.next() {
                    let outcome = parts[at].outcome();
                    turns.done(at);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// What a log says of tests that passed, over all of its `test result:` lines; nothing if it says nothing.
fn counted(log: &str) -> String {
    let passed: u64 = log
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u64>().ok())
        .sum();
    if passed == 0 { String::new() } else { format!("{passed} tests") }
}

/// The log of a part of this name.
pub(super) fn log(name: &str) -> PathBuf {
    let plain: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    paths::run("suite").join(format!("{plain}.log"))
}

/// Runs a command, its output in a log.
///
/// # Errors
/// What panicked and the last lines of its output when its status is not 0.
pub(super) fn run(
    program: &str,
    arguments: &[String],
    environment: &[(String, String)],
    log: &Path,
) -> Result<()> {
    let folder = log.parent().context("a log lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
    let status = tied::command(program)
        .args(arguments)
        .envs(environment.iter().cloned())
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .stderr(file.try_clone().context("sharing the log")?)
        .stdout(file)
        .status()
        .with_context(|| format!("starting {program}"))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    Err(anyhow!("{status}; of {}:\n    {}", paths::shown(log), telling(&text).join("\n    ")))
}

/// The lines of a log that say most: each panic with its first line, then the end.
fn telling(log: &str) -> Vec<&str> {
    let lines: Vec<&str> = log.lines().collect();
    let end = lines.len().saturating_sub(25);
    let panics = (0..end).filter(|&at| lines[at].contains("panicked at")).take(10);
    panics.flat_map(|at| &lines[at..end.min(at + 2)]).chain(&lines[end..]).copied().collect()
}

/// How a part went.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    name: String,
    ok: bool,
    seconds: f64,
    remark: String,
}

impl Outcome {
    fn row(&self) -> html::Row<'_> {
        html::Row { name: &self.name, ok: self.ok, seconds: self.seconds, remark: &self.remark }
    }
}

/// The report over all parts.
#[derive(Debug)]
pub(super) struct Report {
    name: &'static str,
    started: Instant,
    outcomes: Vec<Outcome>,
}

impl Report {
    /// Of a suite of this name, which begins now.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, started: Instant::now(), outcomes: Vec::new() }
    }

    /// Runs parts, one after the other; counted ones that follow each other go on beside each other, one for each processor.
    pub(super) fn run(&mut self, parts: &[Part]) {
        for parts in parts.chunk_by(|one, next| one.run.is_some() && next.run.is_some()) {
            let began = SystemTime::now();
            let outcomes = match parts {
                [alone] => vec![alone.outcome()],
                many => together(many),
            };
            if outcomes.iter().all(|outcome| outcome.ok) {
                space::tidied(began);
            }
            self.outcomes.extend(outcomes);
        }
    }

    fn page(&self) -> Result<String> {
        let rows: Vec<_> = self.outcomes.iter().map(Outcome::row).collect();
        html::suite(self.name, &rows)
    }

    /// Prints the table and writes the figures.
    ///
    /// # Errors
    /// When a part failed.
    pub(super) fn finish(self, options: &Json) -> Result<()> {
        let total: Duration = self.started.elapsed();
        let mut rows = table::new(&["part", "seconds", "result", "remark"]);
        for one in &self.outcomes {
            let remark = if one.ok { one.remark.as_str() } else { "see below" };
            let seconds = format!("{:.1}", one.seconds);
            rows.add_row([one.name.as_str(), &seconds, if one.ok { "ok" } else { "FAILED" }, remark]);
        }
        say!("{rows}\n{} in {:.0} s", self.name, total.as_secs_f64());
        let text = serde_json::to_string_pretty(&self.outcomes).context("writing JSON")? + "\n";
        if let Some(path) = &options.json {
            std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
        }
        let kept = paths::run("suite").join(format!("{}.html", self.name));
        std::fs::write(&kept, self.page()?).with_context(|| format!("writing {}", kept.display()))?;
        say!("report: {}", kept.display());
        let failed: Vec<_> = self.outcomes.iter().filter(|one| !one.ok).collect();
        // Whoever reads only the end learns what is wrong.
        failed.iter().for_each(|one| say!("{}: {}", one.name, one.remark));
        let failed = failed.len();
        say!("{} passed, {failed} failed", self.outcomes.len() - failed);
        match failed {
            0 => Ok(()),
            failed => bail!("{failed} of {} parts failed", self.outcomes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_the_midst_of_a_long_log_is_told() {
        let mut log = "running\nthread 'a' panicked at b.rs:1:2:\nleft is not right\nnote: none\n".to_owned();
        log.push_str(&"   0: frame\n".repeat(60));
        log.push_str("error: 1 target failed");
        let told = telling(&log);
        assert_eq!(told[..2], ["thread 'a' panicked at b.rs:1:2:", "left is not right"]);
        assert_eq!((told.len(), told.last()), (27, Some(&"error: 1 target failed")));
        let brief = "thread 'a' panicked at b.rs:1:2:\nleft is not right";
        assert_eq!(telling(brief).len(), 2);
    }
}
