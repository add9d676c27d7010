//! What the store needs of a disk.

use core::fmt::Debug;
use core::future::Future;

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;

/// A disk of whole sectors.
pub trait Medium {
    /// Why it did not do what it was asked.
    type Error: Debug;

    /// How many sectors it has. It stays so.
    fn sectors(&self) -> u64;

    /// Changes whenever the disk may have begun anew without what was written, which no operation needs to have told of: as a disk in
    /// a driver's memory does when the driver dies. A disk that never does has one life.
    fn life(&self) -> u64 {
        0
    }

    /// Reads whole sectors from `sector` on.
    fn read(&self, sector: u64, into: &mut [u8]) -> impl Future<Output = Result<(), Self::Error>>;

    /// Writes whole sectors from `sector` on.
    fn write(&self, sector: u64, data: &[u8]) -> impl Future<Output = Result<(), Self::Error>>;

    /// Returns when all that was written before is durable.
    fn flush(&self) -> impl Future<Output = Result<(), Self::Error>>;
}
