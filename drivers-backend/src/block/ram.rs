//! A disk in the driver domain's memory: zeros at first, and gone with its domain.
//! It answers at once, which makes it the measure of what the way to a disk costs.

use super::data::Memory;
use super::disk::{Disk, DiskError, DiskOp, Finished, Waiting};
use super::sparse::Sparse;

/// A disk in memory.
#[derive(Debug)]
pub struct RamDisk<B> {
    content: Sparse,
    sectors: u64,
    done: Finished<B>,
}

impl<B> RamDisk<B> {
    /// A disk of zeros; only what is written takes memory.
    #[must_use]
    pub fn new(sectors: u64) -> Self {
        Self { content: Sparse::new(u64::MAX), sectors, done: Finished::new() }
    }
}

impl<B: Memory> Disk<B> for RamDisk<B> {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn submit(&mut self, waiting: &mut Waiting<B>) {
        for mut work in waiting.drain(..) {
            let mut outcome = Ok(());
            match work.operation {
                DiskOp::Read => work.read_from(&self.content, true),
                DiskOp::Write => outcome = work.write_into(&mut self.content).map_err(DiskError::Full),
                DiskOp::Flush => {}
                DiskOp::Discard => self.content.forget(work.sector, work.sectors),
            }
            self.done.push((work, outcome));
        }
    }

    fn poll(&mut self, done: &mut Finished<B>) {
        done.append(&mut self.done);
    }

    fn kick(&mut self) {}
}
