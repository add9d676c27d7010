//! What this domain gets out of a disk by itself, without a front end: the bound of what it can give to others.
//!
//! `own=BYTES,DEPTH,COUNT` on the command line: so many random reads of so many bytes, so many at once, from the first
//! disk before it is served. It says `@own`.

use alloc::vec::Vec;

use drivers_backend::Platform;
use drivers_backend::block::{Data, Disk, DiskOp, Finished, Piece, Waiting, Work as BlockWork};
use embassy_time::Instant;
use guest_kernel::hypercall::extension;
use guest_kernel::println;
use hypercall_abi::PAGE_SIZE;
use hypercall_abi::blkif::SECTOR_BYTES;

use crate::disk::{VirtioDisk, Work};
use crate::kernel::{Kernel, PORTS, PacketPage};

/// Reads that are done before those that count.
const WARM_UP: u64 = 64;

/// Measures, as the command line says.
pub(crate) async fn measure(disk: &mut VirtioDisk, wanted: &str) {
    let numbers: Vec<u64> = wanted.split(',').filter_map(|word| word.parse().ok()).collect();
    let &[record, depth, count] = numbers.as_slice() else { panic!("own={wanted}") };
    let mut pool = Vec::new();
    for _ in 0..depth * record.div_ceil(PAGE_SIZE as u64) {
        pool.push(Kernel.allocate().unwrap_or_else(|error| panic!("own={wanted}: {error:?}")));
    }
    let mut reads = Reads { disk, pool, spare: Vec::new(), record, state: 0x9e37_79b9_7f4a_7c15 };
    reads.run(depth, WARM_UP).await;
    let running = || extension::counters().map_or(0, |counters| counters.running_ns);
    let (before, start) = (running(), Instant::now());
    let failed = reads.run(depth, count).await;
    let (us, running) = (start.elapsed().as_micros(), running() - before);
    println!(
        "@own {{\"record\":{record},\"depth\":{depth},\"requests\":{count},\"failed\":{failed},\"us\":{us},\
         \"running_ns\":{running}}}"
    );
}

struct Reads<'a> {
    disk: &'a mut VirtioDisk,
    pool: Vec<PacketPage>,
    /// Work that is done, for the next.
    spare: Vec<Work>,
    record: u64,
    state: u64,
}

impl Reads<'_> {
    /// Keeps `depth` reads under way until `count` are done; returns how many failed.
    async fn run(&mut self, depth: u64, count: u64) -> u64 {
        let (mut begun, mut done, mut failed) = (0, 0, 0);
        let (mut waiting, mut finished) = (Waiting::new(), Finished::new());
        while done < count {
            while begun < count && begun - done < depth {
                let work = self.next();
                waiting.push(work);
                begun += 1;
            }
            self.disk.submit(&mut waiting);
            self.disk.kick();
            let before = done;
            self.disk.poll(&mut finished);
            for (work, outcome) in finished.drain(..) {
                self.back(work);
                done += 1;
                failed += u64::from(outcome.is_err());
            }
            if done == before && !self.disk.rest() {
                PORTS.wait().await;
            }
        }
        failed
    }

    fn next(&mut self) -> Work {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let sectors = self.record / SECTOR_BYTES as u64;
        let sector = self.state % (self.disk.sectors() / sectors).max(1) * sectors;
        let mut work =
            self.spare.pop().unwrap_or_else(|| BlockWork::own(DiskOp::Read, 0, sectors, Vec::new()));
        work.sector = sector;
        let mut rest = self.record;
        while rest > 0 {
            // There are pages for all that may be under way.
            let Some(page) = self.pool.pop() else { break };
            let bytes = rest.min(PAGE_SIZE as u64);
            work.pieces.push(Piece {
                page: Data::Ours { page, reference: None },
                offset: 0,
                bytes: bytes as u16,
            });
            rest -= bytes;
        }
        work
    }

    fn back(&mut self, mut work: Work) {
        while let Some(piece) = work.pieces.pop() {
            if let Data::Ours { page, .. } = piece.page {
                self.pool.push(page);
            }
        }
        self.spare.push(work);
    }
}
