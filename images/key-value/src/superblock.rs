//! The superblock: which area holds the log, and who has opened the store.
//! There are two places for it. A new one is written where the older one is, so that a torn write leaves the newer one.

use crate::medium::SECTOR_BYTES;
use crate::sector::{checksum, u32_at, u64_at};

/// What a superblock begins with; the last byte is the version of the format.
const MAGIC: u64 = u64::from_le_bytes(*b"DKVSUPR\x01");
/// Bytes that it takes.
const BYTES: usize = 60;

/// Which area holds the log, and who has opened the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Counts superblocks: the higher one holds.
    pub serial: u64,
    /// Sectors of the disk that it was made for.
    pub sectors: u64,
    /// Of the log.
    pub generation: u64,
    /// Counts openings of the store. Sectors of an earlier one that were never flushed are told apart by it.
    pub mount: u64,
    /// The opening that began this log. An older one's sectors in its area are of a move that came to nothing.
    pub since: u64,
    /// The area of the log: 0 or 1.
    pub area: u8,
}

impl Superblock {
    /// That of an empty store.
    pub(crate) const fn first(sectors: u64) -> Self {
        Self { serial: 1, sectors, generation: 1, mount: 0, since: 0, area: 0 }
    }

    /// Which of the two places it belongs to.
    pub(crate) const fn slot(&self) -> usize {
        (self.serial % 2) as usize
    }

    pub(crate) fn read(sector: &[u8]) -> Option<Self> {
        let body = sector.get(..BYTES - 4)?;
        let found = Self {
            serial: u64_at(body, 8),
            sectors: u64_at(body, 16),
            generation: u64_at(body, 24),
            mount: u64_at(body, 32),
            since: u64_at(body, 40),
            area: (u64_at(body, 48) & 1) as u8,
        };
        (u64_at(body, 0) == MAGIC && u32_at(sector, BYTES - 4) == checksum(body)).then_some(found)
    }

    pub(crate) fn write(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let area = u64::from(self.area);
        let words = [MAGIC, self.serial, self.sectors, self.generation, self.mount, self.since, area];
        for (place, word) in sector.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&sector[..BYTES - 4]);
        sector[BYTES - 4..BYTES].copy_from_slice(&sum.to_le_bytes());
        sector
    }
}
