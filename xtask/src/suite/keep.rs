//! A run that stays up beside the part that judges it, and ends with that part.

use std::fs::File;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::part::log;
use crate::{paths, tied};

/// How long a run may take to come up or to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A connection to a guest of such a run, which hears an answer in time or fails.
pub(super) fn connect(address: impl ToSocketAddrs) -> Result<TcpStream> {
    let client = TcpStream::connect(address).context("connecting")?;
    client.set_read_timeout(Some(PATIENCE)).context("setting a time limit")?;
    Ok(client)
}

/// A run that stays up. Dropping it ends it.
pub(super) struct Kept {
    child: Child,
    log: PathBuf,
}

impl Kept {
    /// Runs these words of `run` and waits until the guests answer. `name` is that of its log.
    pub(super) fn start(name: &str, words: &[&str]) -> Result<Self> {
        let log = log(name);
        std::fs::create_dir_all(paths::run("suite")).context("making the suite's folder")?;
        let file = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let program = std::env::current_exe().context("finding this program")?;
        let child = tied::command(&program.to_string_lossy())
            .args(["run", "--keep"])
            .args(words)
            .env("CARGO_TARGET_DIR", paths::target())
            .stdin(Stdio::null())
            .stderr(file.try_clone().context("sharing the log")?)
            .stdout(file)
            .spawn()
            .context("starting a run")?;
        let mut kept = Self { child, log };
        let deadline = Instant::now() + PATIENCE;
        while !kept.said().contains("Ctrl-C ends the machine") {
            ensure!(Instant::now() < deadline, "the run does not come up:\n{}", kept.said());
            if kept.child.try_wait().context("looking at the run")?.is_some() {
                bail!("the run has ended:\n{}", kept.said());
            }
            std::thread::sleep(LOOK);
        }
        Ok(kept)
    }

    /// What it has said so far.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end; whether it was a good one.
    pub(super) fn end(&mut self) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().context("looking at the run")? {
                return Ok(status.success());
            }
            ensure!(Instant::now() < deadline, "the run does not end:\n{}", self.said());
            std::thread::sleep(LOOK);
        }
    }

    /// Asks it to end, as Ctrl-C does.
    pub(super) fn interrupt(&mut self) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &id]).status().context("starting kill")?;
        ensure!(status.success(), "the run could not be interrupted");
        Ok(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
