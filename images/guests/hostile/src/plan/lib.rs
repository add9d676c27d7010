//! What the hostile guest does next, as plain data drawn from a seed.
//! It is apart from the guest that does it, so that the same attacks run on the host against the hypervisor's core,
//! with its invariants checked after each.
//!
//! A [`Generator`] knows its surroundings ([`Estate`]) and draws [`Action`]s; whoever carries one out tells it what came
//! back. [`Operation`] names what was asked, [`model`] says which answers the interface allows, [`Coverage`] counts.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod action;
mod coverage;
mod estate;
mod generator;
pub mod model;
mod operation;
mod random;
mod reach;
#[cfg(test)]
mod tests;

pub use action::{Action, Call, Deed, Expect};
pub use coverage::{Coverage, InstructionOutcome};
pub use estate::{Estate, GRANT_FRAMES, Playground};
pub use generator::Generator;
pub use operation::Operation;
pub use random::Random;
pub use reach::Reach;
