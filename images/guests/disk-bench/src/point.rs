//! One point of a sweep: so many requests alike, so many at once.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::num::NonZeroU64;

use embassy_time::Instant;
use futures_util::stream::{FuturesUnordered, StreamExt};
use guest_kernel::block::{Buffer, Disk, Done, Queue, SECTOR_BYTES};
use hypercall_abi::PAGE_SIZE;
use hypercall_abi::blkif::SEGMENTS_MAX;

/// What each request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A write, and a flush after it.
    Flush,
}

impl Operation {
    /// By its word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Flush].into_iter().find(|one| one.word() == word)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
        }
    }
}

/// What requests are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// What each does.
    pub(crate) operation: Operation,
    /// Bytes of each.
    pub(crate) record: usize,
    /// Anywhere on the disk, at a multiple of its length; otherwise one after the other.
    pub(crate) random: bool,
    /// Requests at once.
    pub(crate) depth: usize,
}

impl Point {
    /// How many parts a record has, since one that is longer than an operation can be takes several, and the bytes of each.
    fn parts(&self, disk: &Disk) -> (usize, usize) {
        let count = self.record.div_ceil(disk.bytes_max()).next_power_of_two();
        (count, self.record / count)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, record, random, depth } = self;
        let (operation, pattern) = (operation.word(), if *random { "random" } else { "sequential" });
        write!(
            f,
            "\"operation\":\"{operation}\",\"record\":{record},\"pattern\":\"{pattern}\",\"depth\":{depth}"
        )
    }
}

/// Where the next request goes.
struct Places {
    count: NonZeroU64,
    sectors: u64,
    random: bool,
    state: Cell<u64>,
}

impl Places {
    fn new(disk: &Disk, point: Point) -> Self {
        let sectors = (point.record / SECTOR_BYTES) as u64;
        let count = NonZeroU64::new(disk.capacity() / sectors.max(1)).unwrap_or(NonZeroU64::MIN);
        Self { count, sectors, random: point.random, state: Cell::new(0x9e37_79b9_7f4a_7c15) }
    }

    fn next(&self) -> u64 {
        let mut state = self.state.get();
        let place = if self.random {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        } else {
            state = state.wrapping_add(1);
            state
        };
        self.state.set(state);
        place % self.count * self.sectors
    }
}

/// Bytes of the longest operation whose segments fit in its request.
const SHORT: usize = SEGMENTS_MAX * PAGE_SIZE;

/// By which of a disk's two interfaces requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One task does them all, in the disk's own memory, of so many pages.
    Queue(usize),
    /// A task each, with memory of its own that is copied from and to.
    Calls,
}

impl Way {
    /// By its word.
    pub(crate) fn of(word: &str, pages: usize) -> Option<Self> {
        match word {
            "queue" => Some(Self::Queue(pages)),
            "calls" => Some(Self::Calls),
            _ => None,
        }
    }
}

/// What the requests of a point need before the first of them: it is made once, and is no part of what they cost.
pub(crate) enum Ready {
    /// A queue and buffers in the disk's own memory.
    Queue(Queue, Vec<Buffer>),
    /// Memory for each task.
    Calls(Vec<Vec<u8>>),
}

impl Ready {
    pub(crate) fn new(disk: &Disk, way: Way, point: Point) -> Self {
        let Way::Queue(pages) = way else {
            return Self::Calls(vec![vec![0x5a; point.record]; point.depth]);
        };
        let queue = disk.queue().unwrap_or_else(|| panic!("somebody has the queue"));
        let (count, bytes) = point.parts(disk);
        // The segments of a long operation take a page more while it is under way.
        let each = bytes.div_ceil(PAGE_SIZE) + usize::from(bytes > SHORT);
        let most = (point.depth * count).min((pages.saturating_sub(1) / each).max(1));
        let buffers = (0..most).map_while(|_| queue.buffer(bytes).ok()).collect();
        Self::Queue(queue, buffers)
    }
}

/// Does so many requests; returns how many failed.
pub(crate) async fn work(disk: &Disk, ready: Ready, point: Point, requests: u64) -> u64 {
    let left = Cell::new(requests);
    run(disk, ready, point, || left.get().checked_sub(1).map(|rest| left.set(rest)).is_some()).await.1
}

/// Does requests until a time; returns how many, and how many of them failed.
pub(crate) async fn until_time(disk: &Disk, ready: Ready, point: Point, stop: Instant) -> (u64, u64) {
    run(disk, ready, point, || Instant::now() < stop).await
}

async fn run(disk: &Disk, ready: Ready, point: Point, more: impl Fn() -> bool) -> (u64, u64) {
    match ready {
        Ready::Queue(queue, buffers) if point.operation == Operation::Read => {
            UnderWay::<_, false>::new(queue, Parts::new(disk, point, more), point).run(buffers).await
        }
        Ready::Queue(queue, buffers) => {
            UnderWay::<_, true>::new(queue, Parts::new(disk, point, more), point).run(buffers).await
        }
        Ready::Calls(memory) => lanes(disk, memory, point, more).await,
    }
}

/// What is to be done, part by part: a record that is longer than an operation can be takes several.
struct Parts<F> {
    places: Places,
    more: F,
    bytes: usize,
    each: usize,
    /// Of the record that was begun last: where it goes on, and how many parts are left.
    rest: (u64, usize),
}

impl<F: Fn() -> bool> Parts<F> {
    fn new(disk: &Disk, point: Point, more: F) -> Self {
        let (each, bytes) = point.parts(disk);
        Self { places: Places::new(disk, point), more, bytes, each, rest: (0, 0) }
    }

    /// Where the next part goes.
    fn next(&mut self) -> Option<u64> {
        if self.each == 1 {
            return (self.more)().then(|| self.places.next());
        }
        if self.rest.1 == 0 {
            self.rest = (self.more)().then(|| (self.places.next(), self.each))?;
        }
        let (place, left) = self.rest;
        self.rest = (place + (self.bytes / SECTOR_BYTES) as u64, left - 1);
        Some(place)
    }
}

/// What is under way in a queue: writes, or reads.
struct UnderWay<F, const WRITE: bool> {
    queue: Queue,
    parts: Parts<F>,
    /// Whether a flush comes after each write.
    flush: bool,
    /// Buffers of what was written and is flushed.
    written: Vec<Buffer>,
    /// Buffers for which nothing was left to do.
    spare: Vec<Buffer>,
    parts_begun: u64,
    parts_done: u64,
    failed: u64,
}

impl<F: Fn() -> bool, const WRITE: bool> UnderWay<F, WRITE> {
    fn new(queue: Queue, parts: Parts<F>, point: Point) -> Self {
        Self {
            queue,
            parts,
            flush: point.operation == Operation::Flush,
            written: Vec::new(),
            spare: Vec::new(),
            parts_begun: 0,
            parts_done: 0,
            failed: 0,
        }
    }

    /// Begins what is next with a buffer.
    #[inline(always)]
    fn next(&mut self, buffer: Buffer) {
        let Some(place) = self.parts.next() else { return self.spare.push(buffer) };
        let begun = if WRITE { self.queue.write(place, buffer) } else { self.queue.read(place, buffer) };
        if let Err((error, _)) = begun {
            panic!("{error}");
        }
        self.parts_begun += 1;
    }

    /// Takes the end of one, and goes on with its buffer.
    #[inline(always)]
    fn end(&mut self, end: Done) {
        self.failed += u64::from(end.result.is_err());
        let buffer = match end.buffer {
            Some(buffer) if WRITE && self.flush => {
                self.written.push(buffer);
                self.queue.flush().unwrap_or_else(|error| panic!("{error}"));
                return;
            }
            Some(buffer) => Some(buffer),
            None => self.written.pop(),
        };
        self.parts_done += 1;
        if let Some(buffer) = buffer {
            self.next(buffer);
        }
    }

    /// Does everything; returns how many records were done, and how many parts failed.
    async fn run(mut self, buffers: Vec<Buffer>) -> (u64, u64) {
        buffers.into_iter().for_each(|buffer| self.next(buffer));
        while self.parts_done < self.parts_begun {
            let mut end = self.queue.next().await;
            loop {
                self.end(end);
                match self.queue.take() {
                    Some(next) => end = next,
                    None => break,
                }
            }
        }
        (self.parts_done / self.parts.each as u64, self.failed)
    }
}

async fn lanes(disk: &Disk, memory: Vec<Vec<u8>>, point: Point, more: impl Fn() -> bool) -> (u64, u64) {
    let places = Places::new(disk, point);
    let (done, failed) = (Cell::new(0), Cell::new(0));
    let lane = async |mut buffer: Vec<u8>| {
        while more() {
            let place = places.next();
            let result = match point.operation {
                Operation::Read => disk.read(place, &mut buffer).await,
                Operation::Write => disk.write(place, &buffer).await,
                Operation::Flush => match disk.write(place, &buffer).await {
                    Ok(()) => disk.flush().await,
                    error => error,
                },
            };
            done.set(done.get() + 1);
            failed.set(failed.get() + u64::from(result.is_err()));
        }
    };
    let mut all: FuturesUnordered<_> = memory.into_iter().map(lane).collect();
    while all.next().await.is_some() {}
    drop(all);
    (done.get(), failed.get())
}
