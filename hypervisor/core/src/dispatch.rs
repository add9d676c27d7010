//! From a hypercall's number to its handler.
//! It is the hottest path of the hypervisor: one counter, one match.

use hypercall_abi::{DomId, Errno, Hypercall, hypercall};

use crate::call::Call;
use crate::machine::Machine;
use crate::registers::Registers;
use crate::switch::{finish, upcall_due};
use crate::trace::Record;
use crate::world::World;
use crate::{console, devices, events, extension, multicall, sched, traps, version};

/// Arguments of a hypercall: RDI RSI RDX R10 R8.
pub type Arguments = [u64; 5];

/// In a trace: a number past the table.
const UNKNOWN: u16 = u16::MAX;

/// Numbers that are hypercalls, a bit each.
const KNOWN: u64 = {
    let mut bits = 0_u64;
    let mut left = Hypercall::ALL;
    while let [first, rest @ ..] = left {
        bits |= 1 << first.raw();
        left = rest;
    }
    bits
};

/// A hypercall's number as it stands in RAX.
const fn number_of(hypercall: Hypercall) -> u64 {
    #[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
    let number = hypercall.raw() as u64;
    number
}

/// Whether there is a hypercall of this number.
#[inline]
pub(crate) const fn is_known(number: u64) -> bool {
    number < 64 && (KNOWN >> number) & 1 != 0
}

/// What `RAX` holds for a result.
#[inline]
const fn rax(result: Result<u64, Errno>) -> u64 {
    match result {
        Ok(value) => value,
        Err(errno) => errno.to_rax(),
    }
}

/// Answers the hypercall in `regs`. Returns whether nothing is left to be done before the return.
#[inline]
pub(crate) fn hypercall<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers) -> bool {
    const VERSION: u64 = number_of(Hypercall::XenVersion);
    let Some(caller) = world.current else { return false };
    let Some(domain) = world.domains.get_mut(caller) else { return false };
    if !world.attention.is_empty() {
        carefully(world, m, regs, caller);
        return false;
    }
    let number = regs.rax;
    count(domain, number);
    // What needs nothing but an answer is answered here.
    regs.rax = match number {
        VERSION if regs.rdi == 0 => version::INTERFACE,
        _ if is_known(number) => return served(world, m, regs, caller),
        _ => Errno::NoSys.to_rax(),
    };
    !upcall_due(world, m) || finish(world, m, regs, caller)
}

/// The same with something out of the ordinary.
#[cold]
#[inline(never)]
fn carefully<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) {
    let Some(domain) = world.domains.get_mut(caller) else { return };
    if domain.vcpu.user_mode {
        traps::system_call(world, m, regs, caller);
        return;
    }
    count(domain, regs.rax);
    let number = traced_number(regs.rax);
    let entry =
        Record::HypercallEntry { number, arg0: regs.rdi, arg1: regs.rsi, arg2: regs.rdx, arg3: regs.r10 };
    world.trace.put(m, caller, &entry);
    serve(world, m, regs, caller);
    world.trace.put(m, caller, &Record::HypercallExit { number, result: regs.rax });
}

/// Counts a hypercall.
#[inline]
pub(crate) fn count(domain: &mut crate::domain::Domain, number: u64) {
    let counters = &mut domain.counters;
    match usize::try_from(number).ok().and_then(|index| counters.hypercalls.get_mut(index)) {
        Some(count) => *count = count.wrapping_add(1),
        None => counters.unknown = counters.unknown.wrapping_add(1),
    }
}

/// The number in a trace.
pub(crate) fn traced_number(number: u64) -> u16 {
    u16::try_from(number).ok().filter(|number| usize::from(*number) < hypercall::COUNT).unwrap_or(UNKNOWN)
}

/// Answers a hypercall that is known. Returns whether nothing is left to be done before the return.
#[inline(never)]
fn served<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
    serve(world, m, regs, caller);
    finish(world, m, regs, caller)
}

#[inline]
fn serve<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) {
    const IRET: u64 = number_of(Hypercall::Iret);
    const MULTICALL: u64 = number_of(Hypercall::Multicall);
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8];
    let mut call = Call { world, memory: m, caller };
    regs.rax = match regs.rax {
        IRET => {
            traps::iret(&mut call, regs);
            return;
        }
        MULTICALL => {
            multicall::multicall(&mut call, regs);
            return;
        }
        number => answer(&mut call, number, &args),
    };
}

/// One handler, apart from the others so that none pays for another's stack.
#[inline(never)]
fn apart<M: Machine>(
    call: &mut Call<'_, M>,
    args: &Arguments,
    handler: impl FnOnce(&mut Call<'_, M>, Arguments) -> Result<u64, Errno>,
) -> u64 {
    rax(handler(call, *args))
}

/// Answers one hypercall, which may be part of a multicall; what RAX holds afterwards.
#[inline]
pub(crate) fn answer<M: Machine>(call: &mut Call<'_, M>, number: u64, args: &Arguments) -> u64 {
    const VERSION: u64 = number_of(Hypercall::XenVersion);
    if number == VERSION && args.first() == Some(&0) {
        return version::INTERFACE;
    }
    let Some(known) = u32::try_from(number).ok().and_then(Hypercall::from_raw) else {
        return Errno::NoSys.to_rax();
    };
    match known {
        Hypercall::SetTrapTable => apart(call, args, traps::set_trap_table),
        Hypercall::MmuUpdate => apart(call, args, crate::paging::mmu_update),
        Hypercall::SetGdt => rax(traps::set_gdt(*args)),
        Hypercall::StackSwitch => apart(call, args, traps::stack_switch),
        Hypercall::SetCallbacks => apart(call, args, traps::set_callbacks),
        Hypercall::FpuTaskswitch => apart(call, args, traps::fpu_taskswitch),
        Hypercall::SetDebugreg => rax(traps::set_debugreg(*args)),
        Hypercall::GetDebugreg => rax(traps::get_debugreg(*args)),
        Hypercall::MemoryOp => apart(call, args, crate::memory_op::memory_op),
        Hypercall::UpdateVaMapping => apart(call, args, crate::paging::update_va_mapping),
        Hypercall::SetTimerOp => apart(call, args, sched::set_timer_op),
        Hypercall::XenVersion => apart(call, args, version::xen_version),
        Hypercall::ConsoleIo => apart(call, args, console::console_io),
        Hypercall::GrantTableOp => apart(call, args, crate::grants::grant_table_op),
        Hypercall::VmAssist => rax(version::vm_assist(*args)),
        Hypercall::VcpuOp => apart(call, args, sched::vcpu_op),
        Hypercall::SetSegmentBase => apart(call, args, traps::set_segment_base),
        Hypercall::MmuextOp => apart(call, args, crate::paging::mmuext_op),
        Hypercall::SchedOp => apart(call, args, sched::sched_op),
        Hypercall::CallbackOp => apart(call, args, traps::callback_op),
        Hypercall::EventChannelOp => apart(call, args, events::event_channel_op),
        Hypercall::PhysdevOp => apart(call, args, devices::physdev_op),
        Hypercall::Extension => apart(call, args, extension::extension),
        // A descriptor table is never there; the other two may not be part of a multicall.
        Hypercall::UpdateDescriptor | Hypercall::Multicall | Hypercall::Iret => Errno::Inval.to_rax(),
    }
}
