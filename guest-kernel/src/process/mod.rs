//! Processes as plain data: programs, address spaces, who runs next.
//! Nothing here knows a hypervisor, so that all of it is tested on the host; `machine::process` is its hands.

pub mod area;
pub mod family;
pub mod leaf;
pub mod program;
pub mod space;

pub use process_abi::{Call, Error, Exit, layout};

#[cfg(target_os = "none")]
pub use crate::machine::process::{Context, Limits, Member, Process, Registers, Step, Stop};
pub use program::Program;
