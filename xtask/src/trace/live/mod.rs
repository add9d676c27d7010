//! `cargo xtask trace live`: a system that runs, interval by interval, in the manner of `xentop` and `perf kvm stat live`.
//! It reads the live stream, so it shows what the trace records and costs what the trace costs.

mod board;
mod keys;
mod picture;
mod plain;
mod screen;
mod wrap;

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::attach::Attached;
use super::input::{self, Records};
use super::setting::{chosen, setting};
use super::write_json;
use crate::cli::Live;
use crate::interrupt;
use crate::load::load;
use board::Board;
use picture::Picture;

pub(super) use picture::rate;

/// Between two looks at the stream; the shared memory holds many times what comes meanwhile.
const LOOK: Duration = Duration::from_millis(25);

/// The stream of a system that runs, and what it shows.
struct Stream {
    run: Attached,
    records: Records,
    shared: File,
    board: Board,
    /// When the last record was read, and its time: both clocks go at the same pace.
    anchor: (Instant, u64),
}

impl Stream {
    fn new(mut run: Attached, settings: &[String]) -> Result<Self> {
        run.begin("live", settings)?;
        let records = input::open(run.trace())?;
        let opened = OpenOptions::new().write(true).open(run.trace());
        let shared = opened.with_context(|| format!("opening {}", run.trace().display()))?;
        Ok(Self { run, records, shared, board: Board::default(), anchor: (Instant::now(), 0) })
    }

    /// Reads what has come, and makes room for more.
    fn pump(&mut self) -> Result<()> {
        let before = self.board.now();
        for entry in self.records.by_ref() {
            self.board.see(&entry);
        }
        self.run.must_be_up()?;
        if self.board.now() > before {
            self.anchor = (Instant::now(), self.board.now());
        }
        for (index, word) in self.records.consumed() {
            self.shared.write_all_at(&word.to_le_bytes(), index as u64 * 8).context("saying what is read")?;
        }
        self.records.refresh().context("the trace is gone")
    }

    /// What the interval that ends now was like. A system that sleeps writes nothing, so its time is told by this clock.
    fn picture(&mut self) -> Picture {
        let (seen, at) = self.anchor;
        let now = at.saturating_add(u64::try_from(seen.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.board.close(now, self.run.scenario(), &self.records)
    }

    /// Gives a setting of the trace to the running system.
    fn control(&mut self, text: &str) -> Result<()> {
        let line = match text.trim() {
            word @ ("on" | "off") => format!("trace {word}"),
            text => format!("trace {}", setting(":", text)?),
        };
        self.run.ask(&line).map(drop)
    }
}

/// Watches a run that is up.
///
/// # Errors
/// [`BadInput`] for a bad setting and if no run is up; else when the run ends.
pub(super) fn live(options: &Live) -> Result<()> {
    let settings = chosen(&options.choice)?;
    let run = Attached::find(options.run.as_deref())?;
    interrupt::install()?;
    interrupt::be_gentle();
    let stop = Arc::new(AtomicBool::new(false));
    if let Some(connections) = options.load {
        let (targets, stop) = (run.targets()?, stop.clone());
        let day = Duration::from_secs(86_400);
        std::thread::spawn(move || load(&targets, connections as usize, day, &stop));
    }
    let mut stream = Stream::new(run, &settings)?;
    let mut pictures = Vec::new();
    let mut keep = |picture: &Picture| {
        if options.json.json.is_some() {
            pictures.push(picture.clone());
        }
    };
    let result = if std::io::stdout().is_terminal() {
        screen::run(options, &mut stream, &mut keep)
    } else {
        plain::run(options, &mut stream, &mut keep)
    };
    stop.store(true, Ordering::Release);
    result?;
    write_json(&options.json, &pictures)
}

/// Watches a damaged trace as if it were live.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn tried(bytes: &[u8]) {
    let Ok(mut reader) = hypervisor_core::trace::reader::Reader::new(bytes) else { return };
    let mut board = Board::default();
    while let Some(entry) = reader.next() {
        board.see(&entry);
        if reader.tally().records.is_multiple_of(100) {
            let mut picture = board.close(entry.time_ns, "test", &reader);
            picture.sort(crate::cli::Sort::Rings, true);
            let _ = plain::text(&picture);
        }
    }
    let picture = board.close(u64::MAX, "test", &reader);
    assert!(picture.domains.iter().all(|row| row.running.is_none_or(|share| share.is_finite())));
}
