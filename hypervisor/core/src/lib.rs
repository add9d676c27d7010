//! Denizen's hypervisor as a function of plain data: every decision is taken here, nothing is done here.
//! It exists apart from the hardware so that the whole of it runs, and is attacked, under `cargo test`.
//!
//! The machine (package `hypervisor`) calls in with the [`world::World`], and is itself behind one trait,
//! [`machine::Machine`]: memory that moves words by value, a clock, configuration space. Back comes an answer, and
//! [`effects::Effects`] that the machine must carry out. What a guest asks is decoded, checked, then committed: a refused
//! request has changed nothing. A word of guest memory is read once and only the copy is judged.
//!
//! # Where what is
//!
//! - **In and out.** [`world`] has all state and each entry point; [`dispatch`] leads from a hypercall's number to its handler, which
//!   gets a [`call::Call`]; [`multicall`] does several in one. [`traps`] enters a guest's handlers and leaves them, and
//!   [`switch`] decides before each return who runs. [`guest_access`] follows pointers of guests.
//! - **Memory.** [`frames`] counts what each frame is used for and by whom, [`paging`] judges page-table entries by that, and
//!   [`grants`] lets domains map and copy each other's frames.
//! - **Events and time.** [`events`] has ports and raises events, [`delivery`] decides when a target hears of them, [`scheduler`] who
//!   gets the processor, [`timers`] who waits for what time. [`sched`] has the hypercalls by which guests sleep and set timers.
//! - **Domains.** [`config`] says what is wanted, [`builder`] makes memory of an image, and `birth` a [`domain`] of both;
//!   [`life`] ends it and [`reclaim`] takes back what it held. [`control`] rules them by command.
//! - **Devices.** [`devices`] gives PCI functions ([`pci`]) to driver domains and connects front ends with back ends.
//! - **What is told.** [`console`] takes lines of guests, [`report`] makes lines for programs, and [`trace`] records what happens.
//!   `replay`, in a build of its own, writes a run down and plays it again.
//! - **What must hold.** [`check`] lists the invariants, and [`recount`] adds up all references anew.

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
mod birth;
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
