//! One sector of the log: whose it is, which part of its record it is, and a checksum over both and what it carries.
//! A client's bytes never stand where a sector begins, so they cannot look like a record.

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::medium::SECTOR_BYTES;

const CHECKSUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// What a sector of a log begins with.
const MAGIC: u32 = u32::from_le_bytes(*b"DKVL");
/// Bytes before the payload.
const HEAD_BYTES: usize = 40;
/// Bytes of a record that one sector carries.
pub(crate) const PAYLOAD_BYTES: usize = SECTOR_BYTES - HEAD_BYTES;

/// What a sector says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Of the log: a move to the other area makes another one.
    pub(crate) generation: u64,
    /// Which opening of the store wrote it.
    pub(crate) mount: u64,
    /// Sectors of the area before it.
    pub(crate) place: u32,
    /// Sectors of its record before it.
    pub(crate) ordinal: u16,
    /// Sectors of its record.
    pub(crate) count: u16,
    /// Payload bytes of its record.
    pub(crate) bytes: u32,
}

/// A checksum of bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    CHECKSUM.checksum(bytes)
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(word(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(word(bytes, at))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(word(bytes, at))
}

impl Head {
    /// Reads a sector; `None` if it is not a whole sector of a log.
    pub(crate) fn read(sector: &[u8]) -> Option<(Self, &[u8])> {
        let (head, payload) = sector.split_at_checked(HEAD_BYTES)?;
        if u32_at(head, 0) != MAGIC || checksum(sector.get(8..)?) != u32_at(head, 4) {
            return None;
        }
        let head = Self {
            generation: u64_at(head, 8),
            mount: u64_at(head, 16),
            place: u32_at(head, 24),
            ordinal: u16_at(head, 28),
            count: u16_at(head, 30),
            bytes: u32_at(head, 32),
        };
        let fits = head.count > 0 && head.bytes.div_ceil(PAYLOAD_BYTES as u32) == u32::from(head.count);
        (fits && head.ordinal < head.count).then_some((head, payload))
    }

    /// Whether `next` is the sector of the same record that comes `after` sectors later.
    pub(crate) fn is_followed_by(&self, next: &Self, after: u16) -> bool {
        let expected = Self { ordinal: self.ordinal + after, place: self.place + u32::from(after), ..*self };
        *next == expected
    }

    fn write(&self, into: &mut [u8; SECTOR_BYTES], payload: &[u8]) {
        let mut head = [0; HEAD_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            for (place, byte) in head.iter_mut().skip(at).zip(bytes) {
                *place = *byte;
            }
            at += bytes.len();
        };
        put(&MAGIC.to_le_bytes());
        put(&[0; 4]);
        put(&self.generation.to_le_bytes());
        put(&self.mount.to_le_bytes());
        put(&self.place.to_le_bytes());
        put(&self.ordinal.to_le_bytes());
        put(&self.count.to_le_bytes());
        put(&self.bytes.to_le_bytes());
        into.fill(0);
        into[..HEAD_BYTES].copy_from_slice(&head);
        into[HEAD_BYTES..HEAD_BYTES + payload.len()].copy_from_slice(payload);
        let sum = checksum(&into[8..]);
        into[4..8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Sectors that a record of so many payload bytes takes.
pub(crate) const fn sectors_of(bytes: usize) -> u32 {
    bytes.div_ceil(PAYLOAD_BYTES) as u32
}

/// A record as the sectors that are written, from `place` of its area on.
pub(crate) fn record(generation: u64, mount: u64, place: u32, payload: &[u8]) -> alloc::vec::Vec<u8> {
    let count = sectors_of(payload.len()) as u16;
    let mut sectors = alloc::vec::Vec::with_capacity(usize::from(count) * SECTOR_BYTES);
    for (ordinal, part) in (0..).zip(payload.chunks(PAYLOAD_BYTES)) {
        let head = Head {
            generation,
            mount,
            place: place + u32::from(ordinal),
            ordinal,
            count,
            bytes: payload.len() as u32,
        };
        let mut sector = [0; SECTOR_BYTES];
        head.write(&mut sector, part);
        sectors.extend_from_slice(&sector);
    }
    sectors
}
