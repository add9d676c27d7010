//! Takes a live trace out of the shared memory while the machine runs, so that the hypervisor has room to go on.
//! It exists because in live mode the oldest records stay until somebody has read them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hypervisor_core::trace::reader::{Entry, Tally};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A thread that reads.
#[derive(Debug)]
pub(crate) struct Drain {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally>>,
}

impl Drain {
    /// Begins to read the trace that this file will hold.
    pub(crate) fn start(path: &Path) -> Self {
        Self::watch(path, |_| ())
    }

    /// The same, and shows each record to somebody.
    pub(crate) fn watch(path: &Path, see: impl FnMut(&Entry) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, seen) = (path.to_owned(), stop.clone());
        Self { stop, thread: std::thread::spawn(move || read(&path, &seen, see)) }
    }

    /// Reads what is left, and ends; what was read and lost in all.
    pub(crate) fn finish(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("reading the live trace failed"))?
    }
}

fn read(path: &PathBuf, stop: &AtomicBool, mut see: impl FnMut(&Entry)) -> Result<Tally> {
    let writer = || -> std::io::Result<File> { OpenOptions::new().write(true).open(path) };
    let mut reader = None;
    loop {
        let last = stop.load(Ordering::Acquire);
        match &mut reader {
            // Before the hypervisor has come up there is no header.
            None => {
                if let Ok(records) = super::input::open(path) {
                    reader =
                        Some((records, writer().with_context(|| format!("opening {}", path.display()))?));
                    continue;
                }
            }
            Some((records, file)) => {
                records.by_ref().for_each(|entry| see(&entry));
                for (index, word) in records.consumed() {
                    file.write_all_at(&word.to_le_bytes(), index as u64 * 8)?;
                }
                if !last {
                    records.refresh()?;
                }
            }
        }
        if last {
            let Some((mut records, _)) = reader else { return Ok(Tally::default()) };
            records.refresh()?;
            records.by_ref().for_each(|entry| see(&entry));
            return Ok(records.tally());
        }
        std::thread::sleep(PAUSE);
    }
}
