//! `grant_table_op`: arrays of operations, each with a status of its own.
//! Only a structure that cannot be read or written fails the call; everything else is that operation's status.

use hypercall_abi::Errno;
use hypercall_abi::grant_table::{
    CopyGrant, GrantStatus, GrantTableOp, MapGrantRef, QuerySize, SetVersion, SetupTable, UnmapGrantRef,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::copy::Request;
use super::{COPIES_MAX, OPERATIONS_MAX, copy, mapping, setup};
use crate::call::Call;
use crate::guest_access::{Access, View};
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::trace::{Category, Record, laid_out, with_first};

/// Writes the trace's record of one operation, if the trace is on.
#[inline]
fn traced<M: Machine>(call: &mut Call<'_, M>, op: GrantTableOp, status: i16, peer: u16, reference: u32) {
    if call.world.trace.wants(Category::Grant) {
        let record = Record::Grant {
            op: u8::try_from(op.raw()).unwrap_or(u8::MAX),
            status: u8::try_from(status.unsigned_abs()).unwrap_or(u8::MAX),
            peer,
            reference,
        };
        call.world.trace.put(call.memory, call.caller, &record);
    }
}

const fn raw(result: &Result<(), GrantStatus>) -> i16 {
    match result {
        Ok(()) => GrantStatus::Okay.raw(),
        Err(status) => status.raw(),
    }
}

/// `grant_table_op(op, operations, count)`.
///
/// # Errors
/// `Fault`: an operation lies in no writable memory; those before it were carried out. `NoSys`: unknown operation.
/// `TooBig`: more than [`COPIES_MAX`] copies or [`OPERATIONS_MAX`] other operations. `Inval`: several where there can be one, or another version.
#[inline]
pub fn grant_table_op<M: Machine>(call: &mut Call<'_, M>, args: [u64; 5]) -> Result<u64, Errno> {
    let [op, at, count, ..] = args;
    // Both are numbers of 32 bits in the interface; what stands above them means nothing.
    let (op, count) = (op & 0xffff_ffff, count & 0xffff_ffff);
    let op = u32::try_from(op).ok().and_then(GrantTableOp::from_raw).ok_or(Errno::NoSys)?;
    if count > COPIES_MAX || (count > OPERATIONS_MAX && op != GrantTableOp::Copy) {
        return Err(Errno::TooBig);
    }
    match op {
        GrantTableOp::Copy if call.world.trace.wants(Category::Grant) => recorded_copies(call, at, count),
        GrantTableOp::Copy => copies::<_, false>(call, at, count),
        GrantTableOp::MapGrantRef => each(call, at, count, |call, request: &mut MapGrantRef| {
            let result = mapping::map(call, request);
            request.status = raw(&result.map(|(handle, frame)| {
                request.handle = handle;
                request.dev_bus_addr = frame.address();
            }));
            traced(call, op, request.status, request.dom, request.reference);
            Ok(())
        }),
        GrantTableOp::UnmapGrantRef => each(call, at, count, |call, request: &mut UnmapGrantRef| {
            request.status = raw(&mapping::unmap(call, request));
            traced(call, op, request.status, 0, request.handle);
            Ok(())
        }),
        GrantTableOp::SetupTable => {
            one(count)?;
            each(call, at, count, |call, request: &mut SetupTable| {
                request.status = raw(&setup::setup(call, request));
                Ok(())
            })
        }
        GrantTableOp::QuerySize => {
            one(count)?;
            each(call, at, count, |call, request: &mut QuerySize| {
                request.status = raw(&setup::query(call, request));
                Ok(())
            })
        }
        GrantTableOp::SetVersion => {
            one(count)?;
            each(call, at, count, |_, request: &mut SetVersion| setup::set_version(request))
        }
    }
}

fn one(count: u64) -> Result<(), Errno> {
    if count == 1 { Ok(()) } else { Err(Errno::Inval) }
}

/// Carries out each operation of an array on a copy of it, and writes the copy back.
fn each<M: Machine, T: FromBytes + IntoBytes + Immutable>(
    call: &mut Call<'_, M>,
    at: u64,
    count: u64,
    mut act: impl FnMut(&mut Call<'_, M>, &mut T) -> Result<(), Errno>,
) -> Result<u64, Errno> {
    let size = u64::try_from(size_of::<T>()).unwrap_or(0);
    let mut at = at;
    for _ in 0..count {
        let view = View::of(call.domain()?, &call.world.frames);
        let last = at.saturating_add(size).saturating_sub(1);
        // Found out before anything is done: an operation that is done must be able to say so.
        view.translate(call.memory, at, Access::Write)?;
        view.translate(call.memory, last, Access::Write)?;
        let mut request: T = view.read(call.memory, at)?;
        let result = act(call, &mut request);
        View::of(call.world.domain(call.caller)?, &call.world.frames).write(call.memory, at, &request)?;
        result?;
        at = at.wrapping_add(size);
    }
    Ok(0)
}

/// What the trace will say of a copy: made before it, so that what was read need not be kept over it.
#[inline(always)]
fn to_trace<M: Machine, const RECORDED: bool>(call: &Call<'_, M>, request: Request) -> [u64; 2] {
    if RECORDED { laid_out(call.caller, &request.record()) } else { [0; 2] }
}

/// Writes the trace's record of one copy.
#[inline(always)]
fn trace_copy<M: Machine, const RECORDED: bool>(call: &mut Call<'_, M>, [head, copy]: [u64; 2], status: i16) {
    if RECORDED {
        let [status, _] = 0_i16.wrapping_sub(status).to_le_bytes();
        call.world.trace.put_words(call.memory, [with_first(head, status), copy]);
    }
}

/// Copies, whose structures are translated once and answered in one word when they lie conveniently.
#[inline(always)]
fn copies<M: Machine, const RECORDED: bool>(
    call: &mut Call<'_, M>,
    at: u64,
    count: u64,
) -> Result<u64, Errno> {
    let mut at = at;
    for _ in 0..count {
        let offset = at & 0xfff;
        if offset & 7 != 0 || offset > 4096 - 40 {
            each(call, at, 1, |call, request: &mut CopyGrant| {
                let words = Request::from(&*request);
                let record = to_trace::<M, RECORDED>(call, words);
                request.status = raw(&copy::copy(call, words));
                trace_copy::<M, RECORDED>(call, record, request.status);
                Ok(())
            })?;
        } else {
            let view = View::of(call.domain()?, &call.world.frames);
            let place = view.translate(call.memory, at, Access::Write)?;
            let [a, b, c, d, e] =
                [0, 8, 16, 24, 32].map(|offset| MachineAddress(place.0.wrapping_add(offset)));
            let tail = call.memory.load(e);
            let words = [a, b, c, d].map(|at| call.memory.load(at));
            let [first, second, third, fourth] = words;
            let request = Request([first, second, third, fourth, tail]);
            let record = to_trace::<M, RECORDED>(call, request);
            let status = raw(&copy::copy(call, request));
            trace_copy::<M, RECORDED>(call, record, status);
            let [len_low, len_high, flags_low, flags_high, ..] = tail.to_le_bytes();
            let [status_low, status_high] = status.to_le_bytes();
            let word = [len_low, len_high, flags_low, flags_high, status_low, status_high, 0, 0];
            call.memory.store(e, u64::from_le_bytes(word));
        }
        at = at.wrapping_add(40);
    }
    Ok(0)
}

/// The same with a record of each.
#[inline(never)]
fn recorded_copies<M: Machine>(call: &mut Call<'_, M>, at: u64, count: u64) -> Result<u64, Errno> {
    copies::<_, true>(call, at, count)
}
