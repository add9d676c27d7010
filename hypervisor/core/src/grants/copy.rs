//! Copying between frames by grant: what network packets travel by.
//! Nothing is mapped and nothing recorded: both sides are judged, the bytes move, and the entries are let go.

use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, copy_flags};
use hypercall_abi::{DomId, GrantRef, Mfn, PAGE_SIZE};

use super::table::{GrantTable, Use};
use crate::call::Call;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::world::World;

/// One side of a copy, judged.
struct Side {
    frame: Mfn,
    used: Option<Use>,
}

#[inline]
fn side<M: Machine>(
    world: &World,
    memory: &mut M,
    caller: DomId,
    side: &CopySide,
    is_grant: bool,
    write: bool,
) -> Result<Side, GrantStatus> {
    let named = if side.domid == DomId::SELF.0 { caller } else { DomId(side.domid) };
    let (frame, used, owner) = if is_grant {
        let reference = GrantRef(u32::try_from(side.frame_or_ref).map_err(|_| GrantStatus::BadGntref)?);
        let granter = world.domains.get(named).ok_or(GrantStatus::BadDomain)?;
        let used = granter.grants.begin_use(memory, reference, caller, write)?;
        (used.frame, Some(used), named)
    } else {
        if named != caller {
            return Err(GrantStatus::PermissionDenied);
        }
        (Mfn(side.frame_or_ref), None, caller)
    };
    // One lock is held from here to the end of the copy, so what is judged now still holds then and no
    // reference is taken.
    let usable =
        if write { world.frames.may_write(frame, owner) } else { world.frames.owner(frame) == Some(owner) };
    if usable {
        return Ok(Side { frame, used });
    }
    if let Some(used) = used {
        GrantTable::end_use(memory, used);
    }
    Err(GrantStatus::BadPage)
}

/// Carries out one copy for the caller.
#[inline]
pub(super) fn copy<M: Machine>(call: &mut Call<'_, M>, request: &CopyGrant) -> Result<(), GrantStatus> {
    const KNOWN: u16 = copy_flags::SOURCE_GREF | copy_flags::DEST_GREF;
    if request.flags & !KNOWN != 0 {
        return Err(GrantStatus::GeneralError);
    }
    let length = usize::from(request.len);
    let (from, to) = (usize::from(request.source.offset), usize::from(request.dest.offset));
    if from.saturating_add(length) > PAGE_SIZE || to.saturating_add(length) > PAGE_SIZE {
        return Err(GrantStatus::BadCopyArg);
    }
    let source_is_grant = request.flags & copy_flags::SOURCE_GREF != 0;
    let dest_is_grant = request.flags & copy_flags::DEST_GREF != 0;
    let source = side(call.world, call.memory, call.caller, &request.source, source_is_grant, false)?;
    let dest = match side(call.world, call.memory, call.caller, &request.dest, dest_is_grant, true) {
        Ok(dest) => dest,
        Err(status) => {
            if let Some(used) = source.used {
                GrantTable::end_use(call.memory, used);
            }
            return Err(status);
        }
    };
    let overlaps = source.frame == dest.frame && from.abs_diff(to) < length;
    if !overlaps {
        call.memory.copy(
            MachineAddress::in_frame(dest.frame, u64::from(request.dest.offset)),
            MachineAddress::in_frame(source.frame, u64::from(request.source.offset)),
            length,
        );
    }
    if let Some(used) = dest.used {
        GrantTable::end_use(call.memory, used);
    }
    if let Some(used) = source.used {
        GrantTable::end_use(call.memory, used);
    }
    if overlaps { Err(GrantStatus::BadCopyArg) } else { Ok(()) }
}
