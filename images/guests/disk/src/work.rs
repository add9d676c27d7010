//! Work on a disk for a time: writes, flushes and reads that go on when some of them fail.
//!
//! `@work {"disk":N,"operations":N,"failed":N,"gone":N,"wrong":N}`: operations that ended, those that the disk failed, those
//! for which there was no disk any more, and reads that found something else than was written last.

use alloc::vec;
use core::ops::AddAssign;

use embassy_futures::join::join4;
use embassy_futures::yield_now;
use embassy_time::Timer;
use fastrand::Rng;
use guest_kernel::block::{Disk, DiskError, SECTOR_BYTES};
use guest_kernel::{clock, println};

/// Workers, each with a part of the disk to itself.
const WORKERS: u64 = 4;
/// The most sectors of an operation.
const SECTORS_MAX: u64 = 24;
/// Bytes of the largest.
const LARGEST: usize = SECTORS_MAX as usize * SECTOR_BYTES;
/// The most sectors of a worker's part, whatever a back end says.
const PART_MAX: u64 = 1 << 20;
/// How long a worker waits when there is no disk any more.
const PAUSE_MS: u64 = 2;

#[derive(Clone, Copy, Default)]
struct Counts {
    operations: u64,
    failed: u64,
    gone: u64,
    wrong: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.failed += other.failed;
        self.gone += other.gone;
        self.wrong += other.wrong;
    }
}

/// Works until this system time.
pub(crate) async fn work(number: usize, disk: &Disk, until_ns: u64) {
    let one = |part| worker(disk, part, until_ns);
    let (a, b, c, d) = join4(one(0), one(1), one(2), one(3)).await;
    let mut all = Counts::default();
    [a, b, c, d].into_iter().for_each(|counts| all += counts);
    let Counts { operations, failed, gone, wrong } = all;
    println!(
        "@work {{\"disk\":{number},\"operations\":{operations},\"failed\":{failed},\"gone\":{gone},\"wrong\":{wrong}}}"
    );
}

/// Works on one part.
async fn worker(disk: &Disk, part: u64, until_ns: u64) -> Counts {
    let mut random = Rng::with_seed(part + 1);
    let mut counts = Counts::default();
    while clock::now_ns() < until_ns {
        // A back end that lies may say something else each time.
        let length = (disk.capacity() / WORKERS).clamp(1, PART_MAX);
        let sectors = random.u64(1..=SECTORS_MAX.min(length));
        let first = part * length + random.u64(0..=length - sectors);
        let mut back = vec![0; LARGEST];
        let part = back.get_mut(..sectors as usize * SECTOR_BYTES).unwrap_or_default();
        if disk.is_read_only() {
            counts.note(disk.read(first, part).await).await;
            continue;
        }
        let data = super::pattern(part.len(), random.u64(..));
        let mut done = counts.note(disk.write(first, &data).await).await;
        // Seldom: the host's disk takes its time.
        if random.u32(0..16) == 0 {
            counts.note(disk.flush().await).await;
        }
        done &= counts.note(disk.read(first, part).await).await;
        counts.wrong += u64::from(done && *part != *data);
    }
    counts
}

impl Counts {
    /// Counts a result; true when it is a good one.
    async fn note(&mut self, result: Result<(), DiskError>) -> bool {
        self.operations += 1;
        match result {
            Ok(()) => {}
            Err(DiskError::Gone) => {
                self.gone += 1;
                Timer::after_millis(PAUSE_MS).await;
            }
            Err(_) => {
                self.failed += 1;
                yield_now().await;
            }
        }
        result.is_ok()
    }
}
