//! From a hypercall's number to its handler.
//! It is the hottest path of the hypervisor: one counter, one match.

use hypercall_abi::{DomId, Errno, Hypercall, hypercall};

use crate::call::Call;
use crate::machine::Machine;
use crate::registers::Registers;
use crate::trace::Record;
use crate::world::World;
use crate::{console, devices, events, extension, multicall, sched, traps, version};

/// Arguments of a hypercall: RDI RSI RDX R10 R8.
pub type Arguments = [u64; 5];

/// In a trace: a number past the table.
const UNKNOWN: u16 = u16::MAX;

/// Answers the hypercall in `regs`.
#[inline]
pub(crate) fn hypercall<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers) {
    let Some(caller) = world.current else { return };
    let Some(domain) = world.domains.get_mut(caller) else { return };
    if domain.vcpu.user_mode {
        traps::system_call(world, m, regs, caller);
        return;
    }
    let number = regs.rax;
    count(domain, number);
    if world.trace.is_on() {
        traced(world, m, regs, caller, number);
    } else {
        serve(world, m, regs, caller, number);
    }
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

#[inline]
fn serve<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId, number: u64) {
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8];
    let mut call = Call { world, memory: m, caller };
    let result = match known(number) {
        Some(Hypercall::Iret) => {
            traps::iret(&mut call, regs);
            return;
        }
        Some(Hypercall::Multicall) => match multicall::multicall(&mut call, args) {
            Ok(multicall::Outcome::Done) => Ok(0),
            Ok(multicall::Outcome::Again { calls, count }) => {
                multicall::ask_again(regs, calls, count);
                return;
            }
            Err(errno) => Err(errno),
        },
        Some(known) => answer(&mut call, known, args),
        None => Err(Errno::NoSys),
    };
    regs.rax = match result {
        Ok(value) => value,
        Err(errno) => errno.to_rax(),
    };
}

/// The hypercall with this number.
#[inline]
pub(crate) fn known(number: u64) -> Option<Hypercall> {
    u32::try_from(number).ok().and_then(Hypercall::from_raw)
}

#[cold]
fn traced<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId, raw: u64) {
    let number = traced_number(raw);
    let entry =
        Record::HypercallEntry { number, arg0: regs.rdi, arg1: regs.rsi, arg2: regs.rdx, arg3: regs.r10 };
    world.trace.put(m, caller, &entry);
    serve(world, m, regs, caller, raw);
    world.trace.put(m, caller, &Record::HypercallExit { number, result: regs.rax });
}

/// Answers one hypercall, which may be part of a multicall.
#[inline]
pub(crate) fn answer<M: Machine>(
    call: &mut Call<'_, M>,
    known: Hypercall,
    args: Arguments,
) -> Result<u64, Errno> {
    match known {
        Hypercall::SetTrapTable => traps::set_trap_table(call, args),
        Hypercall::MmuUpdate => crate::paging::mmu_update(call, args),
        Hypercall::SetGdt => traps::set_gdt(args),
        Hypercall::StackSwitch => traps::stack_switch(call, args),
        Hypercall::SetCallbacks => traps::set_callbacks(call, args),
        Hypercall::FpuTaskswitch => traps::fpu_taskswitch(call, args),
        Hypercall::SetDebugreg => traps::set_debugreg(args),
        Hypercall::GetDebugreg => traps::get_debugreg(args),
        Hypercall::UpdateDescriptor => Err(Errno::Inval),
        Hypercall::MemoryOp => crate::memory_op::memory_op(call, args),
        Hypercall::UpdateVaMapping => crate::paging::update_va_mapping(call, args),
        Hypercall::SetTimerOp => sched::set_timer_op(call, args),
        Hypercall::XenVersion => version::xen_version(call, args),
        Hypercall::ConsoleIo => console::console_io(call, args),
        Hypercall::GrantTableOp => crate::grants::grant_table_op(call, args),
        Hypercall::VmAssist => version::vm_assist(args),
        Hypercall::VcpuOp => sched::vcpu_op(call, args),
        Hypercall::SetSegmentBase => traps::set_segment_base(call, args),
        Hypercall::MmuextOp => crate::paging::mmuext_op(call, args),
        Hypercall::SchedOp => sched::sched_op(call, args),
        Hypercall::CallbackOp => traps::callback_op(call, args),
        Hypercall::EventChannelOp => events::event_channel_op(call, args),
        Hypercall::PhysdevOp => devices::physdev_op(call, args),
        Hypercall::Extension => extension::extension(call, args),
        // Neither may be part of a multicall.
        Hypercall::Multicall | Hypercall::Iret => Err(Errno::Inval),
    }
}
