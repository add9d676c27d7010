//! What QEMU recorded of a disk's writes and flushes (its `blklogwrites`, in the format of Linux's dm-log-writes), and what a
//! power cut at its end may leave of them.
//! It exists because a killed QEMU leaves what it wrote in the host's cache: that alone would not show that anything was flushed.

use key_value::SECTOR_BYTES;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// One sector in so many is torn.
const TEAR: u32 = 8;

/// What was done to a disk, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recording {
    /// The sectors written, each with its content.
    writes: Vec<(usize, [u8; SECTOR_BYTES])>,
    /// How many of them come before the last flush.
    flushed: usize,
    /// Flushes.
    pub(super) flushes: usize,
}

impl Recording {
    /// Reads a recording; it ends where the recorder was killed.
    pub(super) fn read(log: &[u8]) -> Result<Self, String> {
        let word = |at: usize| log.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let mut recording = Self::default();
        if word(0).unwrap_or(0) == 0 {
            // No flush has written the header yet.
            return Ok(recording);
        }
        if (word(0), word(8)) != (Some(MAGIC), Some(VERSION)) {
            return Err("this is no recording of writes".to_owned());
        }
        let mut at = SECTOR_BYTES;
        while let (Some(first), Some(count), Some(flags)) = (word(at), word(at + 8), word(at + 16)) {
            let (first, count) = (first as usize, count as usize);
            at += SECTOR_BYTES;
            if flags & FLUSH != 0 {
                recording.flushed = recording.writes.len();
                recording.flushes += 1;
            } else if flags & DISCARD != 0 {
                return Err("nobody here discards".to_owned());
            } else if count == 0 {
                break;
            }
            // The last one may be cut off, and is not known to anybody then.
            let Some(data) = count.checked_mul(SECTOR_BYTES).and_then(|bytes| log.get(at..at + bytes)) else {
                break;
            };
            for (sector, data) in (first..).zip(data.chunks_exact(SECTOR_BYTES)) {
                recording.writes.push((sector, data.try_into().unwrap_or([0; SECTOR_BYTES])));
            }
            at += data.len();
        }
        Ok(recording)
    }

    /// Sectors that were written and not flushed.
    pub(super) fn unflushed(&self) -> usize {
        self.writes.len() - self.flushed
    }

    /// An image after a power cut: what was flushed, and of the rest what chance leaves, torn or whole.
    pub(super) fn cut(&self, before: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let mut image = before.to_vec();
        for (at, (sector, data)) in self.writes.iter().enumerate() {
            let start = sector * SECTOR_BYTES;
            let Some(place) = image.get_mut(start..start + SECTOR_BYTES) else { continue };
            if at < self.flushed {
                place.copy_from_slice(data);
            } else if random.bool() {
                let torn = random.u32(..TEAR) == 0;
                let end = if torn { random.usize(..SECTOR_BYTES) } else { SECTOR_BYTES };
                place[..end].copy_from_slice(&data[..end]);
            }
        }
        image
    }
}
