//! Where what is on the disk, and how much of it may be used.

use crate::sector::PAYLOAD_BYTES;

/// Where the superblocks are: not in one block of 4 KiB, which some disks write as a whole.
pub(crate) const SUPERBLOCKS: [u64; 2] = [0, 8];
/// First sector of the first area.
pub(crate) const FIRST: u64 = 16;
/// The fewest sectors of an area: with less, what is gained by moving to the other one would be too little.
const AREA_MIN: u64 = 128;
/// The most payload bytes of a record.
const RECORD_MAX: u64 = 64 << 10;

/// The parts of a disk of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Sectors of each area.
    pub area_sectors: u32,
    /// The most payload bytes of a record.
    pub record_bytes: u32,
    /// The most bytes of wanted entries: three quarters of an area, so that a move always makes room.
    pub live_bytes: u64,
}

impl Layout {
    /// The parts of a disk of `sectors`; `None` if it is too small.
    #[must_use]
    pub fn of(sectors: u64) -> Option<Self> {
        let area = sectors.checked_sub(FIRST)? / 2;
        let area = u32::try_from(area).unwrap_or(u32::MAX);
        if u64::from(area) < AREA_MIN {
            return None;
        }
        let bytes = u64::from(area) * PAYLOAD_BYTES as u64;
        let record_bytes = RECORD_MAX.min(bytes / 8) as u32;
        Some(Self { area_sectors: area, record_bytes, live_bytes: bytes / 4 * 3 })
    }

    /// The fewest sectors that a disk must have.
    #[must_use]
    pub const fn sectors_min() -> u64 {
        FIRST + 2 * AREA_MIN
    }

    /// The most bytes of one entry on the disk: half a record, so that records are at least half full.
    pub(crate) const fn entry_bytes(&self) -> usize {
        self.record_bytes as usize / 2
    }

    /// The most sectors of a record.
    pub(crate) const fn record_sectors(&self) -> u32 {
        self.record_bytes.div_ceil(PAYLOAD_BYTES as u32)
    }

    /// The disk's sector of a place in an area.
    pub(crate) const fn sector(&self, area: u8, place: u32) -> u64 {
        FIRST + area as u64 * self.area_sectors as u64 + place as u64
    }
}
