//! Setting up a grant table: its frames, its size, its version.
//! Frames beyond the first are taken only when a guest asks for them, so that a small guest pays for one.

use hypercall_abi::Errno;
use hypercall_abi::grant_table::{GrantStatus, QuerySize, SetVersion, SetupTable};

use super::TABLE_FRAMES_MAX;
use crate::builder;
use crate::call::Call;
use crate::guest_access;
use crate::machine::Machine;

/// Whether the caller may ask about this domain's table.
fn judge<M: Machine>(call: &Call<'_, M>, named: u16) -> Result<(), GrantStatus> {
    call.own_domain(named).map(|_| ()).map_err(|errno| match errno {
        Errno::Perm => GrantStatus::PermissionDenied,
        _ => GrantStatus::BadDomain,
    })
}

/// Grows the caller's table and tells where its frames are.
pub(super) fn setup<M: Machine>(call: &mut Call<'_, M>, request: &SetupTable) -> Result<(), GrantStatus> {
    judge(call, request.dom)?;
    let wanted = usize::try_from(request.frames).map_err(|_| GrantStatus::GeneralError)?;
    if wanted > TABLE_FRAMES_MAX {
        return Err(GrantStatus::GeneralError);
    }
    let world = &mut *call.world;
    let domain = world.domains.get_mut(call.caller).ok_or(GrantStatus::BadDomain)?;
    let root = domain.vcpu.root();
    while domain.grants.frames.len() < wanted {
        if !domain.grants.has_room() {
            return Err(GrantStatus::NoDeviceSpace);
        }
        let frame = builder::take_shared(call.memory, &mut world.frames, &mut domain.address_space)
            .ok_or(GrantStatus::NoDeviceSpace)?;
        domain.grants.frames.push(frame);
    }
    let mut at = request.frame_list;
    for frame in domain.grants.frames.iter().take(wanted) {
        guest_access::write(call.memory, &world.frames, root, at, &frame.0)
            .map_err(|_| GrantStatus::BadVirtAddr)?;
        at = at.wrapping_add(8);
    }
    Ok(())
}

/// Says how large the caller's table is.
pub(super) fn query<M: Machine>(call: &Call<'_, M>, request: &mut QuerySize) -> Result<(), GrantStatus> {
    judge(call, request.dom)?;
    let domain = call.world.domains.get(call.caller).ok_or(GrantStatus::BadDomain)?;
    request.frames = u32::try_from(domain.grants.frames.len()).unwrap_or(u32::MAX);
    request.max_frames = u32::try_from(TABLE_FRAMES_MAX).unwrap_or(u32::MAX);
    Ok(())
}

/// Sets the version, of which there is one; the structure tells which is in force.
///
/// # Errors
/// `Inval`: another version.
pub(super) fn set_version(request: &mut SetVersion) -> Result<(), Errno> {
    let wanted = core::mem::replace(&mut request.version, 1);
    if wanted == 1 { Ok(()) } else { Err(Errno::Inval) }
}
