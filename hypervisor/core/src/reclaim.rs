//! What becomes of a dead domain's memory: everything it held is given back, in pieces.
//! It is one function that is called until it is done, so that whoever ends a domain need not know the order.

use hypercall_abi::{DomId, Mfn};

use crate::domain::Domain;
use crate::domains::Domains;
use crate::frames::FrameTable;
use crate::grants;
use crate::memory::MachineMemory;
use crate::paging::{Progress, Tables};

/// Mappings that are released in one piece.
const MAPPINGS_PER_CALL: usize = 256;

/// Entries and frames that are given back in one piece: about a quarter of a millisecond.
const WORK_PER_CALL: u32 = 16 * 1024;

/// Gives back a piece of what a dead domain held: its roots, what it had mapped of others, its page tables, its memory.
/// The domain must not run any more, and no processor may have its root loaded.
///
/// After [`Progress::Done`] only frames are left that others still map: see [`is_gone`].
pub fn reclaim<M: MachineMemory>(
    domains: &mut Domains,
    frames: &mut FrameTable,
    memory: &mut M,
    dead: DomId,
) -> Progress {
    let Some(domain) = domains.get_mut(dead) else { return Progress::Done };
    domain.grants.close();
    let kernel_root = core::mem::replace(&mut domain.vcpu.kernel_root, Mfn(0));
    let roots = [(kernel_root != Mfn(0)).then_some(kernel_root), domain.vcpu.user_root.take()];
    // A stage that has begun takes no roots, and there are none left to take then.
    Tables::new(frames, memory, &mut domain.address_space).begin_teardown(roots);
    if grants::release_mappings(domains, frames, memory, dead, MAPPINGS_PER_CALL) == Progress::More {
        return Progress::More;
    }
    let Some(domain) = domains.get_mut(dead) else { return Progress::Done };
    let mut tables = Tables::new(frames, memory, &mut domain.address_space);
    tables.work = WORK_PER_CALL;
    tables.teardown()
}

/// Whether nothing is left of a domain whose memory was reclaimed: then its number may be used again.
#[must_use]
pub fn is_gone(frames: &FrameTable, dead: &Domain) -> bool {
    frames.owned_by(dead.id) == 0 && !dead.grants.is_mapped()
}
