//! A file system on a disk that answers later, read by a library that wants its bytes at once.
//!
//! The library reads from [`Chunks`], parts of the disk that are in memory. Where one is missing it gets an error, and what
//! it was asked is asked again when that part has been fetched: nobody blocks, and a guest of one thread serves many
//! connections meanwhile. [`Volume`] is what comes of it: find, list, read.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod chunks;
mod kinds;
mod listing;
#[cfg(test)]
mod tests;
mod volume;

pub use chunks::{Blocks, CHUNK_BYTES, Chunks};
pub use kinds::content_type;
pub use listing::{Listing, decoded, encoded};
pub use volume::{Fault, Found, OpenFile, Volume};
