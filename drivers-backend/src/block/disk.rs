//! A disk, whatever it is made of: work goes in, and comes back done in any order.
//! Buffers travel with the work, so that a device may use them until it gives them back and nobody else can.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypercall_abi::blkif::SECTOR_BYTES;

use super::data::Memory;
use super::jobs::Job;
use super::sparse::{NoRoom, Sparse};

/// A run of whole sectors in a page.
#[derive(Debug)]
pub struct Piece<B> {
    /// The page.
    pub page: B,
    /// First byte in it, a multiple of 512.
    pub offset: u16,
    /// Bytes, a multiple of 512.
    pub bytes: u16,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Sectors into the pieces.
    Read,
    /// The pieces into sectors.
    Write,
    /// All writes that are done when this begins are durable when it is done.
    Flush,
    /// The sectors' content is not needed any more.
    Discard,
}

/// One piece of work for a disk. It travels in a box, so that each step of its way moves a pointer.
#[derive(Debug)]
pub struct Work<B> {
    /// What to do.
    pub operation: DiskOp,
    /// First sector.
    pub sector: u64,
    /// How many; 0 for a flush.
    pub sectors: u64,
    /// Where the data is, in the order of the sectors.
    pub pieces: Vec<Piece<B>>,
    /// For whom.
    pub(super) job: Job,
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The disk says that it failed.
    Failed,
    /// The disk cannot do that.
    NotSupported,
    /// There is no room left to write to.
    Full(NoRoom),
}

/// What became of work.
pub type Outcome = Result<(), DiskError>;

/// Work that a disk has not begun, in the order in which it came.
pub type Waiting<B> = Vec<Box<Work<B>>>;

/// Work that is done, with what became of it.
pub type Finished<B> = Vec<(Box<Work<B>>, Outcome)>;

/// A disk of sectors of 512 bytes. Work is given to it and taken back in bulk, so that a call serves a whole turn.
pub trait Disk<B: Memory> {
    /// How many sectors it has. It stays so.
    fn sectors(&self) -> u64;

    /// Whether nothing can be written to it.
    fn is_read_only(&self) -> bool;

    /// Whether it takes [`DiskOp::Discard`].
    fn can_discard(&self) -> bool;

    /// Begins work within its sectors, first come first, as far as there is room at the moment. What is left waits, and may
    /// be offered again after [`Self::poll`].
    fn submit(&mut self, waiting: &mut Waiting<B>);

    /// Puts all work that is done to what is `done` already.
    fn poll(&mut self, done: &mut Finished<B>);

    /// Tells the device of all that was submitted since the last call.
    fn kick(&mut self);

    /// Called before the back end sleeps, a while after [`Self::kick`]: tells the device what it may have missed, and asks it for
    /// an interrupt. True if work is done already; after false an interrupt tells of the next.
    fn rest(&mut self) -> bool {
        false
    }
}

impl<B> Work<B> {
    /// Work of the disk's owner, not of a front end's.
    #[must_use]
    pub fn own(operation: DiskOp, sector: u64, sectors: u64, pieces: Vec<Piece<B>>) -> Box<Self> {
        Box::new(Self { operation, sector, sectors, pieces, job: Job::NOBODYS })
    }
}

impl<B: Memory> Work<B> {
    /// Each piece with its first sector.
    fn places(&mut self) -> impl Iterator<Item = (u64, &mut Piece<B>)> {
        self.pieces.iter_mut().scan(self.sector, |sector, piece| {
            let first = *sector;
            *sector += u64::from(piece.bytes) / SECTOR_BYTES as u64;
            Some((first, piece))
        })
    }

    /// Reads from what is kept in memory: sectors that were never written there become zeros, or stay as they are.
    pub(super) fn read_from(&mut self, content: &Sparse, zeros: bool) {
        for (sector, Piece { page, offset, bytes }) in self.places() {
            let start = usize::from(*offset);
            content.read(sector, u64::from(*bytes) / SECTOR_BYTES as u64, |at, found| match found {
                Ok(found) => page.copy_in(start + at, found),
                Err(missing) if zeros => {
                    for at in (at..at + missing).step_by(SECTOR_BYTES) {
                        page.copy_in(start + at, &[0; SECTOR_BYTES]);
                    }
                }
                Err(_) => {}
            });
        }
    }

    /// Writes into what is kept in memory: all of it or nothing, so that where there is no room no write is torn.
    pub(super) fn write_into(&mut self, content: &mut Sparse) -> Result<(), NoRoom> {
        let mut room = content.find_room(self.sector, self.sectors)?;
        for (sector, Piece { page, offset, bytes }) in self.places() {
            let start = usize::from(*offset);
            content.write(&mut room, sector, u64::from(*bytes) / SECTOR_BYTES as u64, |at, into| {
                page.copy_out(start + at, into);
            })?;
        }
        Ok(())
    }
}
