//! The two ends of a block device as they should not be: a front end and a back end that lie, by seed.
//! They know no kernel, so that the same lies are told on the host, to drivers alone, and by guests, to the whole system.
//!
//! Both connect as they should more often than not, and do right more often than wrong: who lies at once is found at once,
//! and nothing behind the first check would be tried.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod back;
mod front;
mod requests;

pub use back::{BackLies, BadBack};
pub use front::{BadFront, FrontLies};
