//! From a hypercall's number to its handler.
//! It is the hottest path of the hypervisor: one counter, one match.

use hypercall_abi::{DomId, Errno, Hypercall, Port};

use crate::attention::Attention;
use crate::call::Call;
use crate::machine::Machine;
use crate::registers::Registers;
use crate::switch::{finish, upcall_due};
use crate::trace;
use crate::vcpu::Mode;
use crate::world::{Short, World};
use crate::{console, devices, events, extension, multicall, sched, traps, version};

/// Arguments of a hypercall: RDI RSI RDX R10 R8.
pub type Arguments = [u64; 5];

const EVENT: u64 = number_of(Hypercall::EventChannelOp);
const VERSION: u64 = number_of(Hypercall::XenVersion);
const IRET: u64 = number_of(Hypercall::Iret);

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

/// How far a hypercall came at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// It is answered, and nothing is left to be done before the return.
    Answered,
    /// It is counted as this domain's; its handler comes next.
    Counted(DomId),
    /// It is counted as this domain's and sends an event, for which there is a short way.
    Send(DomId),
    /// It is counted as this domain's and returns from a handler, for which there is a short way.
    Return(DomId),
    /// The same where the kernel is in ring 3 and has processes: most likely it returns to one.
    ReturnToProcess(DomId),
    /// A process of this domain made it, for whose kernel in ring 3 there is a short way.
    Process(DomId),
    /// Records are written, and nothing else is out of the ordinary: this domain's kernel made it, and
    /// [`World::recorded_hypercall`] comes next.
    Recorded(DomId),
    /// Something is out of the ordinary: everything comes next.
    Odd,
}

/// Counts the hypercall in `regs`, and answers it if that needs nothing but an answer and nothing else is to be done.
#[inline]
pub(crate) fn begin<M: Machine>(world: &mut World, m: &M, regs: &mut Registers) -> Begun {
    let Some(caller) = world.current else { return Begun::Odd };
    if !world.attention.is_empty() {
        // Else the usual way compares with each of these first.
        cold();
        return match world.attention {
            Attention::USER => Begun::Process(caller),
            Attention::TRACE if trace::COMPILED_IN => Begun::Recorded(caller),
            _ => Begun::Odd,
        };
    }
    let Some(domain) = world.domains.get_mut(caller) else { return Begun::Odd };
    let number = regs.rax;
    count(domain, number);
    let answer = match number {
        _ if !is_known(number) => Errno::NoSys.to_rax(),
        IRET if domain.vcpu.user_root.is_some() => return Begun::ReturnToProcess(caller),
        IRET => return Begun::Return(caller),
        EVENT if regs.rdi == events::SEND => return Begun::Send(caller),
        VERSION if regs.rdi == 0 => version::INTERFACE,
        _ => return Begun::Counted(caller),
    };
    if upcall_due(world, m) {
        return Begun::Counted(caller);
    }
    regs.rax = answer;
    Begun::Answered
}

/// Tells the compiler which way is taken seldom.
#[cold]
const fn cold() {}

/// Answers a hypercall that was begun. Returns whether nothing is left to be done before the return.
#[inline(always)]
pub(crate) fn rest<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, begun: Begun) -> bool {
    let caller = match begun {
        Begun::Answered => return true,
        Begun::Odd | Begun::Process(_) | Begun::Recorded(_) => {
            carefully(world, m, regs);
            return false;
        }
        Begun::Send(caller) => {
            regs.rax = events::send(world, m, caller, regs.rsi);
            caller
        }
        Begun::Return(caller) | Begun::ReturnToProcess(caller) => {
            traps::iret(&mut Call { world, memory: m, caller }, regs);
            caller
        }
        Begun::Counted(caller) => {
            answer(world, m, regs, caller);
            caller
        }
    };
    finish(world, m, regs, caller)
}

/// The answer to what needs nothing but an answer.
#[inline]
pub(crate) const fn at_once(number: u64, first: u64) -> Option<u64> {
    match number {
        VERSION if first == 0 => Some(version::INTERFACE),
        _ if is_known(number) => None,
        _ => Some(Errno::NoSys.to_rax()),
    }
}

/// The same with something out of the ordinary.
#[cold]
#[inline(never)]
pub(crate) fn carefully<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers) {
    let Some(caller) = world.current else { return };
    let Some(domain) = world.domains.get_mut(caller) else { return };
    if domain.vcpu.mode == Mode::User {
        traps::system_call(world, m, regs, caller);
        return;
    }
    count(domain, regs.rax);
    if !world.trace.is_on() {
        return answer(world, m, regs, caller);
    }
    if world.trace.choice.times_calls() {
        return trace::timed_call(world, m, regs, caller);
    }
    let number = regs.rax;
    trace::call_entry(&mut world.trace, m, caller, regs);
    answer(world, m, regs, caller);
    trace::call_exit(&mut world.trace, m, caller, number, regs.rax);
}

/// Answers a hypercall that is [`Begun::Recorded`] and records it, by short ways where there are such. Returns whether
/// nothing is left to be done before the return. Each way from here is a function of its own that is jumped to, so that
/// none pays for another's stack.
#[inline(never)]
pub(crate) fn recorded<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
) -> bool {
    let Some(domain) = world.domains.get_mut(caller) else { return false };
    count(domain, regs.rax);
    if !is_known(regs.rax) {
        return recorded_at_once(world, m, regs, caller, Errno::NoSys.to_rax());
    }
    if regs.rax == VERSION && regs.rdi == 0 {
        return recorded_at_once(world, m, regs, caller, version::INTERFACE);
    }
    if !trace::call_entry_at_hand(&mut world.trace, m, caller, regs) {
        return recorded_slowly(world, m, regs, caller);
    }
    recorded_rest(world, m, regs, caller)
}

/// What needs nothing but an answer.
#[inline(never)]
fn recorded_at_once<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
    rax: u64,
) -> bool {
    if !trace::call_at_hand(&mut world.trace, m, caller, regs, rax) {
        return recorded_at_once_slowly(world, m, regs, caller, rax);
    }
    regs.rax = rax;
    finish_apart(world, m, regs, caller)
}

#[cold]
#[inline(never)]
fn recorded_at_once_slowly<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
    rax: u64,
) -> bool {
    trace::call_entry(&mut world.trace, m, caller, regs);
    trace::call_exit(&mut world.trace, m, caller, regs.rax, rax);
    regs.rax = rax;
    finish(world, m, regs, caller)
}

/// The same where the record of its beginning finds no room, or is not wanted.
#[cold]
#[inline(never)]
fn recorded_slowly<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
    trace::call_entry(&mut world.trace, m, caller, regs);
    recorded_rest(world, m, regs, caller)
}

/// What comes after the record of its beginning; its number is known.
#[inline(always)]
fn recorded_rest<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
    match regs.rax {
        EVENT if regs.rdi == events::SEND => recorded_send(world, m, regs, caller),
        IRET => recorded_return(world, m, regs, caller),
        _ => recorded_anyhow(world, m, regs, caller),
    }
}

/// [`finish`], whose upcall is out of the way of whoever has none.
#[inline(always)]
fn finish_apart<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
    #[inline(never)]
    fn apart<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
        finish(world, m, regs, caller)
    }
    if world.attention.intersects(Attention::RETURN) || !world.effects.todo.is_empty() {
        return false;
    }
    !upcall_due(world, m) || apart(world, m, regs, caller)
}

/// An event is sent. The short way records the hypercall's end, as does the next one. Whether there is a short way is seen
/// before anything is kept for it.
#[inline(never)]
fn recorded_send<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
    match events::receiver_at_hand(world, m, regs, caller) {
        Some((id, port)) => recorded_send_to(world, m, regs, caller, id, port),
        None => recorded_send_anyhow(world, m, regs, caller),
    }
}

#[inline(never)]
fn recorded_send_to<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
    id: DomId,
    port: Port,
) -> bool {
    // It is found, so this is the way.
    events::send_recorded(world, m, regs, caller, (id, port)) == Short::Done
}

#[inline(never)]
fn recorded_send_anyhow<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
) -> bool {
    regs.rax = events::send(world, m, caller, regs.rsi);
    trace::call_exit(&mut world.trace, m, caller, EVENT, regs.rax);
    finish_apart(world, m, regs, caller)
}

#[inline(never)]
fn recorded_return<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
    let short = traps::iret_short::<M, true>(world, m, regs, caller);
    short.settled().unwrap_or_else(|| recorded_anyhow(world, m, regs, caller))
}

/// Whatever else is asked for.
#[inline(never)]
fn recorded_anyhow<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
    let number = regs.rax;
    answer(world, m, regs, caller);
    trace::known_exit(&mut world.trace, m, caller, number, regs.rax);
    finish_apart(world, m, regs, caller)
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

/// Answers one hypercall: number, arguments and result are in `regs`. Each handler is a function of its own that is
/// jumped to, so that none pays for another's stack.
#[inline(never)]
pub(crate) fn answer<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) {
    let Some(known) = u32::try_from(regs.rax).ok().and_then(Hypercall::from_raw) else {
        regs.rax = Errno::NoSys.to_rax();
        return;
    };
    macro_rules! handlers {
        ($($name:ident => $handler:expr,)*) => {
            match known {
                Hypercall::Iret => traps::iret(&mut Call { world, memory: m, caller }, regs),
                Hypercall::Multicall => multicall::multicall(&mut Call { world, memory: m, caller }, regs),
                Hypercall::Extension => extend(world, m, regs, caller),
                $(Hypercall::$name => apart(world, m, regs, caller, $handler),)*
            }
        };
    }
    handlers! {
        SetTrapTable => traps::set_trap_table,
        MmuUpdate => crate::paging::mmu_update,
        SetGdt => |_, args| traps::set_gdt(args),
        StackSwitch => traps::stack_switch,
        SetCallbacks => traps::set_callbacks,
        FpuTaskswitch => traps::fpu_taskswitch,
        SetDebugreg => |_, args| traps::set_debugreg(args),
        GetDebugreg => |_, args| traps::get_debugreg(args),
        // There is never a descriptor table.
        UpdateDescriptor => |_, _| Err(Errno::Inval),
        MemoryOp => crate::memory_op::memory_op,
        UpdateVaMapping => crate::paging::update_va_mapping,
        SetTimerOp => sched::set_timer_op,
        XenVersion => version::xen_version,
        ConsoleIo => console::console_io,
        GrantTableOp => crate::grants::grant_table_op,
        VmAssist => |_, args| version::vm_assist(args),
        VcpuOp => sched::vcpu_op,
        SetSegmentBase => traps::set_segment_base,
        MmuextOp => crate::paging::mmuext_op,
        SchedOp => sched::sched_op,
        CallbackOp => traps::callback_op,
        EventChannelOp => events::event_channel_op,
        PhysdevOp => devices::physdev_op,
    }
}

/// What guests sleep by. It has a name, so that it can stand beside what runs with it.
#[inline(never)]
fn extend<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers, caller: DomId) {
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8];
    regs.rax = rax(extension::extension(&mut Call { world, memory: m, caller }, args));
}

#[inline(never)]
fn apart<M: Machine>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
    handler: impl FnOnce(&mut Call<'_, M>, Arguments) -> Result<u64, Errno>,
) {
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8];
    regs.rax = rax(handler(&mut Call { world, memory: m, caller }, args));
}
