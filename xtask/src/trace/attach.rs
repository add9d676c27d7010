//! The way to a run that stays up: commands to its hypervisor, and where its trace lies.
//! It exists so that a trace is chosen, watched and recorded without the process that started the machine.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::load::Target;
use crate::{BadInput, paths};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(35);

/// A run that stays up.
#[derive(Debug)]
pub(crate) struct Attached {
    stream: BufReader<UnixStream>,
    about: About,
}

#[derive(Debug, Deserialize)]
struct About {
    scenario: String,
    trace: PathBuf,
    targets: Vec<Server>,
}

#[derive(Debug, Deserialize)]
struct Server {
    name: String,
    address: SocketAddr,
    page: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    error: String,
}

impl Attached {
    /// The run of this name, or the only one.
    ///
    /// # Errors
    /// [`BadInput`] if there is none, or without a name several.
    pub(crate) fn find(name: Option<&str>) -> Result<Self> {
        let names = match name {
            Some(name) => vec![name.to_owned()],
            None => std::fs::read_dir(paths::run(""))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        };
        let mut found: Vec<(String, UnixStream)> = names
            .into_iter()
            .filter_map(|name| UnixStream::connect(paths::door(&name)).ok().map(|stream| (name, stream)))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some((_, stream)), true) => Self::new(stream),
            (Some((last, _)), false) => {
                let names: Vec<String> = found.into_iter().map(|(name, _)| name).chain([last]).collect();
                Err(BadInput(format!("several runs are up; name one: {}", names.join(", "))).into())
            }
            (None, _) => {
                let name = name.unwrap_or("web");
                Err(BadInput(format!("no run is up; start one with `cargo xtask run {name} --keep`")).into())
            }
        }
    }

    fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER)).context("setting a time limit")?;
        let about = About { scenario: String::new(), trace: PathBuf::new(), targets: Vec::new() };
        let mut found = Self { stream: BufReader::new(stream), about };
        let about = found.ask("about")?;
        found.about = serde_json::from_value(about).context("the run's answer is not understood")?;
        Ok(found)
    }

    /// Gives a command and returns its answer's body.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Value> {
        writeln!(self.stream.get_mut(), "{line}").context("the run has ended")?;
        let mut text = String::new();
        let count = self.stream.read_line(&mut text).context("waiting for the run's answer")?;
        if count == 0 {
            bail!("the run has ended");
        }
        let answer: Answer = serde_json::from_str(&text).context("the run's answer is not understood")?;
        if answer.ok { Ok(answer.body) } else { Err(anyhow!(answer.error)) }
    }

    /// Whether the run is still up: one that sleeps and one that has ended write nothing alike.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn must_be_up(&mut self) -> Result<()> {
        let nonblocking =
            |stream: &UnixStream, yes| stream.set_nonblocking(yes).context("asking for the run");
        nonblocking(self.stream.get_ref(), true)?;
        // It says nothing unasked, so all that can be heard is that it has hung up.
        let heard = self.stream.fill_buf().map(<[u8]>::is_empty);
        nonblocking(self.stream.get_ref(), false)?;
        match heard {
            Ok(true) => bail!("the run has ended"),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error).context("the run has ended"),
            _ => Ok(()),
        }
    }

    /// Takes the trace for this process, sets what is to be recorded and begins.
    pub(crate) fn begin(&mut self, mode: &str, settings: &[String]) -> Result<()> {
        self.ask("lease")?;
        self.ask("trace off")?;
        self.ask(&format!("trace mode {mode}"))?;
        for setting in settings {
            self.ask(&format!("trace {setting}"))?;
        }
        self.ask("trace on").map(drop)
    }

    /// What runs.
    pub(crate) fn scenario(&self) -> &str {
        &self.about.scenario
    }

    /// Where its trace is written.
    pub(crate) fn trace(&self) -> &PathBuf {
        &self.about.trace
    }

    /// The host's way to its web servers.
    ///
    /// # Errors
    /// [`BadInput`] if it has none.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, BadInput> {
        let target = |server: &Server| Target {
            name: server.name.clone(),
            address: server.address,
            page: server.page.clone(),
        };
        let targets: Vec<Target> = self.about.targets.iter().map(target).collect();
        if targets.is_empty() {
            let name = self.scenario();
            return Err(BadInput(format!("scenario {name} has no web servers that could be loaded")));
        }
        Ok(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_hangs_up_has_ended() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let about = About { scenario: "web".to_owned(), trace: PathBuf::new(), targets: Vec::new() };
        let mut run = Attached { stream: BufReader::new(ours), about };
        run.must_be_up().unwrap();
        // It can still be asked.
        writeln!(&theirs, "{{\"ok\":true,\"body\":7,\"error\":\"\"}}").unwrap();
        run.must_be_up().unwrap();
        assert_eq!(run.ask("trace").unwrap(), 7);
        drop(theirs);
        assert_eq!(run.must_be_up().unwrap_err().to_string(), "the run has ended");
    }
}
