//! One point of a sweep: so many requests alike, so many at once.

use alloc::vec;
use core::cell::Cell;
use core::fmt;

use embassy_time::Instant;
use futures_util::stream::{FuturesUnordered, StreamExt};
use guest_kernel::block::{Disk, SECTOR_BYTES};

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

/// Does so many requests; returns how many failed.
pub(crate) async fn work(disk: &Disk, point: Point, requests: u64) -> u64 {
    let left = Cell::new(requests);
    let more = || left.get().checked_sub(1).map(|rest| left.set(rest)).is_some();
    lanes(disk, point, more).await.1
}

/// Does requests until a time; returns how many, and how many of them failed.
pub(crate) async fn until_time(disk: &Disk, point: Point, stop: Instant) -> (u64, u64) {
    let (done, failed) = lanes(disk, point, || Instant::now() < stop).await;
    (done, failed)
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
