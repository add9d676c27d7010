//! Copying between frames by grant: what network packets travel by.
//! Nothing is mapped and nothing recorded: both sides are judged, the bytes move, and the entries are let go.

use hypercall_abi::grant_table::{CopyGrant, GrantStatus, copy_flags};
use hypercall_abi::{DomId, GrantRef, Mfn};

use super::table::{GrantTable, Use};
use crate::call::Call;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::trace::Record;
use crate::world::World;

/// A [`CopyGrant`] as the words that it lies in, which are what is read from the guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request(pub(super) [u64; 5]);

impl From<&CopyGrant> for Request {
    fn from(request: &CopyGrant) -> Self {
        Self(zerocopy::transmute!(*request))
    }
}

/// The half word at `index` of a word.
#[inline]
const fn half(word: u64, index: usize) -> u16 {
    let [a, b, c, d, e, f, ..] = word.to_le_bytes();
    match index {
        0 => u16::from_le_bytes([a, b]),
        1 => u16::from_le_bytes([c, d]),
        _ => u16::from_le_bytes([e, f]),
    }
}

impl Request {
    /// What a trace says of it, but for its status: of the source if that is granted, else of the destination.
    #[inline(always)]
    pub(super) const fn record(self) -> Record {
        let Self([source, source_rest, dest, dest_rest, tail]) = self;
        let is_source = half(tail, 1) & copy_flags::SOURCE_GREF != 0;
        let (reference, rest) = if is_source { (source, source_rest) } else { (dest, dest_rest) };
        let [a, b, c, d, ..] = reference.to_le_bytes();
        Record::GrantCopy {
            status: 0,
            peer: half(rest, 0),
            bytes: half(tail, 0),
            reference: u32::from_le_bytes([a, b, c, d]),
        }
    }
}

/// One side of a copy as the guest names it.
#[derive(Clone, Copy, Debug)]
struct Named {
    frame_or_ref: u64,
    domain: DomId,
    offset: u64,
    is_grant: bool,
}

impl Named {
    #[inline]
    fn new(caller: DomId, frame_or_ref: u64, rest: u64, is_grant: bool) -> Self {
        let domain = DomId(half(rest, 0));
        Self {
            frame_or_ref,
            domain: if domain == DomId::SELF { caller } else { domain },
            offset: u64::from(half(rest, 1)),
            is_grant,
        }
    }
}

/// One side of a copy, judged.
struct Side {
    frame: Mfn,
    used: Option<Use>,
}

#[inline(always)]
fn judge<M: Machine>(
    world: &World,
    memory: &mut M,
    caller: DomId,
    named: Named,
    write: bool,
) -> Result<Side, GrantStatus> {
    let side = if named.is_grant {
        let reference = GrantRef(u32::try_from(named.frame_or_ref).map_err(|_| GrantStatus::BadGntref)?);
        let granter = world.domains.get(named.domain).ok_or(GrantStatus::BadDomain)?;
        let used = granter.grants.begin_use(memory, reference, caller, write)?;
        Side { frame: used.frame, used: Some(used) }
    } else if named.domain == caller {
        Side { frame: Mfn(named.frame_or_ref), used: None }
    } else {
        return Err(GrantStatus::PermissionDenied);
    };
    // One lock is held from here to the end of the copy, so what is judged now still holds then and no
    // reference is taken.
    let usable = if write {
        world.frames.may_write(side.frame, named.domain)
    } else {
        world.frames.is_of(side.frame, named.domain)
    };
    if usable {
        Ok(side)
    } else {
        let_go(memory, &side);
        Err(GrantStatus::BadPage)
    }
}

#[inline(always)]
fn let_go<M: Machine>(memory: &mut M, side: &Side) {
    if let Some(used) = side.used {
        GrantTable::end_use(memory, used);
    }
}

/// Carries out one copy for the caller.
#[inline(always)]
pub(super) fn copy<M: Machine>(call: &mut Call<'_, M>, request: Request) -> Result<(), GrantStatus> {
    const KNOWN: u16 = copy_flags::SOURCE_GREF | copy_flags::DEST_GREF;
    let Request([source, source_rest, dest, dest_rest, tail]) = request;
    let (length, flags) = (u64::from(half(tail, 0)), half(tail, 1));
    if flags & !KNOWN != 0 {
        return Err(GrantStatus::GeneralError);
    }
    let source = Named::new(call.caller, source, source_rest, flags & copy_flags::SOURCE_GREF != 0);
    let dest = Named::new(call.caller, dest, dest_rest, flags & copy_flags::DEST_GREF != 0);
    if source.offset.wrapping_add(length) > 4096 || dest.offset.wrapping_add(length) > 4096 {
        return Err(GrantStatus::BadCopyArg);
    }
    let from = judge(call.world, call.memory, call.caller, source, false)?;
    let to = match judge(call.world, call.memory, call.caller, dest, true) {
        Ok(to) => to,
        Err(status) => {
            let_go(call.memory, &from);
            return Err(status);
        }
    };
    let overlaps = from.frame == to.frame && source.offset.abs_diff(dest.offset) < length;
    if !overlaps {
        call.memory.copy(
            MachineAddress::in_frame(to.frame, dest.offset),
            MachineAddress::in_frame(from.frame, source.offset),
            usize::try_from(length).unwrap_or(0),
        );
    }
    let_go(call.memory, &to);
    let_go(call.memory, &from);
    if overlaps { Err(GrantStatus::BadCopyArg) } else { Ok(()) }
}
