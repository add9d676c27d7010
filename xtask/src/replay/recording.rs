//! Takes a log out of the memory that the hypervisor shares, while the machine runs, into a file.
//! The hypervisor waits when the memory is full, so nothing of a run is lost, however long it is.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hypervisor_core::replay::file::{Kind, header, member, part};
use hypervisor_core::replay::kept::About;
use hypervisor_core::replay::ring;

use crate::paths;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);
/// Most bytes of one part of the file.
const PART: u64 = 4 << 20;

/// A recording under way. Dropping it, after the machine has ended, completes the file.
#[derive(Debug)]
pub(crate) struct Recording {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
    path: PathBuf,
}

impl Recording {
    /// Asks the hypervisor, by the memory that it will share (a file of zeros), to write its run down, and begins to
    /// take it out. `members` are the files of the boot archive.
    pub(crate) fn start(
        shared: &Path,
        path: &Path,
        about: &About,
        members: &[(String, Vec<u8>)],
    ) -> Result<Self> {
        let ring = Ring::open(shared)?;
        ring.set(ring::ASKED, ring::MAGIC)?;
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        let mut file = BufWriter::new(file);
        file.write_all(&header())?;
        file.write_all(&part(Kind::About, &serde_json::to_vec(about).context("writing JSON")?))?;
        for (name, contents) in members {
            file.write_all(&part(Kind::Member, &member(name, contents)))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let taken = take(&ring, &mut file, &seen);
            file.write_all(&part(Kind::End, &[]))?;
            file.flush().context("writing the recording")?;
            taken
        });
        Ok(Self { stop, thread: Some(thread), path: path.to_owned() })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        let path = paths::shown(&self.path);
        match thread.join().unwrap_or_else(|_| Err(anyhow!("the thread that takes it failed"))) {
            Ok(bytes) => tell!("recorded {} KiB: cargo xtask trace replay {path}", bytes >> 10),
            Err(error) => tell!("error: the recording {path} is not whole: {error:#}"),
        }
    }
}

/// The ring in the shared memory.
#[derive(Debug)]
struct Ring {
    file: File,
    /// Offset of its first word.
    first: u64,
    /// Bytes that it holds.
    bytes: u64,
}

impl Ring {
    fn open(shared: &Path) -> Result<Self> {
        let open = || -> std::io::Result<File> { OpenOptions::new().read(true).write(true).open(shared) };
        let file = open().with_context(|| format!("opening {}", shared.display()))?;
        let words = usize::try_from(file.metadata()?.len() / 8)?;
        let first = ring::first(words);
        let bytes = (words - first).saturating_sub(ring::DATA) * 8;
        Ok(Self { file, first: first as u64 * 8, bytes: bytes as u64 })
    }

    fn get(&self, word: usize) -> Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, self.first + word as u64 * 8)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set(&self, word: usize, value: u64) -> Result<()> {
        self.file.write_all_at(&value.to_le_bytes(), self.first + word as u64 * 8)?;
        Ok(())
    }
}

/// Takes bytes until it is told to stop and all are taken; how many.
fn take(ring: &Ring, file: &mut impl Write, stop: &AtomicBool) -> Result<u64> {
    let mut taken = 0;
    let mut buffer = vec![0; PART as usize];
    loop {
        let last = stop.load(Ordering::Acquire);
        let put = ring.get(ring::PUT)?;
        if put < taken || put - taken > ring.bytes {
            bail!("the shared memory says that {put} bytes were put, of which {taken} were taken");
        }
        while taken < put {
            let at = taken % ring.bytes;
            let count = (put - taken).min(ring.bytes - at).min(PART);
            let bytes = &mut buffer[..count as usize];
            ring.file.read_exact_at(bytes, ring.first + ring::DATA as u64 * 8 + at)?;
            file.write_all(&part(Kind::Log, bytes))?;
            taken += count;
            ring.set(ring::TAKEN, taken)?;
        }
        if last {
            return Ok(taken);
        }
        std::thread::sleep(PAUSE);
    }
}
