//! QEMU's monitor: it strikes, and reads memory while the machine runs.
//! It exists because nothing inside of the machine could do either unseen.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long it may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    /// A non-maskable interrupt.
    Nmi,
    /// A machine check after which all can go on.
    MachineCheck,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Greets it.
    pub(super) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER)).context("setting a timeout")?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.command(&json!({"execute": "qmp_capabilities"}))?;
        Ok(monitor)
    }

    /// Strikes once. A machine check says of itself, in bank 1, that it is uncorrected and that nothing is lost by it.
    pub(super) fn strike(&mut self, by: Strike) -> Result<()> {
        match by {
            Strike::Nmi => self.command(&json!({"execute": "inject-nmi"})).map(drop),
            Strike::MachineCheck => match self.human("mce 0 1 0xb000000000000000 5 0 0")?.trim() {
                "" => Ok(()),
                text => bail!("QEMU makes no machine check: {text}"),
            },
        }
    }

    /// Words of physical memory.
    pub(super) fn read(&mut self, address: u64, count: usize) -> Result<Vec<u64>> {
        let text = self.human(&format!("xp /{count}gx {address:#x}"))?;
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix("0x"));
        let words: Result<Vec<u64>, _> = words.map(|word| u64::from_str_radix(word, 16)).collect();
        match words {
            Ok(words) if words.len() == count => Ok(words),
            _ => bail!("QEMU's monitor shows no {count} words at {address:#x}: {text}"),
        }
    }

    fn human(&mut self, line: &str) -> Result<String> {
        let answer =
            self.command(&json!({"execute": "human-monitor-command", "arguments": {"command-line": line}}))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    fn command(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.stream.get_mut(), "{command}").context("writing to QEMU's monitor")?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).context("reading from QEMU's monitor")? == 0 {
                bail!("QEMU's monitor has closed the connection");
            }
            let mut answer: Value = serde_json::from_str(&line).context("QEMU's monitor writes no JSON")?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU's monitor refuses {command}: {error}");
            }
            // Greetings and events pass.
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }
}
