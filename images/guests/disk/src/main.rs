//! A guest that tries its disks: writes where it may, flushes, reads back, and says what it found, one record a disk.
//!
//! `@disk {"disk":N,"sectors":N,"writable":B,"good":N,"of":N,"sum":"HEX"}`: checks that held, of how many, and the sum
//! (64-bit FNV-1a) of all that is on the disk at the end.
//!
//! With `discard=N` on the command line it discards the `N` sectors from `N` on before that sum.
//!
//! With `work_ms=MS` on the command line it works on each disk until that system time first, through whatever comes, and
//! says `@work`, see [`work`].

#![no_std]
#![no_main]

extern crate alloc;

mod work;

use alloc::vec;
use core::ops::Range;

use embassy_futures::join::join4;
use guest_kernel::block::{Disk, DiskError, SECTOR_BYTES};
use guest_kernel::{Guest, println};

guest_kernel::main!(run);

/// Bytes of the largest write: more than one operation takes.
const LARGEST: usize = 256 << 10;
/// Lengths that are written, in bytes: a sector, a page, more than a plain request, more than one operation.
const LENGTHS: [usize; 4] = [SECTOR_BYTES, 4096, 15 * 4096 + SECTOR_BYTES, LARGEST];

async fn run(guest: Guest) {
    let told = |key| guest.command_line().parse(key, 0_u64).unwrap_or_else(|error| panic!("{error}"));
    let (until_ms, discard) = (told("work_ms"), told("discard"));
    for number in 0.. {
        match Disk::open(&guest, number).await {
            Ok(disk) => {
                if until_ms > 0 {
                    work::work(number, &disk, until_ms * 1_000_000).await;
                }
                report(number, &disk, discard).await;
            }
            Err(DiskError::Absent) => break,
            Err(error) => println!("disk {number}: {error}"),
        }
    }
}

/// Tries one disk.
async fn report(number: usize, disk: &Disk, discard: u64) {
    let mut checks = Checks::default();
    let end = disk.capacity();
    let mut sector = [0; SECTOR_BYTES];
    checks.note(disk.read(end, &mut sector).await == Err(DiskError::Range));
    checks.note(disk.read(u64::MAX, &mut sector).await == Err(DiskError::Range));
    checks.note(disk.read(0, &mut [0; 100]).await == Err(DiskError::Length(100)));
    checks.note(disk.discard(end, 1).await == Err(DiskError::Range));
    checks.note(disk.discard(1, u64::MAX).await == Err(DiskError::Range));
    if disk.is_read_only() {
        checks.note(disk.write(0, &sector).await == Err(DiskError::ReadOnly));
        checks.note(disk.discard(0, 1).await == Err(DiskError::ReadOnly));
    } else {
        for (round, length) in (1..).zip(LENGTHS) {
            written(disk, length, round, &mut checks).await;
        }
        at_once(disk, &mut checks).await;
        discarded(disk, &mut checks).await;
        if discard > 0 {
            checks.note(disk.discard(discard, discard).await.is_ok());
            checks.note(disk.flush().await.is_ok());
        }
    }
    match sum(disk).await {
        Ok(sum) => println!(
            "@disk {{\"disk\":{number},\"sectors\":{end},\"writable\":{},\"good\":{},\"of\":{},\"sum\":\"{sum:016x}\"}}",
            !disk.is_read_only(),
            checks.good,
            checks.of
        ),
        Err(error) => println!("disk {number}: {error}"),
    }
}

#[derive(Default)]
struct Checks {
    good: u32,
    of: u32,
}

impl Checks {
    fn note(&mut self, held: bool) {
        self.of += 1;
        self.good += u32::from(held);
    }
}

/// Writes at the end of the disk, so that its last sector is among what is tried.
async fn written(disk: &Disk, length: usize, round: u64, checks: &mut Checks) {
    let sectors = (length / SECTOR_BYTES) as u64;
    let Some(first) = disk.capacity().checked_sub(sectors) else { return };
    let data = pattern(length, round);
    checks.note(disk.write(first, &data).await.is_ok());
    checks.note(disk.flush().await.is_ok());
    let mut back = vec![0; length];
    checks.note(disk.read(first, &mut back).await.is_ok());
    checks.note(back == data);
}

/// Four pages written at once, and read at once.
async fn at_once(disk: &Disk, checks: &mut Checks) {
    let data = [5, 6, 7, 8].map(|round| pattern(4096, round));
    let [a, b, c, d] = &data;
    let done = join4(disk.write(0, a), disk.write(8, b), disk.write(16, c), disk.write(24, d)).await;
    checks.note(done == (Ok(()), Ok(()), Ok(()), Ok(())));
    checks.note(disk.flush().await.is_ok());
    let [mut w, mut x, mut y, mut z] = [(); 4].map(|()| vec![0; 4096]);
    let done =
        join4(disk.read(24, &mut z), disk.read(16, &mut y), disk.read(8, &mut x), disk.read(0, &mut w)).await;
    checks.note(done == (Ok(()), Ok(()), Ok(()), Ok(())));
    checks.note([w, x, y, z] == data);
}

/// Two pages whose midst is discarded, which leaves the rest as it was, and written anew.
async fn discarded(disk: &Disk, checks: &mut Checks) {
    const FIRST: u64 = 40;
    const BYTES: usize = 2 * 4096;
    const MIDST: Range<usize> = 2048..6144;
    let (first, sectors) = (FIRST + (MIDST.start / SECTOR_BYTES) as u64, (MIDST.len() / SECTOR_BYTES) as u64);
    let data = pattern(BYTES, 9);
    checks.note(disk.write(FIRST, &data).await.is_ok());
    checks.note(disk.discard(first, sectors).await.is_ok());
    let mut back = vec![0; BYTES];
    checks.note(disk.read(FIRST, &mut back).await.is_ok());
    checks.note(back[..MIDST.start] == data[..MIDST.start] && back[MIDST.end..] == data[MIDST.end..]);
    checks.note(disk.write(first, &data[MIDST]).await.is_ok());
    checks.note(disk.flush().await.is_ok());
    checks.note(disk.read(FIRST, &mut back).await.is_ok());
    checks.note(back == data);
}

/// Bytes that are others in each round and at each place.
pub(crate) fn pattern(length: usize, round: u64) -> vec::Vec<u8> {
    (0..length as u64).map(|at| ((at + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The sum of all that is on a disk.
async fn sum(disk: &Disk) -> Result<u64, DiskError> {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut buffer = vec![0; 64 << 10];
    let mut sector = 0;
    while sector < disk.capacity() {
        let bytes = buffer.len().min((disk.capacity() - sector) as usize * SECTOR_BYTES);
        let part = buffer.get_mut(..bytes).unwrap_or_default();
        disk.read(sector, part).await?;
        for byte in part.iter() {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        sector += (bytes / SECTOR_BYTES) as u64;
    }
    Ok(sum)
}
