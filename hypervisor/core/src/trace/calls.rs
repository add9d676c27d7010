//! Records of hypercalls, of which only as many arguments are written as the call takes.
//! They are the most frequent records, and their arguments are most of a trace's bytes.

use hypercall_abi::{DomId, Hypercall, hypercall};

use super::layout::head;
use super::records::UNKNOWN;
use super::{Category, Record, Trace};
use crate::machine::Machine;
use crate::registers::Registers;

/// Arguments that a hypercall takes.
const fn arguments(hypercall: Hypercall) -> u8 {
    match hypercall {
        Hypercall::Iret => 0,
        Hypercall::SetTrapTable
        | Hypercall::FpuTaskswitch
        | Hypercall::GetDebugreg
        | Hypercall::SetTimerOp => 1,
        Hypercall::SetGdt
        | Hypercall::StackSwitch
        | Hypercall::SetDebugreg
        | Hypercall::UpdateDescriptor
        | Hypercall::MemoryOp
        | Hypercall::Multicall
        | Hypercall::XenVersion
        | Hypercall::VmAssist
        | Hypercall::SetSegmentBase
        | Hypercall::SchedOp
        | Hypercall::CallbackOp
        | Hypercall::EventChannelOp
        | Hypercall::PhysdevOp => 2,
        Hypercall::SetCallbacks
        | Hypercall::UpdateVaMapping
        | Hypercall::ConsoleIo
        | Hypercall::GrantTableOp
        | Hypercall::VcpuOp => 3,
        Hypercall::MmuUpdate | Hypercall::MmuextOp | Hypercall::Extension => 4,
    }
}

/// The same by number; all of them for a number that is none.
const ARGUMENTS: [u8; hypercall::COUNT] = {
    let mut table = [5; hypercall::COUNT];
    let mut left = Hypercall::ALL;
    while let [first, rest @ ..] = left {
        #[expect(
            clippy::as_conversions,
            clippy::indexing_slicing,
            reason = "a constant, checked by the compiler"
        )]
        {
            table[first.raw() as usize] = arguments(*first);
        }
        left = rest;
    }
    table
};

/// The number in a trace.
#[inline]
pub(crate) fn traced_number(number: u64) -> u8 {
    u8::try_from(number).ok().filter(|number| usize::from(*number) < hypercall::COUNT).unwrap_or(UNKNOWN)
}

/// Records that a hypercall begins.
#[inline]
pub(crate) fn call_entry<M: Machine>(trace: &mut Trace, m: &mut M, domain: DomId, regs: &Registers) {
    const KIND: u8 = Record::HypercallEntry { number: 0, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }.kind();
    entry(trace, m, domain, KIND, regs);
}

/// Records that a part of a multicall begins.
#[inline]
pub(crate) fn part_entry<M: Machine>(trace: &mut Trace, m: &mut M, domain: DomId, regs: &Registers) {
    const KIND: u8 = Record::PartEntry { number: 0, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }.kind();
    entry(trace, m, domain, KIND, regs);
}

/// Records that a hypercall is answered, by the number that it had on entry.
#[inline]
pub(crate) fn call_exit<M: Machine>(trace: &mut Trace, m: &mut M, domain: DomId, number: u8, result: u64) {
    trace.put(m, domain, &Record::HypercallExit { number, result });
}

#[inline(always)]
fn entry<M: Machine>(trace: &mut Trace, m: &mut M, domain: DomId, kind: u8, regs: &Registers) {
    if !trace.wants(Category::Hypercall) {
        return;
    }
    let number = traced_number(regs.rax);
    let count = ARGUMENTS.get(usize::from(number)).copied().unwrap_or(5);
    let head = head(kind, count, domain.0, u64::from(number));
    let Registers { rdi, rsi, rdx, r10, r8, .. } = *regs;
    match count {
        0 => trace.write(m, head, []),
        1 => trace.write(m, head, [rdi]),
        2 => trace.write(m, head, [rdi, rsi]),
        3 => trace.write(m, head, [rdi, rsi, rdx]),
        4 => trace.write(m, head, [rdi, rsi, rdx, r10]),
        _ => trace.write(m, head, [rdi, rsi, rdx, r10, r8]),
    }
}
