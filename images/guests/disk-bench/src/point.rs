//! One point of a sweep: so many requests alike, so many at once.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use embassy_time::Instant;
use futures_util::stream::{FuturesUnordered, StreamExt};
use guest_kernel::block::{Buffer, Disk, Queue, SECTOR_BYTES};
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
    count: u64,
    sectors: u64,
    random: bool,
    state: Cell<u64>,
}

impl Places {
    fn new(disk: &Disk, point: Point) -> Self {
        let sectors = (point.record / SECTOR_BYTES) as u64;
        let count = (disk.capacity() / sectors.max(1)).max(1);
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

/// Does so many requests; returns how many failed.
pub(crate) async fn work(disk: &Disk, way: Way, point: Point, requests: u64) -> u64 {
    let left = Cell::new(requests);
    run(disk, way, point, || left.get().checked_sub(1).map(|rest| left.set(rest)).is_some()).await.1
}

/// Does requests until a time; returns how many, and how many of them failed.
pub(crate) async fn until_time(disk: &Disk, way: Way, point: Point, stop: Instant) -> (u64, u64) {
    run(disk, way, point, || Instant::now() < stop).await
}

async fn run(disk: &Disk, way: Way, point: Point, more: impl Fn() -> bool) -> (u64, u64) {
    match way {
        Way::Queue(pages) => queued(disk, pages, point, more).await,
        Way::Calls => lanes(disk, point, more).await,
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
        let each = point.record.div_ceil(disk.bytes_max()).next_power_of_two();
        Self { places: Places::new(disk, point), more, bytes: point.record / each, each, rest: (0, 0) }
    }

    /// Where the next part goes.
    fn next(&mut self) -> Option<u64> {
        if self.rest.1 == 0 {
            self.rest = (self.more)().then(|| (self.places.next(), self.each))?;
        }
        let (place, left) = self.rest;
        self.rest = (place + (self.bytes / SECTOR_BYTES) as u64, left - 1);
        Some(place)
    }
}

async fn queued(disk: &Disk, pages: usize, point: Point, more: impl Fn() -> bool) -> (u64, u64) {
    let mut queue: Queue = disk.queue().unwrap_or_else(|| panic!("somebody has the queue"));
    let mut parts = Parts::new(disk, point, more);
    let most = point.depth * parts.each;
    let mut buffers: Vec<Buffer> = (0..most).map_while(|_| queue.buffer(parts.bytes).ok()).collect();
    // The segments of a long operation take a page more while it is under way.
    let each = parts.bytes.div_ceil(PAGE_SIZE) + usize::from(parts.bytes > SHORT);
    buffers.truncate((pages.saturating_sub(1) / each).max(1));
    // Buffers of what was written and is flushed.
    let mut written = Vec::new();
    let (mut under_way, mut done, mut failed) = (0_u64, 0, 0);
    loop {
        while !buffers.is_empty()
            && let Some(place) = parts.next()
            && let Some(buffer) = buffers.pop()
        {
            let begun = match point.operation {
                Operation::Read => queue.read(place, buffer),
                Operation::Write | Operation::Flush => queue.write(place, buffer),
            };
            begun.unwrap_or_else(|(error, _)| panic!("{error}"));
            under_way += 1;
        }
        if under_way == 0 {
            return (done / parts.each as u64, failed);
        }
        let end = match queue.take() {
            Some(end) => end,
            None => queue.next().await,
        };
        failed += u64::from(end.result.is_err());
        match end.buffer {
            Some(buffer) if point.operation == Operation::Flush => {
                written.push(buffer);
                queue.flush().unwrap_or_else(|error| panic!("{error}"));
                continue;
            }
            Some(buffer) => buffers.push(buffer),
            None => buffers.extend(written.pop()),
        }
        done += 1;
        under_way -= 1;
    }
}

async fn lanes(disk: &Disk, point: Point, more: impl Fn() -> bool) -> (u64, u64) {
    let places = Places::new(disk, point);
    let (done, failed) = (Cell::new(0), Cell::new(0));
    let lane = || async {
        let mut buffer = vec![0x5a; point.record];
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
    let mut all: FuturesUnordered<_> = (0..point.depth).map(|_| lane()).collect();
    while all.next().await.is_some() {}
    drop(all);
    (done.get(), failed.get())
}
