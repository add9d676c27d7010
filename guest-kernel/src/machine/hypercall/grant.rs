//! Operations on grant tables; each element reports its own status.

use hypercall_abi::grant_table::{
    CopyGrant, GrantStatus, GrantTableOp, MapGrantRef, SetVersion, SetupTable, UnmapGrantRef,
};
use hypercall_abi::{DomId, Errno, Hypercall, Mfn};

use super::raw::call3;
use super::{Result, address, done, number};

/// # Safety
/// As the operation says.
unsafe fn operate<T>(op: GrantTableOp, elements: &mut [T]) -> Result {
    // SAFETY: the array holds the structures of this operation; the caller answers for what it changes.
    done(unsafe {
        call3::<{ number(Hypercall::GrantTableOp) }>(
            op.raw().into(),
            address(elements),
            elements.len() as u64,
        )
    })
}

/// The frames of our own table, grown to as many as the list is long.
///
/// # Errors
/// As the hypervisor says; a refused size is [`Errno::Inval`].
pub fn setup_table(frames: &mut [Mfn]) -> Result {
    let mut argument = SetupTable {
        dom: DomId::SELF.0,
        pad: 0,
        frames: frames.len() as u32,
        status: 0,
        pad2: [0; 3],
        frame_list: address(frames),
    };
    // SAFETY: the list has room for as many frames as are asked for.
    unsafe { operate(GrantTableOp::SetupTable, core::slice::from_mut(&mut argument)) }?;
    if argument.status == GrantStatus::Okay.raw() { Ok(()) } else { Err(Errno::Inval) }
}

/// Chooses the layout of our table's entries; 1 is the only one that is used here.
///
/// # Errors
/// As the hypervisor says.
pub fn set_version(version: u32) -> Result {
    // SAFETY: no entry is in use yet when this is called, and a refusal changes nothing.
    unsafe { operate(GrantTableOp::SetVersion, &mut [SetVersion { version }]) }
}

/// Copies between our frames and granted ones; each element's status says what became of it.
///
/// # Safety
/// Destinations of ours must be memory that may be overwritten now.
///
/// # Errors
/// As the hypervisor says of the call as a whole.
pub unsafe fn copy(elements: &mut [CopyGrant]) -> Result {
    // SAFETY: the caller answers for the destinations.
    unsafe { operate(GrantTableOp::Copy, elements) }
}

/// Maps granted frames; each element's status says what became of it.
///
/// # Safety
/// The addresses must not be in use.
///
/// # Errors
/// As the hypervisor says of the call as a whole.
pub unsafe fn map(elements: &mut [MapGrantRef]) -> Result {
    // SAFETY: the caller answers for the addresses.
    unsafe { operate(GrantTableOp::MapGrantRef, elements) }
}

/// Undoes mappings; each element's status says what became of it.
///
/// # Safety
/// The addresses must not be used again.
///
/// # Errors
/// As the hypervisor says of the call as a whole.
pub unsafe fn unmap(elements: &mut [UnmapGrantRef]) -> Result {
    // SAFETY: the caller answers for the addresses.
    unsafe { operate(GrantTableOp::UnmapGrantRef, elements) }
}
