//! The page-table entry of a mapped grant: finding, writing and clearing it.
//! It is the one place where an entry may refer to another domain's frame without privilege.

use hypercall_abi::grant_table::GrantStatus;
use hypercall_abi::mmu::pte;
use hypercall_abi::{DomId, Mfn};

use crate::frames::{FrameTable, FrameType, Level};
use crate::guest_access;
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::Tables;

/// What each entry of a mapped grant says.
const FLAGS: u64 = pte::PRESENT | pte::ACCESSED | pte::DIRTY | pte::NO_EXECUTE;

/// Where the entry lies that a request names: in a level 1 table of `owner`.
pub(super) fn place<M: MachineMemory>(
    memory: &M,
    frames: &FrameTable,
    owner: DomId,
    root: Mfn,
    host_addr: u64,
    contains_pte: bool,
) -> Result<MachineAddress, GrantStatus> {
    let at = if contains_pte {
        if host_addr & 7 != 0 {
            return Err(GrantStatus::GeneralError);
        }
        MachineAddress(host_addr)
    } else {
        let l1 = guest_access::find_l1(memory, root, host_addr).map_err(|_| GrantStatus::BadVirtAddr)?;
        MachineAddress::in_frame(l1, ((host_addr >> 12) & 0x1ff) << 3)
    };
    match frames.type_of_own(at.frame(), owner) {
        Ok(FrameType::Table(Level::L1)) => Ok(at),
        _ => Err(GrantStatus::BadVirtAddr),
    }
}

/// Writes the entry for a frame of `granter`.
pub(super) fn install<M: MachineMemory>(
    tables: &mut Tables<'_, M>,
    at: MachineAddress,
    frame: Mfn,
    granter: DomId,
    write: bool,
) -> Result<(), GrantStatus> {
    let mut new = frame.address() | FLAGS | tables.space.ring().forced();
    if write {
        new |= pte::WRITABLE;
    }
    tables.replace_l1(at, new, granter).map_err(|_| GrantStatus::GeneralError)
}

/// Clears the entry if it still maps the frame as the grant did.
pub(super) fn remove<M: MachineMemory>(
    tables: &mut Tables<'_, M>,
    at: MachineAddress,
    frame: Mfn,
    write: bool,
) -> Result<(), GrantStatus> {
    let entry = tables.memory.load(at);
    let maps_it = entry & pte::PRESENT != 0
        && Mfn::containing(entry & pte::ADDRESS) == frame
        && (entry & pte::WRITABLE != 0) == write;
    if !maps_it {
        return Err(GrantStatus::BadVirtAddr);
    }
    tables.clear_l1(at);
    Ok(())
}
