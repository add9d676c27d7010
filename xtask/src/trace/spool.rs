//! Writes a live trace to a file while it is recorded: block after block, whatever its length.
//! It exists because the shared memory holds 64 MiB and a recording may be longer; the file reads as a trace whose storage
//! was as large as it had to be.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hypervisor_core::trace::layout::{
    BLOCKS_START, STREAM_BLOCKS, STREAM_CONSUMED, STREAM_FIRST, STREAM_HEAD, STREAM_WORDS, STREAMS_START,
};
use hypervisor_core::trace::reader::{Header, StreamHeader};

use super::input::Words;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// After so long also what is not complete is written, so that the file has what was recorded whenever the recording ends.
const FLUSH: Duration = Duration::from_millis(200);

/// A thread that writes.
#[derive(Debug)]
pub(crate) struct Spool {
    stop: Arc<AtomicBool>,
    /// Set when the recording has ended by itself.
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Spool {
    /// Begins to copy the trace that `from` will hold, to at most so many bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn start(from: &Path, to: &Path, limit: u64) -> Result<Self> {
        let copy = Copy::new(from, to, limit)?;
        let (stop, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (seen, told) = (stop.clone(), over.clone());
        Ok(Self { stop, over, thread: std::thread::spawn(move || copy.run(&seen, &told)) })
    }

    /// Whether the recording has ended by itself, or cannot go on.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.thread.is_finished()
    }

    /// Copies what is left, and ends.
    pub(crate) fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("copying the live trace failed"))?
    }
}

#[derive(Debug)]
struct Copy {
    source: Words,
    /// The shared memory, to say what is consumed.
    shared: File,
    to: File,
    path: PathBuf,
    /// Sequence number of the last block that was copied whole.
    copied: u64,
    /// What guests recorded, which is little and goes to the file's end.
    aside: Aside,
    limit: u64,
    /// Whether the limit was reached.
    full: bool,
}

/// Blocks of the guests' stream.
#[derive(Debug, Default)]
struct Aside {
    /// Sequence number of the last that is complete.
    copied: u64,
    /// Blocks in `words`: those, and perhaps the one in use.
    held: u64,
    words: Vec<u64>,
}

impl Copy {
    fn new(from: &Path, to: &Path, limit: u64) -> Result<Self> {
        let opened = || OpenOptions::new().read(true).write(true).open(from);
        let shared = opened().with_context(|| format!("opening {}", from.display()))?;
        let source = Words::new(shared.try_clone().context("sharing the trace")?);
        let file = File::create(to).with_context(|| format!("writing {}", to.display()))?;
        Ok(Self {
            source,
            shared,
            to: file,
            path: to.to_owned(),
            copied: 0,
            aside: Aside::default(),
            limit,
            full: false,
        })
    }

    fn run(mut self, stop: &AtomicBool, over: &AtomicBool) -> Result<()> {
        let mut flushed = Instant::now();
        loop {
            let last = stop.load(Ordering::Acquire);
            // Before the hypervisor has come up there is no header.
            if let Ok(header) = Header::read(&mut self.source) {
                let all = last || flushed.elapsed() >= FLUSH;
                self.pass(&header, all, last)?;
                if all {
                    flushed = Instant::now();
                }
                if header.triggered.is_some() || self.full {
                    over.store(true, Ordering::Release);
                }
            }
            if last {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Copies the blocks that are complete, of all also the one in use, and the header.
    fn pass(&mut self, header: &Header, all: bool, last: bool) -> Result<()> {
        let mut live = header.streams.iter().enumerate().filter(|(_, stream)| !stream.of_nmis);
        let Some((index, stream)) = live.next() else { return Ok(()) };
        if let Some((_, guests)) = live.next() {
            self.take_aside(guests, all, last)?;
        }
        ensure!(live.next().is_none(), "the trace has more live streams than can be copied");
        let complete = if all { stream.head } else { stream.head.saturating_sub(1) };
        if complete < self.copied {
            bail!("the trace was begun anew while it was copied");
        }
        let mut block = vec![0; stream.block_words];
        let mut reached = self.copied;
        for sequence in self.copied + 1..=complete {
            let at = self.place(sequence, stream);
            if at * 8 > self.limit {
                // What follows finds no room in the shared memory and is counted as lost there.
                self.full = true;
                break;
            }
            self.read(stream.block((sequence - 1) % stream.blocks.max(1)), &mut block)?;
            if !is(&block, sequence, stream, last)? {
                break;
            }
            self.write(at, &block)?;
            reached = sequence;
        }
        let new = reached > self.copied;
        // The last one may still grow, so it is not consumed.
        self.copied = reached.min(stream.head.saturating_sub(1));
        let consumed = stream.consumed_at as u64 * 8;
        self.shared.write_all_at(&self.copied.to_le_bytes(), consumed).context("saying what is consumed")?;
        if new || all {
            self.head(header, index, reached, all)?;
        }
        Ok(())
    }

    /// Copies the blocks of the guests' stream that are complete; of all also the one in use.
    fn take_aside(&mut self, stream: &StreamHeader, all: bool, last: bool) -> Result<()> {
        let complete = stream.head.saturating_sub(1);
        ensure!(complete >= self.aside.copied, "the trace was begun anew while it was copied");
        let mut block = vec![0; stream.block_words];
        // The one that was in use has grown.
        self.aside.words.truncate(self.aside.copied as usize * stream.block_words);
        self.aside.held = self.aside.copied;
        for sequence in self.aside.copied + 1..=if all { stream.head } else { complete } {
            if self.aside.words.len() as u64 * 8 > self.limit {
                self.full = true;
                break;
            }
            self.read(stream.block((sequence - 1) % stream.blocks.max(1)), &mut block)?;
            if !is(&block, sequence, stream, last)? {
                break;
            }
            self.aside.words.extend_from_slice(&block);
            self.aside.held = sequence;
        }
        self.aside.copied = self.aside.held.min(complete);
        let consumed = self.aside.copied;
        let at = stream.consumed_at as u64 * 8;
        self.shared.write_all_at(&consumed.to_le_bytes(), at).context("saying what is consumed")
    }

    /// Where a block goes.
    fn place(&self, sequence: u64, stream: &StreamHeader) -> u64 {
        BLOCKS_START as u64 + (sequence - 1) * stream.block_words as u64
    }

    /// Writes header, names, and past the blocks the streams of non-maskable interrupts and of guests.
    fn head(&mut self, header: &Header, live: usize, blocks: u64, all: bool) -> Result<()> {
        let mut words = vec![0; BLOCKS_START];
        self.read(Some(0), &mut words)?;
        let mut next = BLOCKS_START as u64;
        if let Some(stream) = header.streams.get(live) {
            next = self.place(blocks + 1, stream);
        }
        for (index, stream) in header.streams.iter().enumerate() {
            let descriptor = STREAMS_START + index * STREAM_WORDS;
            if index == live {
                words[descriptor + STREAM_FIRST] = BLOCKS_START as u64;
                words[descriptor + STREAM_BLOCKS] = blocks;
                words[descriptor + STREAM_HEAD] = blocks;
            } else if !stream.of_nmis {
                // The other blocks grow over its place.
                let words_aside = if all { self.aside.words.as_slice() } else { &[] };
                let blocks = if all { self.aside.held } else { 0 };
                self.write(next, words_aside)?;
                words[descriptor + STREAM_FIRST] = next;
                words[descriptor + STREAM_BLOCKS] = blocks;
                words[descriptor + STREAM_HEAD] = blocks;
                next += words_aside.len() as u64;
            } else {
                let mut all = vec![0; stream.blocks as usize * stream.block_words];
                self.read(Some(stream.first), &mut all)?;
                self.write(next, &all)?;
                words[descriptor + STREAM_FIRST] = next;
                next += all.len() as u64;
            }
            words[descriptor + STREAM_CONSUMED] = 0;
        }
        self.write(0, &words)
    }

    fn read(&mut self, first: Option<usize>, into: &mut [u64]) -> Result<()> {
        use hypervisor_core::trace::reader::Source;
        let found = first.map_or(0, |first| self.source.read(first, into));
        ensure!(found == into.len(), "the live trace ends too early");
        Ok(())
    }

    fn write(&self, at: u64, words: &[u64]) -> Result<()> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.to.write_all_at(&bytes, at * 8).with_context(|| format!("writing {}", self.path.display()))
    }
}

/// Whether this is the block of that number; while the recording goes on, the one in use may not be yet.
fn is(block: &[u64], sequence: u64, stream: &StreamHeader, last: bool) -> Result<bool> {
    let found = block.first() == Some(&sequence);
    let may_come = !last && sequence == stream.head;
    ensure!(found || may_come, "block {sequence} of the live trace was overwritten");
    Ok(found)
}
