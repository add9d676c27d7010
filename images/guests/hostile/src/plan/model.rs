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
