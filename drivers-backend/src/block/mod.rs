//! The block back end: disks of every kind, each shared between front ends as the scenario says.
//!
//! [`BlockBack`] serves front ends over Xen's blkif rings from any number of [`Disk`]s. Its owner
//! - adds disks, then calls [`BlockBack::add`] and [`BlockBack::remove`] as the device directory says;
//! - passes each event to [`BlockBack::event`] (ports) or [`BlockBack::disk_event`] (a disk's interrupt);
//! - calls [`BlockBack::turn`] until it has nothing more to do, then sleeps until an event.
//!
//! What a front end may do is fixed by its [`Share`] when it is added: a range of a disk, for reading, for writing, or with an
//! overlay of its own over it. A request is answered when the disk has done it, and a flush when everything that was
//! answered before is durable on the disk. A request of a connection that has ended never reaches the disk after one
//! of the next connection.

mod blockback;
mod carry;
mod copies;
mod credit;
mod data;
mod disk;
mod jobs;
mod lent;
mod offences;
mod overlay;
mod ram;
mod request;
mod share;
mod slot;
mod sparse;
mod take;
mod usual;
mod vbd;

pub use blockback::{AddError, BlockBack, BlockTotals};
pub use data::{Data, Memory};
pub use disk::{Disk, DiskError, DiskOp, Finished, Outcome, Piece, Waiting, Work};
pub use offences::Offence;
pub use ram::RamDisk;
pub use share::{Access, DiskId, Share};
pub use sparse::{NoRoom, Sparse};
pub use vbd::{Client, VbdId};

/// The most segments of an indirect request: 256 KiB, and one page of segments.
pub const SEGMENTS_MAX: usize = 64;
