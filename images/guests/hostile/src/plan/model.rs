//! Which answers the interface allows.
//! An answer outside of it is a breach, whatever was asked.

use hypercall_abi::grant_table::GrantStatus;
use hypercall_abi::{Errno, Hypercall};

use crate::Call;

/// What came back from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Accepted,
    /// Refused as a whole.
    Refused(Errno),
    /// Carried out, with a grant operation that failed.
    Status(GrantStatus),
    /// Nothing that the interface knows.
    Odd(u64),
}

/// Reads an answer: RAX, and the bytes at [`Call::reads`].
#[must_use]
pub fn answer(call: &Call, rax: u64, after: &[u8]) -> Answer {
    let signed = rax as i64;
    if (-4095..0).contains(&signed) {
        return match Errno::from_raw(-signed as i32) {
            Some(errno) => Answer::Refused(errno),
            None => Answer::Odd(rax),
        };
    }
    match status_offset(call).and_then(|offset| after.get(offset..offset + 2)) {
        None => Answer::Accepted,
        Some(bytes) => {
            let raw = i16::from_le_bytes([bytes[0], bytes[1]]);
            match GrantStatus::from_raw(raw) {
                Some(GrantStatus::Okay) => Answer::Accepted,
                Some(status) => Answer::Status(status),
                None => Answer::Odd(rax),
            }
        }
    }
}

/// Whether a call may be refused with this error.
#[must_use]
pub fn allows(call: Hypercall, errno: Errno) -> bool {
    use Errno as E;
    use Hypercall as H;
    let documented: &[Errno] = match call {
        H::SetTrapTable => &[E::Fault, E::Inval, E::NoMem],
        H::MmuUpdate => &[E::Again, E::Busy, E::Fault, E::Inval, E::NoMem, E::NoSys, E::Perm, E::TooBig],
        H::UpdateVaMapping => &[E::Again, E::Busy, E::Inval, E::Perm, E::TooBig],
        H::MmuextOp => &[
            E::Access,
            E::Again,
            E::Busy,
            E::Fault,
            E::Inval,
            E::NoMem,
            E::NoSys,
            E::OpNotSupp,
            E::Perm,
            E::TooBig,
        ],
        H::SetGdt => &[E::Fault, E::Inval, E::OpNotSupp],
        H::SetDebugreg => &[E::Inval, E::Perm],
        H::StackSwitch | H::SetCallbacks | H::GetDebugreg | H::UpdateDescriptor | H::SetSegmentBase => {
            &[E::Inval]
        }
        H::FpuTaskswitch | H::SetTimerOp | H::Iret => &[],
        H::MemoryOp => &[E::Fault, E::NoSys, E::Perm, E::Srch],
        H::Multicall => &[E::Fault],
        H::XenVersion | H::ConsoleIo => &[E::Fault, E::NoSys],
        H::GrantTableOp => &[E::Again, E::Fault, E::Inval, E::NoMem, E::NoSys, E::TooBig],
        H::VmAssist => &[E::Inval, E::NoSys],
        H::VcpuOp => &[E::Fault, E::NoEnt, E::NoSys, E::Time],
        H::SchedOp => &[E::Fault, E::Inval, E::NoSys],
        H::CallbackOp => &[E::Fault, E::Inval, E::NoSys],
        H::EventChannelOp => {
            &[E::Exist, E::Fault, E::Inval, E::NoEnt, E::NoMem, E::NoSpc, E::NoSys, E::Perm, E::Srch]
        }
        H::PhysdevOp => &[E::Fault, E::Inval, E::NoDev, E::NoSpc, E::NoSys, E::Perm, E::Srch],
        H::Extension => &[E::Fault, E::Inval, E::NoDev, E::NoSys, E::Perm, E::Srch],
    };
    documented.contains(&errno)
}

/// Where the first element of a grant operation reports its status.
fn status_offset(call: &Call) -> Option<usize> {
    use core::mem::offset_of;
    use hypercall_abi::grant_table as g;
    let elements = call.args[2] as u32;
    if call.number != u64::from(Hypercall::GrantTableOp.raw())
        || elements == 0
        || call.args[1] != call.reads.0
    {
        return None;
    }
    match g::GrantTableOp::from_raw(call.args[0] as u32)? {
        g::GrantTableOp::MapGrantRef => Some(offset_of!(g::MapGrantRef, status)),
        g::GrantTableOp::UnmapGrantRef => Some(offset_of!(g::UnmapGrantRef, status)),
        g::GrantTableOp::SetupTable => Some(offset_of!(g::SetupTable, status)),
        g::GrantTableOp::Copy => Some(offset_of!(g::CopyGrant, status)),
        g::GrantTableOp::QuerySize => Some(offset_of!(g::QuerySize, status)),
        g::GrantTableOp::SetVersion => None,
    }
}
