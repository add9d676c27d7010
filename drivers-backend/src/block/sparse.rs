//! Sectors kept in memory: only those that were written take room, in blocks of a page.
//! A bit per sector says what is there, so that a small write needs nothing of what it does not write.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::hint::black_box;

use hypercall_abi::PAGE_SIZE;
use hypercall_abi::blkif::{SECTOR_BYTES, SECTORS_PER_PAGE};

/// Sectors of a block, the bit of each says whether it was written.
#[derive(Debug)]
struct Block {
    bytes: Box<[u8; PAGE_SIZE]>,
    written: u8,
}

/// Why there is no room for the blocks that a write needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// There are as many as there may be.
    Limit,
    /// Our domain has no memory for more.
    Memory,
}

impl Block {
    fn empty() -> Result<Self, NoRoom> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(PAGE_SIZE).map_err(|_| NoRoom::Memory)?;
        bytes.resize(PAGE_SIZE, 0);
        Ok(Self { bytes: bytes.try_into().map_err(|_| NoRoom::Memory)?, written: 0 })
    }
}

/// Sectors that were written.
#[derive(Debug)]
pub struct Sparse {
    blocks: BTreeMap<u64, Block>,
    blocks_max: usize,
}

const PER_BLOCK: u64 = SECTORS_PER_PAGE as u64;
/// Bytes of memory that blocks leave to whatever else their domain does.
const RESERVE: usize = 256 << 10;

/// Whether so much memory is free, in one piece, which says so for smaller pieces too.
fn is_free(bytes: usize) -> bool {
    let mut piece = Vec::<u8>::new();
    let is_free = piece.try_reserve_exact(bytes).is_ok();
    // Else the compiler finds it unused, and takes for granted that it was there.
    black_box(&piece);
    is_free
}

/// Whether there is room for so many new blocks beside so many.
fn find(new: usize, blocks: usize, blocks_max: usize) -> Result<(), NoRoom> {
    if blocks + new > blocks_max {
        Err(NoRoom::Limit)
    } else if !is_free(RESERVE + new * PAGE_SIZE) {
        Err(NoRoom::Memory)
    } else {
        Ok(())
    }
}

impl Sparse {
    /// Nothing written, and room for so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let blocks_max = usize::try_from(bytes_max / PAGE_SIZE as u64).unwrap_or(usize::MAX);
        Self { blocks: BTreeMap::new(), blocks_max }
    }

    /// Bytes of memory that its blocks take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.blocks.len() * PAGE_SIZE) as u64
    }

    /// Whether each of these sectors was written.
    #[must_use]
    pub fn covers(&self, sector: u64, sectors: u64) -> bool {
        (sector..sector.saturating_add(sectors)).all(|sector| self.has(sector))
    }

    fn has(&self, sector: u64) -> bool {
        self.blocks
            .get(&(sector / PER_BLOCK))
            .is_some_and(|block| block.written & 1 << (sector % PER_BLOCK) != 0)
    }

    /// Whether a write of these sectors would find room. What lies in one block finds it, or none, as it is written, and is not
    /// looked for twice.
    ///
    /// # Errors
    /// Why it would not.
    pub fn find_room(&self, sector: u64, sectors: u64) -> Result<(), NoRoom> {
        let last = sector.saturating_add(sectors).saturating_sub(1);
        let (first, last) = (sector / PER_BLOCK, last / PER_BLOCK);
        if first == last {
            return Ok(());
        }
        match (first..=last).filter(|block| !self.blocks.contains_key(block)).count() {
            0 => Ok(()),
            new => find(new, self.blocks.len(), self.blocks_max),
        }
    }

    /// Calls `each` with the offset and the content of each run of sectors that lies in one block, in order; `Err` with
    /// the bytes of one that was never written.
    pub fn read(&self, sector: u64, sectors: u64, mut each: impl FnMut(usize, Result<&[u8], usize>)) {
        let mut done = 0;
        while done < sectors {
            let (number, place) =
                (sector.saturating_add(done) / PER_BLOCK, (sector.saturating_add(done)) % PER_BLOCK);
            let rest = (PER_BLOCK - place).min(sectors - done);
            let block = self.blocks.get(&number);
            let written = block.map_or(0, |block| block.written);
            let is_here = |at: u64| written & 1 << at != 0;
            let alike = (place..place + rest).take_while(|at| is_here(*at) == is_here(place)).count() as u64;
            let (offset, bytes) = (done as usize * SECTOR_BYTES, alike as usize * SECTOR_BYTES);
            let content = block
                .filter(|_| is_here(place))
                .and_then(|block| block.bytes.get(place as usize * SECTOR_BYTES..)?.get(..bytes));
            each(offset, content.ok_or(bytes));
            done += alike;
        }
    }

    /// Writes sectors: calls `fill` with the offset and the place of each run of them that lies in one block, in order.
    ///
    /// # Errors
    /// [`NoRoom`]; the sectors that found room are written. [`Self::find_room`] says it before.
    pub fn write(
        &mut self,
        sector: u64,
        sectors: u64,
        mut fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<(), NoRoom> {
        let mut done = 0;
        while done < sectors {
            let blocks = self.blocks.len();
            let (number, place) =
                (sector.saturating_add(done) / PER_BLOCK, (sector.saturating_add(done)) % PER_BLOCK);
            let block = match self.blocks.entry(number) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(place) => {
                    find(1, blocks, self.blocks_max)?;
                    place.insert(Block::empty()?)
                }
            };
            let rest = (PER_BLOCK - place).min(sectors - done);
            let bytes = rest as usize * SECTOR_BYTES;
            let into =
                block.bytes.get_mut(place as usize * SECTOR_BYTES..).and_then(|all| all.get_mut(..bytes));
            if let Some(into) = into {
                fill(done as usize * SECTOR_BYTES, into);
            }
            for at in place..place + rest {
                block.written |= 1 << at;
            }
            done += rest;
        }
        Ok(())
    }

    /// Forgets these sectors, and gives back the blocks that hold no others. Its work is bounded by what it gives back.
    pub fn forget(&mut self, sector: u64, sectors: u64) {
        let end = sector.saturating_add(sectors);
        let blocks = sector / PER_BLOCK..end.div_ceil(PER_BLOCK);
        let is_empty = |number: &u64, block: &mut Block| {
            for place in (0..PER_BLOCK).filter(|place| (sector..end).contains(&(number * PER_BLOCK + place)))
            {
                block.written &= !(1 << place);
            }
            block.written == 0
        };
        self.blocks.extract_if(blocks, is_empty).for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn put(sparse: &mut Sparse, sector: u64, bytes: &[u8]) -> Result<(), NoRoom> {
        sparse.write(sector, (bytes.len() / 512) as u64, |offset, into| {
            into.copy_from_slice(&bytes[offset..][..into.len()]);
        })
    }

    #[test]
    fn only_what_was_written_takes_room_and_is_read() {
        let mut sparse = Sparse::new(1 << 20);
        put(&mut sparse, 10, &[1; 1024]).unwrap();
        assert_eq!(sparse.bytes(), 4096);
        let mut read = vec![9; 4 * 512];
        let mut runs = Vec::new();
        sparse.read(9, 4, |offset, content| {
            runs.push((offset, content.map_or_else(|bytes| bytes, <[u8]>::len), content.is_ok()));
            if let Ok(content) = content {
                read[offset..][..content.len()].copy_from_slice(content);
            }
        });
        assert_eq!(runs, [(0, 512, false), (512, 1024, true), (1536, 512, false)]);
        assert_eq!([read[0], read[512], read[1024], read[1536]], [9, 1, 1, 9]);
        assert!(sparse.covers(10, 2) && !sparse.covers(10, 3));
        sparse.forget(10, 1);
        assert!(!sparse.covers(10, 1) && sparse.covers(11, 1));
        sparse.forget(0, u64::MAX);
        assert_eq!(sparse.bytes(), 0);
    }

    #[test]
    fn what_is_forgotten_is_just_what_was_named() {
        for first in 0..40 {
            for end in first..40 {
                let mut sparse = Sparse::new(1 << 20);
                put(&mut sparse, 0, &[1; 40 * 512]).unwrap();
                sparse.forget(first, end - first);
                let left = |sector| !(first..end).contains(&sector);
                assert!((0..40).all(|sector| sparse.has(sector) == left(sector)), "{first}..{end}");
                let blocks = (0..5).filter(|block| (block * 8..block * 8 + 8).any(left)).count();
                assert_eq!(sparse.bytes(), blocks as u64 * 4096, "{first}..{end}");
            }
        }
    }

    #[test]
    fn a_full_store_says_so_before_anything_is_written() {
        let mut sparse = Sparse::new(2 * 4096);
        let limit = Err(NoRoom::Limit);
        assert_eq!(
            [(0, 16), (0, 17), (7, 10)].map(|(at, count)| sparse.find_room(at, count)),
            [Ok(()), limit, limit]
        );
        assert_eq!(sparse.bytes(), 0);
        put(&mut sparse, 0, &[1; 512]).unwrap();
        put(&mut sparse, 100, &[1; 512]).unwrap();
        assert_eq!(sparse.find_room(1, 7), Ok(()), "its block is there");
        assert_eq!(sparse.find_room(7, 2), limit);
        assert_eq!(put(&mut sparse, 8, &[1; 512]), limit, "as it is written");
        assert!(!sparse.covers(8, 1) && sparse.bytes() == 2 * 4096);
    }
}
