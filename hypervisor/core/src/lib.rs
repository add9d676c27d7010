//! Denizen's hypervisor as a function of plain data: every decision is taken here, nothing is done here.
//! It exists apart from the hardware so that the whole of it runs, and is attacked, under `cargo test`.
//!
//! The machine (package `hypervisor`) calls in with the World, machine memory behind
//! [`memory::MachineMemory`], and the time as an argument. Back comes an answer, and [`effects::Effects`] that
//! the machine must carry out. What a guest asks is decoded, checked, then committed: a refused request has
//! changed nothing. A word of guest memory is read once and only the copy is judged.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod attention;
mod brief;
pub mod builder;
pub mod call;
mod charge;
pub mod check;
pub mod config;
pub mod console;
pub mod control;
pub mod counters;
pub mod delivery;
pub mod devices;
pub mod dispatch;
pub mod domain;
pub mod domains;
pub mod effects;
pub mod events;
pub mod extension;
#[cfg(any(test, feature = "fakes"))]
pub mod fake;
pub mod frames;
pub mod grants;
pub mod guest_access;
mod images;
pub mod life;
pub mod machine;
pub mod memory;
pub mod memory_op;
pub mod multicall;
pub mod paging;
pub mod pci;
pub mod reclaim;
mod records;
pub mod recount;
pub mod registers;
#[cfg(any(test, feature = "replay"))]
pub mod replay;
pub mod report;
pub mod reserve;
pub mod ring;
pub mod sched;
pub mod scheduler;
pub mod segments;
pub mod switch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod time;
pub mod timers;
pub mod trace;
pub mod traps;
pub mod vcpu;
pub mod version;
pub mod world;
