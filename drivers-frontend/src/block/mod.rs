//! The block front end: reads, writes, flushes and discards, many at once, over a back end that may die and come back.
//!
//! Its owner calls
//! - [`BlockFront::step`] after each event on the state port, and [`BlockFront::set_peer`] when the directory changes;
//! - [`BlockFront::collect`] after each event on [`BlockFront::ring_port`], which changes with each connection;
//! - [`BlockFront::begin_read`] and its like, then [`BlockFront::push`] once for all that was begun in a turn;
//! - [`BlockFront::poll_finish`] until the operation is done; or [`BlockFront::begin_queued`] and [`BlockFront::poll_done`], in
//!   pages that stay the caller's ([`Buffer`]).
//!
//! What a back end has not answered is kept with its data and sent again to the next one, in the order in which it was
//! begun: the application sees a delay and no error. Whatever a back end writes, the worst that happens is that operations
//! fail ([`DiskFault`]) and that the device gives up.

mod connection;
mod exchange;
mod front;
mod operation;
mod operations;
mod pages;
mod queue;
mod trouble;
mod wire;

pub use front::{BeginError, BlockConfig, BlockFront};
pub use operation::{DiskFault, Ticket};
pub use queue::{Buffer, Done};
pub use trouble::Trouble;
