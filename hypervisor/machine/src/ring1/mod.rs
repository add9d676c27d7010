//! Guests whose kernel runs in ring 1, which paging counts as supervisor.
//! Nothing but the entry area ([`area`]) is mapped while such a guest runs; the ways in ([`stubs`], [`anywhere`]) change
//! to the hypervisor's own root first, and the way out ([`exit`]) changes to the guest's last.
//!
//! Guests in ring 3 pay for none of it: they have their own interrupt table, stacks and `syscall` entry, exchanged when
//! the processor goes over to a guest of the other kind. The argument why this is safe is docs/RING1.md.

pub(crate) mod anywhere;
pub(crate) mod area;
pub(crate) mod exit;
pub(crate) mod stubs;
