//! A key-value store: a log of batches on a disk, and the lines that its clients speak.
//! It is a crate of its own so that the guest that serves it, the host that checks its disk, and tests that cut the power
//! at every write all run the same code.
//!
//! The disk has two places for a [superblock](crate::Superblock), used by turns, and two areas. One area holds the log; when
//! it is full, what is still wanted is copied to the other one, and a superblock says so. A batch of changes is a record
//! of whole sectors. Each sector says of which record it is, and has a checksum, so that nothing that a client chose can be taken
//! for a record, and a record that is not whole ends the log.
//!
//! What it asks of the disk: a write that is done when a flush begins is durable when the flush is done; others are there or
//! not after a power cut, in any order, and a sector may be torn. A batch is acknowledged after the flush that follows its write,
//! and the next batch is not written before that. So of each log only the last record can be in doubt, and it was promised to
//! nobody. What is lost before it was lost by the disk, and is reported instead of being passed over.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod batch;
mod compact;
mod layout;
mod lines;
mod medium;
mod recover;
mod sector;
mod store;
mod superblock;

pub use batch::{Batch, KEY_MAX};
pub use layout::Layout;
pub use lines::{Command, Line, LineReader, LineRefusal};
pub use medium::{Medium, SECTOR_BYTES};
pub use recover::OpenError;
pub use store::{CommitError, ReadError, Refusal, Store};
pub use superblock::Superblock;
