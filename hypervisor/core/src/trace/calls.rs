//! Records of hypercalls, of which only as many arguments are written as the call takes.
//! They are the most frequent records, and their arguments are most of a trace's bytes.

use hypercall_abi::{DomId, Hypercall, hypercall};

use super::layout::head;
use super::records::UNKNOWN;
use super::stream::words_of;
use super::{Category, Record, Trace};
use crate::dispatch::Arguments;
use crate::machine::Machine;
use crate::registers::Registers;

const ENTRY: u8 = Record::HypercallEntry { number: 0, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }.kind();
const EXIT: u8 = Record::HypercallExit { number: 0, result: 0 }.kind();

/// The most words that a hypercall has as arguments.
const KNOWN_WORDS: usize = 4;

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

/// The first word of the record of a hypercall's beginning by number, without kind and domain. All five words are said
/// to be there for a number that is none.
const HEADS: [u64; hypercall::COUNT] = {
    let mut table = [0; hypercall::COUNT];
    let mut at = 0;
    while at < hypercall::COUNT {
        #[expect(
            clippy::as_conversions,
            clippy::indexing_slicing,
            reason = "a constant, checked by the compiler"
        )]
        {
            table[at] = head(0, 5, 0, at as u64);
            at += 1;
        }
    }
    let mut left = Hypercall::ALL;
    while let [first, rest @ ..] = left {
        #[expect(
            clippy::as_conversions,
            clippy::indexing_slicing,
            reason = "a constant, checked by the compiler"
        )]
        {
            table[first.raw() as usize] = head(0, arguments(*first), 0, first.raw() as u64);
        }
        left = rest;
    }
    table
};

/// The same past the table.
const UNKNOWN_HEAD: u64 = {
    #[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
    let number = UNKNOWN as u64;
    head(0, 5, 0, number)
};

/// The one of a number that is in the table.
#[inline(always)]
fn head_of(number: u64) -> Option<u64> {
    usize::try_from(number).ok().and_then(|number| HEADS.get(number)).copied()
}

/// The number in a trace.
#[inline]
pub(crate) fn traced_number(number: u64) -> u8 {
    u8::try_from(number).ok().filter(|number| usize::from(*number) < hypercall::COUNT).unwrap_or(UNKNOWN)
}

/// Where the arguments of a hypercall are.
pub(crate) trait Asked {
    /// The arguments.
    fn arguments(&self) -> Arguments;
}

impl Asked for Arguments {
    #[inline(always)]
    fn arguments(&self) -> Arguments {
        *self
    }
}

impl Asked for Registers {
    #[inline(always)]
    fn arguments(&self) -> Arguments {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8]
    }
}

/// Records that a hypercall begins whose number is one, if there is room at hand. Like all here it calls nothing, so it needs no
/// stack.
#[inline(always)]
pub(crate) fn call_entry_at_hand<M: Machine>(
    trace: &mut Trace,
    m: &M,
    DomId(domain): DomId,
    regs: &Registers,
) -> bool {
    let (Some(known), true) = (head_of(regs.rax), trace.wants(Category::Hypercall)) else { return false };
    let head = known | head(ENTRY, 0, domain, 0);
    let words = words_of(head);
    let argument = |at| argument(regs, at);
    let done = trace.stream.write_fields_at_hand::<KNOWN_WORDS>(m.ticks(), head, argument, words);
    if done {
        trace.count(ENTRY);
    }
    done
}

/// The same in any case.
#[cold]
#[inline(never)]
pub(crate) fn call_entry<M: Machine>(trace: &mut Trace, m: &M, domain: DomId, regs: &Registers) {
    entry(trace, m, domain, ENTRY, regs.rax, regs);
}

/// Records that a hypercall began and that it is answered, with something else than 0, at once, if there is room at hand.
#[inline(always)]
pub(crate) fn call_at_hand<M: Machine>(
    trace: &mut Trace,
    m: &M,
    domain: DomId,
    regs: &Registers,
    result: u64,
) -> bool {
    let then = m.ticks();
    let (Some(known), true) = (head_of(regs.rax), trace.wants(Category::Hypercall)) else { return false };
    let entry = known | head(ENTRY, 0, domain.0, 0);
    let exit = head(EXIT, 1, domain.0, regs.rax);
    // A number that is none has all of them.
    let argument = |at| argument(regs, at);
    let done = trace.stream.write_pair_at_hand::<5>((then, entry, argument), (m.ticks(), exit, result));
    if done {
        trace.count(ENTRY);
        trace.count(EXIT);
    }
    done
}

/// An argument of a hypercall.
#[inline(always)]
const fn argument(regs: &Registers, at: usize) -> u64 {
    match at {
        0 => regs.rdi,
        1 => regs.rsi,
        2 => regs.rdx,
        3 => regs.r10,
        _ => regs.r8,
    }
}

/// Records that it is answered with 0, by the number of a hypercall, as words of a row.
#[inline(always)]
pub(crate) fn call_exit_row(domain: DomId, number: u64) -> u64 {
    head(EXIT, 0, domain.0, number)
}

/// Records that a part of a multicall begins.
#[inline(never)]
pub(crate) fn part_entry<M: Machine>(trace: &mut Trace, m: &M, domain: DomId, number: u64, args: &Arguments) {
    const KIND: u8 = Record::PartEntry { number: 0, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }.kind();
    entry(trace, m, domain, KIND, number, args);
}

/// Records that a hypercall is answered, by the number that it had on entry.
#[inline(always)]
pub(crate) fn call_exit<M: Machine>(trace: &mut Trace, m: &M, domain: DomId, number: u64, result: u64) {
    exit(trace, m, domain, EXIT, number, result);
}

/// The same for a number that is in the table.
#[inline(always)]
pub(crate) fn known_exit<M: Machine>(trace: &mut Trace, m: &M, domain: DomId, number: u64, result: u64) {
    if trace.wants(Category::Hypercall) {
        write_exit(trace, m, (EXIT, domain), number, result);
    }
}

/// Records that a part of a multicall is answered.
#[inline(never)]
pub(crate) fn part_exit<M: Machine>(trace: &mut Trace, m: &M, domain: DomId, number: u64, result: u64) {
    const KIND: u8 = Record::PartExit { number: 0, result: 0 }.kind();
    exit(trace, m, domain, KIND, number, result);
}

#[inline(always)]
fn entry<M: Machine>(trace: &mut Trace, m: &M, domain: DomId, kind: u8, number: u64, asked: &impl Asked) {
    if !trace.wants(Category::Hypercall) {
        return;
    }
    let head = head_of(number).unwrap_or(UNKNOWN_HEAD) | head(kind, 0, domain.0, 0);
    trace.count(kind);
    if !trace.write_some_at_hand(m, head, asked.arguments()) {
        entry_slowly(trace, m, head, asked);
    }
}

#[cold]
#[inline(never)]
fn entry_slowly<M: Machine>(trace: &mut Trace, m: &M, head: u64, asked: &impl Asked) {
    trace.write_slowly(m, head, asked.arguments());
}

#[inline(always)]
fn exit<M: Machine>(trace: &mut Trace, m: &M, domain: DomId, kind: u8, number: u64, result: u64) {
    if !trace.wants(Category::Hypercall) {
        return;
    }
    write_exit(trace, m, (kind, domain), traced_number(number).into(), result);
}

#[inline(always)]
fn write_exit<M: Machine>(trace: &mut Trace, m: &M, (kind, domain): (u8, DomId), number: u64, result: u64) {
    trace.count(kind);
    if result == 0 {
        trace.write_here(m, head(kind, 0, domain.0, number), []);
    } else {
        trace.write_here(m, head(kind, 1, domain.0, number), [result]);
    }
}
