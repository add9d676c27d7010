//! The ISO, started by the very lines that `image` prints.
//! It exists because a line that is printed and not tried is wrong sooner or later.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::judge::plain;
use super::part::Part;
use crate::load::{Target, fetch_each};
use crate::setup::{self, ISO};
use crate::tied;

/// How long a machine may take from power-on to an answering guest.
const PATIENCE: Duration = Duration::from_secs(90);
/// What names the network card that a machine lacks.
const CARD: &str = "1af4:1041";

/// One part for each printed line.
pub(super) fn parts() -> Vec<Part> {
    ["BIOS", "UEFI", "without"]
        .map(|which| Part::here(format!("ISO: {which}"), move || started(which)))
        .into()
}

fn started(which: &str) -> Result<String> {
    if let Err(error) = setup::need(ISO) {
        return Ok(format!("skipped: {error:#}"));
    }
    let output = plain("image", &["image", "web"])?;
    let mut lines = output.lines().skip_while(|line| !line.starts_with(which));
    let heading = lines.next().with_context(|| format!("image prints no line for {which}"))?;
    let line = lines.next().context("no line follows the heading")?.trim().to_owned();
    let port = output
        .lines()
        .find_map(|line| line.split_once("http://127.0.0.1:")?.1.split('/').next()?.parse().ok());
    let port: u16 = port.context("image prints no address")?;
    let mut machine = Started::new(&line)?;
    if heading.contains("without") {
        machine.until(|text| text.contains(CARD)).context("the missing card is not named")?;
        machine.until(|text| text.contains("web-32| ")).context("the last guest does not run")?;
        return Ok(format!("guests run, {CARD} is named as missing"));
    }
    let target =
        Target { name: "web-1".to_owned(), address: ([127, 0, 0, 1], port).into(), page: "/page".to_owned() };
    let silent = fetch_each(&[target], Instant::now() + PATIENCE, &Arc::default(), |_target| ())?;
    ensure!(silent.is_empty(), "{silent:?}; the serial line's end: {}", machine.last());
    Ok("web-1 answers".to_owned())
}

/// A machine started by a shell line; killed when dropped.
#[derive(Debug)]
struct Started {
    child: Child,
    lines: Receiver<String>,
}

impl Started {
    fn new(line: &str) -> Result<Self> {
        let mut command: Command = tied::command("sh");
        command.args(["-c", &format!("exec {line}")]).current_dir(crate::paths::root());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {line}"))?;
        let output = child.stdout.take().context("the machine's output")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut bytes = Vec::new();
            while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                bytes.clear();
                if send.send(text).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// Waits for a line.
    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return Ok(()),
                Ok(_) => {}
                Err(error) => bail!("{error} after {} s", PATIENCE.as_secs()),
            }
        }
    }

    /// The last line so far.
    fn last(&self) -> String {
        self.lines.try_iter().last().unwrap_or_default()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
