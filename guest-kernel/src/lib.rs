//! Denizen's guest kernel: a library OS that an application links to become a domain.
//! It exists so that a guest is ordinary async Rust: no page tables, no interrupts, no scheduler of its own.
//!
//! Read in this order: `machine::entry` (how the hypervisor enters), `machine::start` (what happens before `main`),
//! `machine::hypercall` (how we ask), [`events`] and `machine::upcall` (how we are told), `machine::executor` (how
//! tasks run and when the domain sleeps). What needs no hypervisor lies outside `machine` and is tested on the host.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! guest_kernel::main!(run);
//!
//! async fn run(guest: guest_kernel::Guest) {
//!     guest_kernel::println!("hello from {} bytes", guest.memory_bytes());
//! }
//! ```

#![cfg_attr(not(any(test, feature = "embed")), no_std)]

#[cfg(target_os = "none")]
extern crate alloc;

pub mod backlog;
pub mod backtrace;
pub mod command_line;
pub mod events;
pub mod grant_entry;
pub mod link;
#[cfg(target_os = "none")]
mod machine;
#[cfg(any(test, target_os = "none"))]
mod page_source;
pub mod pages;
pub mod port_set;
pub mod process;
pub mod ranges;
pub mod symbols;
pub mod timers;

#[cfg(target_os = "none")]
pub use machine::*;
