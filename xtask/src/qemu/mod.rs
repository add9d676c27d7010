//! QEMU: its command line, its process and what comes over its serial port.
//! It exists so that the rest of the program deals with a machine, not with a child process.

mod affinity;
pub(crate) mod aio;
mod line;
mod machine;
mod ports;
mod stamp;

pub(crate) use line::{Clock, Network, Options, arguments, shell};
pub(crate) use machine::{Machine, Next, is_orderly};
pub(crate) use ports::choose;
pub(crate) use stamp::Stamp;

/// Name of the emulator.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
