//! Several hypercalls in one.
//! A long batch gives the processor back between two parts, so that no guest can keep the others waiting. Nothing comes after
//! a part by which the caller ends: what a dead domain takes would outlive it.

use core::mem::offset_of;

use hypercall_abi::extension::ExtensionOp;
use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::{Errno, Hypercall};

use crate::call::Call;
use crate::dispatch::{Arguments, answer, at_once, count};
use crate::domain::State;
use crate::guest_access::{Access, View};
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::trace;

/// ns after which the rest of a batch waits for the next return to the guest.
const LONG_NS: u64 = 500_000;
/// Parts between two looks at the clock, but for those that can be [`LARGE`].
const PARTS_PER_LOOK: u64 = 16;
/// Bytes of one entry.
const ENTRY: u64 = 64;
const RESULT: u64 = 8;
const ARGS: u64 = 16;

const _: () = assert!(
    size_of::<MulticallEntry>() == 64
        && offset_of!(MulticallEntry, result) == 8
        && offset_of!(MulticallEntry, args) == 16
);

/// `multicall(calls, count)`: the result is [`Errno::Fault`] if an entry cannot be read or its result not be
/// written; the parts before it are done.
#[inline(never)]
pub(crate) fn multicall<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) {
    match parts(call, regs.rdi, regs.rsi) {
        Ok(None) => regs.rax = 0,
        Ok(Some((at, left))) => ask_again(regs, at, left),
        Err(errno) => regs.rax = errno.to_rax(),
    }
}

/// Answers the parts one by one. If that takes too long: the address of the first entry that is left, and how many
/// are left.
#[inline]
fn parts<M: Machine>(
    call: &mut Call<'_, M>,
    mut at: u64,
    mut left: u64,
) -> Result<Option<(u64, u64)>, Errno> {
    let start = call.memory.now();
    let mut place = Place::NONE;
    while left > 0 {
        let mut look = false;
        if at & 7 == 0 && at & 0xfff <= 0x1000 - ENTRY {
            let mut entry = place.of(call, at)?;
            let number = call.memory.load(entry);
            let rax = part(call, number, entry)?;
            if is_of(number, CHANGING | ENDING | LARGE) {
                if is_of(number, ENDING) && !is_running(call)? {
                    return Ok(None);
                }
                place = Place::NONE;
                entry = place.of(call, at)?;
                look = is_of(number, LARGE);
            }
            call.memory.store(MachineAddress(entry.0.wrapping_add(RESULT)), rax);
        } else {
            odd(call, at)?;
            if !is_running(call)? {
                return Ok(None);
            }
            place = Place::NONE;
            look = true;
        }
        at = at.wrapping_add(ENTRY);
        left = left.wrapping_sub(1);
        look |= left & (PARTS_PER_LOOK - 1) == 0;
        if look && left > 0 && call.memory.now().since(start) > LONG_NS {
            return Ok(Some((at, left)));
        }
    }
    Ok(None)
}

/// Makes the guest execute its `syscall` again, for the rest of a batch.
fn ask_again(regs: &mut Registers, calls: u64, count: u64) {
    regs.rip = regs.rip.wrapping_sub(2);
    regs.rax = u64::from(Hypercall::Multicall.raw());
    (regs.rdi, regs.rsi) = (calls, count);
}

/// Answers the part at `entry`; what its result is.
#[inline]
fn part<M: Machine>(call: &mut Call<'_, M>, number: u64, entry: MachineAddress) -> Result<u64, Errno> {
    count(call.domain_mut()?, number);
    let first = call.memory.load(MachineAddress(entry.0.wrapping_add(ARGS)));
    match at_once(number, first) {
        Some(rax) if !call.world.trace.wants_parts() => Ok(rax),
        _ => Ok(longer(call, number, entry)),
    }
}

/// Answers a part that takes more than an answer, or is to be recorded.
#[inline(never)]
fn longer<M: Machine>(call: &mut Call<'_, M>, number: u64, entry: MachineAddress) -> u64 {
    let load = |offset| call.memory.load(MachineAddress(entry.0.wrapping_add(offset)));
    let args = [load(ARGS), load(ARGS + 8), load(ARGS + 16), load(ARGS + 24), load(ARGS + 32)];
    with(call, number, args)
}

/// A part whose entry is not aligned as a word or crosses a page's end.
#[cold]
#[inline(never)]
fn odd<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let entry: MulticallEntry = call.read(at)?;
    // The answer goes where the question came from: what cannot be written is found before anything is done.
    call.write(at, &entry)?;
    count(call.domain_mut()?, entry.op);
    let [first, second, third, fourth, fifth, _] = entry.args;
    let rax = with(call, entry.op, [first, second, third, fourth, fifth]);
    call.write(at.wrapping_add(RESULT), &rax)
}

/// Answers a part with these arguments.
fn with<M: Machine>(call: &mut Call<'_, M>, number: u64, args: Arguments) -> u64 {
    let recorded = call.world.trace.wants_parts();
    if recorded {
        trace::part_entry(&mut call.world.trace, call.memory, call.caller, number, &args);
    }
    let rax = serve(call, number, args);
    if recorded {
        trace::part_exit(&mut call.world.trace, call.memory, call.caller, number, rax);
    }
    rax
}

#[inline]
fn serve<M: Machine>(call: &mut Call<'_, M>, number: u64, args: Arguments) -> u64 {
    let [rdi, rsi, rdx, r10, r8] = args;
    match at_once(number, rdi) {
        Some(rax) => rax,
        None if is_of(number, SPECIAL) && is_no_part(number, rdi) => Errno::Inval.to_rax(),
        None => {
            let mut regs = Registers { rax: number, rdi, rsi, rdx, r10, r8, ..Registers::default() };
            answer(call.world, call.memory, &mut regs, call.caller);
            regs.rax
        }
    }
}

/// Hypercalls that can change where an address leads.
const CHANGING: u64 = bit(Hypercall::MmuUpdate)
    | bit(Hypercall::UpdateVaMapping)
    | bit(Hypercall::MmuextOp)
    | bit(Hypercall::GrantTableOp)
    | bit(Hypercall::MemoryOp);
/// Hypercalls that can take a good part of [`LONG_NS`] each: thousands of requests, hundreds of tables to validate, or much text.
const LARGE: u64 = bit(Hypercall::MmuUpdate)
    | bit(Hypercall::MmuextOp)
    | bit(Hypercall::GrantTableOp)
    | bit(Hypercall::SetTrapTable)
    | bit(Hypercall::ConsoleIo);
/// Hypercalls by which the caller can end.
const ENDING: u64 = bit(Hypercall::SchedOp) | bit(Hypercall::Extension);
/// Hypercalls that are no part of another, or not with each first argument.
const SPECIAL: u64 = bit(Hypercall::Multicall) | bit(Hypercall::Iret) | bit(Hypercall::Extension);

/// Whether a hypercall is one of these.
const fn is_of(number: u64, bits: u64) -> bool {
    number < 64 && (bits >> number) & 1 != 0
}

/// Whether one of [`SPECIAL`] is no part. [`ExtensionOp::IdleUntil`] answers in RAX when its sleep is over, and that is where
/// the whole batch has its answer, or the number by which the guest asks for the rest.
#[inline(never)]
fn is_no_part(number: u64, first: u64) -> bool {
    !is_of(number, bit(Hypercall::Extension)) || first == u64::from(ExtensionOp::IdleUntil.raw())
}

/// Whether the caller has not ended.
fn is_running<M: Machine>(call: &Call<'_, M>) -> Result<bool, Errno> {
    Ok(call.domain()?.state == State::Running)
}

const fn bit(hypercall: Hypercall) -> u64 {
    1 << hypercall.raw()
}

/// Where the last page of entries is in machine memory.
struct Place {
    page: u64,
    at: MachineAddress,
}

impl Place {
    const NONE: Self = Self { page: 1, at: MachineAddress(0) };

    /// The place of an entry, which crosses no page's end and must be writable.
    #[inline]
    fn of<M: Machine>(&mut self, call: &Call<'_, M>, va: u64) -> Result<MachineAddress, Errno> {
        let offset = va & 0xfff;
        let page = va ^ offset;
        if page != self.page {
            let view = View::of(call.domain()?, &call.world.frames);
            self.at = view.translate(call.memory, page, Access::Write)?;
            self.page = page;
        }
        Ok(MachineAddress(self.at.0 | offset))
    }
}
