//! The door of a run that stays up: a socket by which other commands look at its trace and choose what is recorded.
//! It exists because the serial line belongs to the process that started the machine.
//!
//! A line is a command of the hypervisor's, or `about` or `lease`; each is answered by one line of JSON. Whoever leases the
//! trace reads the live stream alone; when its connection ends, the trace is as the scenario says again.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::session::Session;
use crate::load::Target;
use crate::paths;
use crate::scenario::HTTP;

/// Commands that are passed on.
const PASSED: &[&str] = &["trace", "delivery", "snapshot", "list", "audit"];
/// Longest line that is read.
const LINE_MAX: u64 = 4096;
/// Brings the choice of what is recorded back to where it was before the scenario had a say.
const RESET: &[&str] = &[
    "trace off",
    "trace categories all",
    "trace domains all",
    "trace calls all",
    "trace longer 0",
    "trace stop never",
    "trace buffer all",
    "trace mode flight",
];

/// What came in.
#[derive(Debug)]
enum Visit {
    /// A line, and the way back.
    Asked { who: u64, line: String, answer: Sender<Value> },
    /// The end of a connection.
    Gone { who: u64 },
}

/// An open door. Dropping it takes the socket away.
#[derive(Debug)]
pub(super) struct Door {
    visits: Receiver<Visit>,
    path: PathBuf,
    /// Settings of the scenario's own.
    settings: Vec<String>,
    /// Whether the scenario wants the trace on.
    on: bool,
    /// Who has the trace.
    leased: Option<u64>,
    about: Value,
}

impl Door {
    /// Opens the door of a run of this name.
    pub(super) fn open(name: &str, session: &Session) -> Result<Self> {
        let path = paths::door(name);
        if UnixStream::connect(&path).is_ok() {
            bail!("another run of {name} is up");
        }
        let _ = std::fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
        let (send, visits) = channel();
        std::thread::spawn(move || {
            for (who, stream) in (0..).zip(listener.incoming().flatten()) {
                let send = send.clone();
                std::thread::spawn(move || {
                    let _ = attend(who, &stream, &send);
                    send.send(Visit::Gone { who })
                });
            }
        });
        // Only web servers are loaded.
        let web = session.plan.guests.iter().all(|guest| guest.port == HTTP);
        let target =
            |target: &Target| json!({"name": target.name, "address": target.address, "page": target.page});
        let targets: Vec<Value> = session.targets.iter().filter(|_| web).map(target).collect();
        let trace = paths::run(name).join("trace.bin");
        let about = json!({"scenario": name, "trace": trace, "targets": targets});
        let config = &session.plan.config;
        let (settings, on) = (config.trace_settings.clone(), config.trace);
        Ok(Self { visits, path, settings, on, leased: None, about })
    }

    /// Answers whoever comes within this time.
    ///
    /// # Errors
    /// When the machine has ended.
    pub(super) fn serve(&mut self, session: &mut Session, wait: Duration) -> Result<()> {
        let Ok(visit) = self.visits.recv_timeout(wait) else { return Ok(()) };
        match visit {
            Visit::Asked { who, line, answer } => {
                let result = self.ask(session, who, line.trim());
                if session.machine.ended().load(std::sync::atomic::Ordering::Acquire) {
                    return Err(session.machine.death());
                }
                let _ = answer.send(match result {
                    Ok(body) => json!({"ok": true, "body": body}),
                    Err(error) => json!({"ok": false, "error": format!("{error:#}")}),
                });
            }
            Visit::Gone { who } if self.leased == Some(who) => {
                self.leased = None;
                for command in RESET {
                    session.command(command)?;
                }
                for setting in &self.settings {
                    session.command(&format!("trace {setting}"))?;
                }
                if self.on {
                    session.command("trace on")?;
                }
            }
            Visit::Gone { .. } => {}
        }
        Ok(())
    }

    fn ask(&mut self, session: &mut Session, who: u64, line: &str) -> Result<Value> {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("about"), None) => Ok(self.about.clone()),
            (Some("lease"), None) if self.leased.is_some_and(|holder| holder != who) => {
                bail!("somebody else reads the live trace of this run")
            }
            (Some("lease"), None) => {
                self.leased = Some(who);
                Ok(Value::Null)
            }
            (Some("trace"), Some("mode" | "buffer")) if self.leased.is_some_and(|holder| holder != who) => {
                bail!("the trace is being read: its mode and its buffer stay as they are")
            }
            (Some(word), _) if PASSED.contains(&word) => session.command(line),
            _ => bail!("the door knows about, lease, {}", PASSED.join(", ")),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes lines from a connection and answers them, until its end.
fn attend(who: u64, stream: &UnixStream, send: &Sender<Visit>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LINE_MAX).read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Ok(());
        }
        let (answer, answered) = channel();
        let asked = send.send(Visit::Asked { who, line, answer });
        let Some(body) = asked.ok().and_then(|()| answered.recv().ok()) else { return Ok(()) };
        writeln!(&*stream, "{body}")?;
    }
}
