//! The ground that hypervisor and guest both stand on: numbers, structures and ring rules, plain data only.
//! It exists once, so that the two sides of the interface cannot drift apart.
//!
//! Most of it is the public Xen paravirtual interface for x86_64 (facts from `xen/include/public`), so
//! that one guest runs on real Xen as well. What Denizen adds is in [`extension`] and [`device`], behind one
//! hypercall number that Xen leaves free.
//!
//! Read in this order: [`layout`] (what lies where), [`start_info`] (what a guest finds at its start),
//! [`hypercall`] (how it asks), [`shared_info`] and [`event_channel`] (how it is told), [`grant_table`] (how it
//! shares), [`ring`] (how two domains talk).

#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
pub mod describe;

pub mod blkif;
pub mod console;
pub mod device;
pub mod elf_note;
pub mod errno;
pub mod event_channel;
pub mod extension;
pub mod grant_table;
pub mod hypercall;
pub mod ids;
pub mod layout;
pub mod memory;
pub mod mmu;
pub mod multicall;
pub mod netif;
pub mod physdev;
pub mod reference;
pub mod ring;
pub mod sched;
pub mod shared_info;
pub mod start_info;
pub mod trap;
pub mod vcpu;
pub mod version;

pub use errno::Errno;
pub use hypercall::Hypercall;
pub use ids::{DomId, GrantRef, Mfn, Pfn, Port};

/// Bytes in a page and in a machine frame.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
