//! Sectors kept in memory: only those that were written take room, in blocks of a page.
//! A bit per sector says what is there, so that a small write needs nothing of what it does not write.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::hint::black_box;

use hypercall_abi::PAGE_SIZE;
use hypercall_abi::blkif::{SECTOR_BYTES, SECTORS_PER_PAGE};

const PER_BLOCK: u64 = SECTORS_PER_PAGE as u64;
/// Bytes of memory that blocks leave to whatever else their domain does.
const RESERVE: usize = 256 << 10;

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

/// Where the memory of blocks comes from.
trait Source: Default {
    /// Whether so much is free, in one piece, which says so for smaller pieces too.
    fn is_free(&self, bytes: usize) -> bool;

    /// A page of zeros.
    fn page(&self) -> Option<Box<[u8; PAGE_SIZE]>>;

    /// Whether there is room for so many new blocks beside so many.
    fn may_add(&self, new: usize, blocks: usize, blocks_max: usize) -> Result<(), NoRoom> {
        if blocks + new > blocks_max {
            Err(NoRoom::Limit)
        } else if !self.is_free(RESERVE + new * PAGE_SIZE) {
            Err(NoRoom::Memory)
        } else {
            Ok(())
        }
    }

    /// A block of which nothing was written.
    fn block(&self) -> Result<Block, NoRoom> {
        Ok(Block { bytes: self.page().ok_or(NoRoom::Memory)?, written: 0 })
    }
}

/// The heap of our domain.
#[derive(Debug, Default)]
pub struct Heap;

impl Source for Heap {
    fn is_free(&self, bytes: usize) -> bool {
        let mut piece = Vec::<u8>::new();
        let is_free = piece.try_reserve_exact(bytes).is_ok();
        // Else the compiler finds it unused, and takes for granted that it was there.
        black_box(&piece);
        is_free
    }

    fn page(&self) -> Option<Box<[u8; PAGE_SIZE]>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(PAGE_SIZE).ok()?;
        bytes.resize(PAGE_SIZE, 0);
        bytes.try_into().ok()
    }
}

/// What a write found before it begins: the blocks that it adds, where it needs more than one, so that none is missing in its midst.
#[derive(Debug, Default)]
#[must_use]
pub struct Room(Vec<Block>);

/// Sectors that were written.
#[derive(Debug)]
pub struct Sparse<S = Heap> {
    blocks: BTreeMap<u64, Block>,
    blocks_max: usize,
    source: S,
}

#[expect(private_bounds, reason = "there is one heap; tests have others")]
impl<S: Source> Sparse<S> {
    /// Nothing written, and room for so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let blocks_max = usize::try_from(bytes_max / PAGE_SIZE as u64).unwrap_or(usize::MAX);
        Self { blocks: BTreeMap::new(), blocks_max, source: S::default() }
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

    /// Finds room for a write of these sectors, all that it needs. What lies in one block finds it, or none, as it is written, and is
    /// not looked for twice.
    ///
    /// # Errors
    /// Why there is none; nothing is taken then.
    pub fn find_room(&self, sector: u64, sectors: u64) -> Result<Room, NoRoom> {
        let last = sector.saturating_add(sectors).saturating_sub(1);
        let (first, last) = (sector / PER_BLOCK, last / PER_BLOCK);
        if first == last {
            return Ok(Room::default());
        }
        match (first..=last).filter(|block| !self.blocks.contains_key(block)).count() {
            0 => Ok(Room::default()),
            new => {
                self.source.may_add(new, self.blocks.len(), self.blocks_max)?;
                (0..new).map(|_| self.source.block()).collect::<Result<_, _>>().map(Room)
            }
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

    /// Writes sectors of a write that found `room`: calls `fill` with the offset and the place of each run of them that lies in
    /// one block, in order.
    ///
    /// # Errors
    /// [`NoRoom`] if the whole write lies in one block, which finds none; nothing is written.
    pub fn write(
        &mut self,
        room: &mut Room,
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
                Entry::Vacant(place) => place.insert(match room.0.pop() {
                    Some(found) => found,
                    None => {
                        self.source.may_add(1, blocks, self.blocks_max)?;
                        self.source.block()?
                    }
                }),
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
    use core::cell::Cell;

    /// A heap with so many bytes left, of which each page takes some more than a page, as real ones do.
    #[derive(Debug)]
    struct Scarce(Cell<usize>);

    impl Default for Scarce {
        fn default() -> Self {
            Self(Cell::new(usize::MAX))
        }
    }

    impl Source for Scarce {
        fn is_free(&self, bytes: usize) -> bool {
            bytes <= self.0.get()
        }

        fn page(&self) -> Option<Box<[u8; PAGE_SIZE]>> {
            self.0.set(self.0.get().checked_sub(PAGE_SIZE + 32)?);
            Some(Box::new([0; PAGE_SIZE]))
        }
    }

    /// Writes page by page, as requests do.
    fn put<S: Source>(sparse: &mut Sparse<S>, sector: u64, bytes: &[u8]) -> Result<(), NoRoom> {
        let mut room = sparse.find_room(sector, (bytes.len() / 512) as u64)?;
        for (sector, page) in (sector..).step_by(8).zip(bytes.chunks(4096)) {
            sparse.write(&mut room, sector, (page.len() / 512) as u64, |offset, into| {
                into.copy_from_slice(&page[offset..][..into.len()]);
            })?;
        }
        Ok(())
    }

    #[test]
    fn a_write_at_the_edge_of_memory_is_done_whole_or_not_at_all() {
        for left in (0..RESERVE + 6 * PAGE_SIZE).step_by(8) {
            let mut sparse = Sparse::<Scarce>::new(1 << 20);
            put(&mut sparse, 16, &[1; 4096]).unwrap();
            sparse.source.0.set(left);
            let written = put(&mut sparse, 4, &[2; 4 * 4096]);
            assert_eq!(written.is_ok(), left >= RESERVE + 4 * PAGE_SIZE, "{left}");
            assert_eq!(
                (4..36).filter(|sector| sparse.has(*sector)).count(),
                if written.is_ok() { 32 } else { 8 }
            );
        }
    }

    #[test]
    fn memory_that_is_gone_after_all_is_given_back_and_nothing_is_written() {
        /// Says that there is all that is asked for, and has one page.
        #[derive(Debug)]
        struct Liar(Cell<usize>);

        impl Default for Liar {
            fn default() -> Self {
                Self(Cell::new(1))
            }
        }

        impl Source for Liar {
            fn is_free(&self, _: usize) -> bool {
                true
            }

            fn page(&self) -> Option<Box<[u8; PAGE_SIZE]>> {
                self.0.set(self.0.get().checked_sub(1)?);
                Some(Box::new([0; PAGE_SIZE]))
            }
        }

        let mut sparse = Sparse::<Liar>::new(1 << 20);
        assert_eq!(put(&mut sparse, 0, &[1; 8192]), Err(NoRoom::Memory));
        assert_eq!(sparse.bytes(), 0);
    }

    #[test]
    fn only_what_was_written_takes_room_and_is_read() {
        let mut sparse = Sparse::<Heap>::new(1 << 20);
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
                let mut sparse = Sparse::<Heap>::new(1 << 20);
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
        let mut sparse = Sparse::<Heap>::new(2 * 4096);
        let limit = Err(NoRoom::Limit);
        assert_eq!(
            [(0, 16), (0, 17), (7, 10)].map(|(at, count)| sparse.find_room(at, count).map(drop)),
            [Ok(()), limit, limit]
        );
        assert_eq!(sparse.bytes(), 0);
        put(&mut sparse, 0, &[1; 512]).unwrap();
        put(&mut sparse, 100, &[1; 512]).unwrap();
        assert_eq!(sparse.find_room(1, 7).map(drop), Ok(()), "its block is there");
        assert_eq!(sparse.find_room(7, 2).map(drop), limit);
        assert_eq!(put(&mut sparse, 8, &[1; 512]), limit, "as it is written");
        assert!(!sparse.covers(8, 1) && sparse.bytes() == 2 * 4096);
    }
}
