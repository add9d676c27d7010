//! A disk, whatever it is made of: work goes in, and comes back done in any order.
//! Buffers travel with the work, so that a device may use them until it gives them back and nobody else can.

use alloc::vec::Vec;

use hypercall_abi::blkif::SECTOR_BYTES;

use crate::platform::Buffer;

/// A run of whole sectors in a page of ours.
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

/// One piece of work for a disk.
#[derive(Debug)]
pub struct Work<B> {
    /// Names it when it comes back.
    pub tag: u32,
    /// What to do.
    pub operation: DiskOp,
    /// First sector.
    pub sector: u64,
    /// How many; 0 for a flush.
    pub sectors: u64,
    /// Where the data is, in the order of the sectors.
    pub pieces: Vec<Piece<B>>,
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The disk says that it failed.
    Failed,
    /// The disk cannot do that.
    NotSupported,
    /// There is no room left to write to.
    Full,
}

/// What became of work.
pub type Outcome = Result<(), DiskError>;

/// A disk of sectors of 512 bytes.
pub trait Disk<B: Buffer> {
    /// How many sectors it has. It stays so.
    fn sectors(&self) -> u64;

    /// Whether nothing can be written to it.
    fn is_read_only(&self) -> bool;

    /// Whether it takes [`DiskOp::Discard`].
    fn can_discard(&self) -> bool;

    /// Begins work within its sectors.
    ///
    /// # Errors
    /// The work itself when there is no room for more at the moment; it may be offered again after [`Self::poll`].
    fn submit(&mut self, work: Work<B>) -> Result<(), Work<B>>;

    /// Takes back work that is done. After `None` an interrupt tells of the next.
    fn poll(&mut self) -> Option<(Work<B>, Outcome)>;

    /// Tells the device of all that was submitted since the last call.
    fn kick(&mut self);
}

impl<B: Buffer> Work<B> {
    /// Calls `each` with the first sector and the bytes of each piece, for reading them.
    pub fn read_pieces(&self, mut each: impl FnMut(u64, &[u8])) {
        let mut sector = self.sector;
        for Piece { page, offset, bytes } in &self.pieces {
            let (start, bytes) = (usize::from(*offset), usize::from(*bytes));
            page.read(|all| each(sector, all.get(start..start + bytes).unwrap_or(&[])));
            sector += (bytes / SECTOR_BYTES) as u64;
        }
    }

    /// Calls `each` with the first sector and the bytes of each piece, for writing them.
    pub fn write_pieces(&mut self, mut each: impl FnMut(u64, &mut [u8])) {
        let mut sector = self.sector;
        for Piece { page, offset, bytes } in &mut self.pieces {
            let (start, bytes) = (usize::from(*offset), usize::from(*bytes));
            page.write(|all| each(sector, all.get_mut(start..start + bytes).unwrap_or(&mut [])));
            sector += (bytes / SECTOR_BYTES) as u64;
        }
    }
}
