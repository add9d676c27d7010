//! A run of the hypervisor, written down and played again: whatever came into the core goes into a log, and on the host
//! the same core gets it once more. The core is a function of its inputs, so it must ask the machine for the same,
//! answer the same and end in the same state; the first difference is where something changed.
//!
//! - [`form`]: how a log lies in bytes. [`entries`]: the ways into the core, and their arguments and answers as words.
//! - [`Recorder`] stands between core and machine and notes what is asked and answered; [`Recorded`] stands around the
//!   world and notes who comes in. Both are part of a hypervisor only if it is built for it (feature `replay`).
//! - [`Play`] is the machine's part on the host. Its memory is what the core wrote and read so far, so that
//!   [`World::check`](crate::world::World::check) can judge any moment of a run.
//! - [`file`]: a log in a file, with what the hypervisor was started with. [`kept`]: such a file as a test.

mod entries;
pub mod file;
mod form;
pub mod kept;
mod model;
mod play;
mod player;
mod recorded;
mod recorder;
pub mod ring;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod walk;

pub use play::{Archive, Difference, Play, Step, Summary};
pub use recorded::Recorded;
pub use recorder::{Recorder, Sink};
pub use start::Start;
pub use state::digest;
pub use walk::{Cut, cut};
