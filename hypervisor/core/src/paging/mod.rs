//! Page tables that guests own and the hypervisor vouches for.
//! They exist because a guest's tables are the ones that the processor walks: each entry is judged before it is written.
//!
//! A frame becomes a table of level n by **validation**: each present entry is judged, takes its reference, and for
//! levels above 1 makes the table below it valid first. From then on the guest may only read it, and every change is
//! one entry through [`tables::Tables::update`]: judge the new entry, take what it refers to, write it, give back what
//! the old one referred to. When its last use goes the table is **released**, an entry at a time, by a queue in the
//! [`AddressSpace`]: work that a guest can pile up is done in bounded pieces.
//!
//! What an entry may say: frames of the domain itself, device frames that it was given, frames granted to it (those
//! through [`crate::grants`] alone). Large pages, reserved bits, the hypervisor's slots of level 4 and tables that refer
//! to themselves are refused. Every entry of a guest whose kernel is in ring 3 is made accessible to user mode, and none of any guest is
//! global.

mod entry;
mod mmu_update;
mod mmuext;
mod release;
mod space;
mod tables;
mod teardown;
mod va_mapping;

#[cfg(test)]
mod tests;

pub use mmu_update::mmu_update;
pub use mmuext::mmuext_op;
pub use space::AddressSpace;
pub use teardown::Progress;
pub use va_mapping::update_va_mapping;

pub(crate) use space::Maps;
pub(crate) use tables::Tables;

use hypercall_abi::Hypercall;

use crate::call::Call;
use crate::machine::Machine;
use crate::trace::{Category, Record};

/// Writes the trace's record of a call's work, if the trace is on.
#[inline]
fn trace<M: Machine>(call: &mut Call<'_, M>, hypercall: Hypercall, done: u64) {
    if call.world.trace.wants(Category::PageTable) {
        let number = u8::try_from(hypercall.raw()).unwrap_or(u8::MAX);
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        let tables = call.domain().map_or(0, |domain| domain.address_space.tables);
        call.world.trace.put(call.memory, call.caller, &Record::PageTable { number, done, tables });
    }
}

/// Entries by which one domain may refer to the parts of its image that it shares: so few that all domains together cannot
/// exhaust the count of one frame, so that none can keep another from its image.
pub(crate) const IMAGE_ENTRIES_MAX: u32 = 1 << 15;

/// Entries of a table.
pub(crate) const ENTRIES: u64 = 512;
/// Entries that one call validates and releases; a tree of more tables is pinned from the bottom.
pub(crate) const WORK_PER_CALL: u32 = 256 * 512;
