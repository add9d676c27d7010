//! A running QEMU: its serial lines, commands to the hypervisor, and its end.
//! It exists so that no path out of this program, not even its death, leaves a QEMU behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::affinity::{self, Place};
use super::stamp::Stamp;
use super::{Clock, Options, PROGRAM, arguments, shell};
use crate::scenario::Drive;
use crate::serial::Line;
use crate::tied;

/// The records whose coming is timed.
const STAMPED: &str = "snapshot";
/// How long the hypervisor may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// QEMU's status after an orderly end by the debug-exit device. A triple fault gives 0.
const EXIT_ORDERLY: i32 = 33;

/// Whether QEMU ended because the hypervisor powered off.
pub(crate) fn is_orderly(status: ExitStatus) -> bool {
    status.code() == Some(EXIT_ORDERLY)
}

/// A running QEMU. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    input: ChildStdin,
    lines: Receiver<(std::io::Result<Line>, Stamp)>,
    /// Of the last line that was taken.
    stamp: Stamp,
    ended: Arc<AtomicBool>,
    complaints: Option<JoinHandle<String>>,
    log: PathBuf,
    drives: Vec<Drive>,
    /// Where it is kept, if it must stay there.
    _place: Option<Place>,
    /// Says that its files are in use.
    claim: Option<File>,
}

/// What came next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// A line.
    Line(Line),
    /// Nothing until the time given.
    Timeout,
    /// The end of the machine.
    End,
}

impl Machine {
    /// Starts QEMU; every serial line also goes to the file `log`.
    pub(crate) fn start(options: &Options, log: &Path) -> Result<Self> {
        let arguments = arguments(options);
        let mut file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        std::fs::write(log.with_file_name("qemu.sh"), shell(&arguments) + "\n").context("writing qemu.sh")?;

        let mut command = tied::command(PROGRAM);
        command.args(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a group of its own: Ctrl-C is this program's to handle.
        command.process_group(0);
        let started = match options.clock {
            Clock::Counted { .. } => affinity::spawn(&mut command),
            Clock::Real | Clock::Kvm => command.spawn().map(|child| (child, None)),
        };
        let (mut child, place) = started.with_context(|| format!("starting {PROGRAM}"))?;
        let input = child.stdin.take().context("QEMU's input")?;
        let output = child.stdout.take().context("QEMU's output")?;
        let mut errors = child.stderr.take().context("QEMU's errors")?;

        let (send, lines) = channel();
        let process = child.id();
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut bytes = Vec::new();
            loop {
                bytes.clear();
                let item = match reader.read_until(b'\n', &mut bytes) {
                    Ok(0) => break,
                    Ok(_) => file.write_all(&bytes).map(|()| Line::parse(&String::from_utf8_lossy(&bytes))),
                    Err(error) => Err(error),
                };
                let failed = item.is_err();
                let stamp = match &item {
                    Ok(Line::Record { kind, .. }) if kind == STAMPED => Stamp::now(process),
                    _ => Stamp::default(),
                };
                if send.send((item, stamp)).is_err() || failed {
                    break;
                }
            }
            flag.store(true, Ordering::Release);
        });
        let complaints = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let stamp = Stamp::default();
        let (complaints, log, drives) = (Some(complaints), log.to_path_buf(), options.drives.clone());
        Ok(Self { child, input, lines, stamp, ended, complaints, log, drives, _place: place, claim: None })
    }

    /// Keeps a lock for as long as it is there.
    pub(crate) fn holding(mut self, claim: File) -> Self {
        self.claim = Some(claim);
        self
    }

    /// Where its serial lines are kept.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// A flag that turns true when the machine has ended.
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }

    /// When the last line came, if it was a snapshot, however late it was taken.
    pub(crate) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The next line, waiting no longer than until `deadline`.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Next> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((Ok(line), stamp)) => {
                self.stamp = stamp;
                Ok(Next::Line(line))
            }
            Ok((Err(error), _)) => Err(anyhow!(error).context(format!("writing {}", self.log.display()))),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Timeout),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }

    /// Gives the hypervisor a command and returns the record that answers it; `see` is shown every line on the way.
    pub(crate) fn command(&mut self, text: &str, mut see: impl FnMut(&Line)) -> Result<(String, Value)> {
        self.tell(text)?;
        let wanted = answer(text);
        let deadline = Instant::now() + ANSWER;
        loop {
            match self.next(deadline)? {
                Next::Line(line) => {
                    see(&line);
                    match line {
                        Line::Record { kind, body } if kind == "error" => {
                            let message =
                                body.get("message").and_then(Value::as_str).unwrap_or("no reason given");
                            bail!("the hypervisor refused {text:?}: {message}");
                        }
                        Line::Record { kind, body } if kind == wanted => return Ok((kind, body)),
                        _ => {}
                    }
                }
                Next::Timeout => {
                    bail!("no answer to {text:?} within {} s; see {}", ANSWER.as_secs(), self.log.display())
                }
                Next::End => return Err(self.death()),
            }
        }
    }

    /// Gives the hypervisor a command and waits for nothing.
    pub(crate) fn tell(&mut self, text: &str) -> Result<()> {
        writeln!(self.input, "{text}").and_then(|()| self.input.flush()).map_err(|_| self.death())
    }

    /// Kills QEMU at once, whatever it is doing.
    pub(crate) fn kill(&mut self) {
        // An end by itself came first then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Why the machine has ended, as an error: for an end that nobody asked for.
    pub(crate) fn death(&mut self) -> anyhow::Error {
        let status = self.status();
        let complaint = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let complaint =
            complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        if let Some(drive) = locked(&complaint).and_then(|number| self.drives.get(number)) {
            return drive.in_use.clone().into();
        }
        let how = match status {
            Some(status) if status.success() => "the processor reset itself".to_owned(),
            Some(status) if is_orderly(status) => "a domain powered it off".to_owned(),
            Some(status) => status.to_string(),
            None => "output closed".to_owned(),
        };
        let log = self.log.display();
        if complaint.is_empty() {
            anyhow!("the machine ended by itself ({how}); its log is {log}")
        } else {
            anyhow!("QEMU ended ({how}): {complaint}; the log is {log}")
        }
    }

    /// QEMU's status after its end; `None` if it does not end within a moment.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        for _ in 0..100 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Number of the drive that QEMU could not lock, if that is its complaint: another process has the image.
fn locked(complaint: &str) -> Option<usize> {
    let line = complaint.split("; ").find(|line| line.contains("Failed to get") && line.contains("lock"))?;
    let (_, after) = line.split_once("drive=d").or_else(|| line.split_once("node-name=d"))?;
    after.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// The kind of record that answers a command. Others come unasked at any time: a domain's life, the audit after its end.
fn answer(command: &str) -> &str {
    match command.split_whitespace().next() {
        Some(report @ ("snapshot" | "list" | "audit")) => report,
        _ => "ok",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn an_audit_that_nobody_asked_for_answers_no_other_command() {
        assert_eq!(answer("snapshot ready"), "snapshot");
        assert_eq!(answer("audit"), "audit");
        assert_eq!(answer("trace on"), "ok");
        assert_eq!(answer("delivery web-* batched"), "ok");
    }

    #[test]
    fn an_image_that_another_machine_has_is_told_by_its_drive() {
        let complaint = "qemu-system-x86_64: -device virtio-blk-pci,drive=d12,addr=0x1c,disable-legacy=on: \
                         Failed to get \"write\" lock; Is another process using the image [/x/kv.img]?";
        assert_eq!(locked(complaint), Some(12));
        assert_eq!(locked("qemu-system-x86_64: -drive file=d1: Could not open it"), None);
        assert_eq!(locked(""), None);
    }

    #[test]
    fn a_triple_fault_or_a_panic_is_no_orderly_end() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(is_orderly(exit(33)));
        assert!(!is_orderly(exit(0)), "QEMU ends with 0 when the processor resets");
        assert!(!is_orderly(exit(35)), "the hypervisor's panic");
    }
}
