//! Several hypercalls in one.
//! A long batch gives the processor back between two parts, so that no guest can keep the others waiting.

use core::mem::offset_of;

use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::{Errno, Hypercall};

use crate::call::Call;
use crate::dispatch::{answer, at_once, count, traced_number};
use crate::guest_access::{Access, View};
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::trace::Record;

/// ns after which the rest of a batch waits for the next return to the guest.
const LONG_NS: u64 = 500_000;
/// Parts between two looks at the clock.
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
    let mut regs = Registers::default();
    while left > 0 {
        let entry = place.of(call, at)?;
        let load = |offset| call.memory.load(MachineAddress(entry.0.wrapping_add(offset)));
        let number = load(0);
        (regs.rax, regs.rdi, regs.rsi) = (number, load(ARGS), load(ARGS + 8));
        (regs.rdx, regs.r10, regs.r8) = (load(ARGS + 16), load(ARGS + 24), load(ARGS + 32));
        part(call, &mut regs)?;
        if changes_mappings(number) {
            place = Place::NONE;
        }
        let entry = place.of(call, at)?;
        call.memory.store(MachineAddress(entry.0.wrapping_add(RESULT)), regs.rax);
        at = at.wrapping_add(ENTRY);
        left = left.wrapping_sub(1);
        if left & (PARTS_PER_LOOK - 1) == 0 && left > 0 && call.memory.now().since(start) > LONG_NS {
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

/// Answers the part in `regs`.
#[inline]
fn part<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) -> Result<(), Errno> {
    count(call.domain_mut()?, regs.rax);
    if call.world.trace.is_on() {
        traced(call, regs);
    } else {
        serve(call, regs);
    }
    Ok(())
}

#[inline]
fn serve<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) {
    const NOT_AS_PART: u64 = bit(Hypercall::Multicall) | bit(Hypercall::Iret);
    match at_once(regs.rax, regs.rdi) {
        Some(rax) => regs.rax = rax,
        None if (NOT_AS_PART >> (regs.rax & 63)) & 1 != 0 => regs.rax = Errno::Inval.to_rax(),
        None => answer(call.world, call.memory, regs, call.caller),
    }
}

#[cold]
#[inline(never)]
fn traced<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) {
    let number = traced_number(regs.rax);
    let entry = Record::PartEntry { number, arg0: regs.rdi, arg1: regs.rsi, arg2: regs.rdx };
    call.world.trace.put(call.memory, call.caller, &entry);
    serve(call, regs);
    call.world.trace.put(call.memory, call.caller, &Record::PartExit { number, result: regs.rax });
}

/// Whether a hypercall can change where an address leads.
const fn changes_mappings(number: u64) -> bool {
    const CHANGING: u64 = bit(Hypercall::MmuUpdate)
        | bit(Hypercall::UpdateVaMapping)
        | bit(Hypercall::MmuextOp)
        | bit(Hypercall::GrantTableOp)
        | bit(Hypercall::MemoryOp);
    number < 64 && (CHANGING >> number) & 1 != 0
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

    /// The place of an entry, which must be aligned as a word and may be written.
    #[inline]
    fn of<M: Machine>(&mut self, call: &Call<'_, M>, va: u64) -> Result<MachineAddress, Errno> {
        if va & (ENTRY - 1) != 0 {
            return self.odd(call, va);
        }
        let page = va & !0xfff;
        if page != self.page {
            let view = View::of(call.domain()?, &call.world.frames);
            self.at = view.translate(call.memory, page, Access::Write)?;
            self.page = page;
        }
        Ok(MachineAddress(self.at.0 | (va & 0xfff)))
    }

    /// An entry that is not aligned to its size: fine as long as it crosses no page's end.
    #[cold]
    fn odd<M: Machine>(&mut self, call: &Call<'_, M>, va: u64) -> Result<MachineAddress, Errno> {
        if va & 7 != 0 || (va & 0xfff) > 0x1000 - ENTRY {
            return Err(Errno::Fault);
        }
        View::of(call.domain()?, &call.world.frames).translate(call.memory, va, Access::Write)
    }
}
