//! Hypercalls by which a guest says where and how it wants to be entered.

use alloc::vec::Vec;

use hypercall_abi::trap::{CallbackOp, CallbackRegister, CallbackType, SegmentBase, TrapInfo};
use hypercall_abi::{Errno, layout};

use crate::call::Call;
use crate::dispatch::Arguments;
use crate::effects::Todo;
use crate::machine::Machine;
use crate::ring::Ring;
use crate::vcpu::{EXCEPTIONS, Handler, TrapTable};

/// Entries that a trap table can have: one a vector.
const TRAPS_MAX: u64 = 256;

/// `set_trap_table(table)`: sets the handlers that it names; without a table all are cleared.
///
/// # Errors
/// [`Errno::Fault`] for a bad pointer, [`Errno::Inval`] for a handler that is no address or a table without an
/// end, [`Errno::NoMem`]; no handler has changed then.
pub fn set_trap_table<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [table, ..] = args;
    if table == 0 {
        call.domain_mut()?.vcpu.traps = TrapTable::default();
        renew_gates(call);
        return Ok(0);
    }
    let mut traps = call.domain()?.vcpu.traps.clone();
    let mut at = table;
    for _ in 0..=TRAPS_MAX {
        let TrapInfo { vector, flags, address, .. } = call.read(at)?;
        if address == 0 {
            call.domain_mut()?.vcpu.traps = traps;
            renew_gates(call);
            return Ok(0);
        }
        check_entry(address)?;
        set(&mut traps, vector, Handler { address, flags })?;
        at = at.wrapping_add(16);
    }
    Err(Errno::Inval)
}

fn set(traps: &mut TrapTable, vector: u8, handler: Handler) -> Result<(), Errno> {
    if let Some(slot) = traps.exceptions.get_mut(usize::from(vector)) {
        *slot = handler;
        return Ok(());
    }
    debug_assert!(usize::from(vector) >= EXCEPTIONS);
    let software: &mut Vec<(u8, Handler)> = &mut traps.software;
    if let Some((_, slot)) = software.iter_mut().find(|(at, _)| *at == vector) {
        *slot = handler;
        return Ok(());
    }
    software.try_reserve(1).map_err(|_| Errno::NoMem)?;
    software.push((vector, handler));
    Ok(())
}

/// The processor itself knows the stack and one handler of a kernel in ring 1.
fn renew_gates<M: Machine>(call: &mut Call<'_, M>) {
    if call.domain().is_ok_and(|domain| domain.vcpu.ring == Ring::One) {
        call.world.effects.todo |= Todo::GATES;
    }
}

/// A place where the guest may be entered.
const fn check_entry(address: u64) -> Result<(), Errno> {
    if layout::is_guest(address) { Ok(()) } else { Err(Errno::Inval) }
}

/// `set_callbacks(event, failsafe, syscall)`.
///
/// # Errors
/// [`Errno::Inval`] if one is no address for a guest.
pub fn set_callbacks<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [event, failsafe, syscall, ..] = args;
    for address in [event, failsafe, syscall] {
        check_entry(address)?;
    }
    let callbacks = &mut call.domain_mut()?.vcpu.callbacks;
    (callbacks.event, callbacks.failsafe, callbacks.syscall) = (event, failsafe, syscall);
    Ok(0)
}

/// `callback_op(op, argument)`.
///
/// # Errors
/// [`Errno::NoSys`] for an operation or a kind that is not delivered, [`Errno::Inval`] for a bad address or to
/// unregister a kind that stays.
pub fn callback_op<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [op, at, ..] = args;
    let op = u32::try_from(op).ok().and_then(CallbackOp::from_raw).ok_or(Errno::NoSys)?;
    let CallbackRegister { kind, flags, address, .. } = call.read(at)?;
    let kind = CallbackType::from_raw(kind).ok_or(Errno::NoSys)?;
    let delivered = matches!(kind, CallbackType::Event | CallbackType::Failsafe | CallbackType::Syscall);
    if !delivered {
        return Err(Errno::NoSys);
    }
    if op == CallbackOp::Unregister {
        return Err(Errno::Inval);
    }
    check_entry(address)?;
    let callbacks = &mut call.domain_mut()?.vcpu.callbacks;
    match kind {
        CallbackType::Event => callbacks.event = address,
        CallbackType::Failsafe => callbacks.failsafe = address,
        _ => (callbacks.syscall, callbacks.syscall_masks) = (address, flags & 1 != 0),
    }
    Ok(0)
}

/// `stack_switch(ss, sp)`: where the kernel is entered from user mode.
///
/// # Errors
/// [`Errno::Inval`] if it is no address for a guest.
pub fn stack_switch<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [_, sp, ..] = args;
    check_entry(sp)?;
    call.domain_mut()?.vcpu.kernel_stack = sp;
    renew_gates(call);
    Ok(0)
}

/// `fpu_taskswitch(set)`: whether the next use of the FPU traps.
///
/// # Errors
/// None in practice.
pub fn fpu_taskswitch<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [set, ..] = args;
    call.domain_mut()?.vcpu.fpu.trap = set != 0;
    call.world.effects.todo |= Todo::FPU;
    Ok(0)
}

/// `set_segment_base(which, base)`.
///
/// # Errors
/// [`Errno::Inval`] for an unknown register, a base that is no address, or a selector other than 0: a guest has no
/// descriptors of its own.
pub fn set_segment_base<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [which, base, ..] = args;
    let which = u32::try_from(which).ok().and_then(SegmentBase::from_raw).ok_or(Errno::Inval)?;
    check_entry(base)?;
    if which == SegmentBase::GsUserSelector && base != 0 {
        return Err(Errno::Inval);
    }
    let todo = call.domain_mut()?.vcpu.segments.set(which, base);
    call.world.effects.todo |= todo;
    Ok(0)
}

/// `set_gdt(frames, entries)`: guests have no descriptors of their own, so only an empty table is taken.
///
/// # Errors
/// [`Errno::Inval`] for more entries than there can be, [`Errno::OpNotSupp`] for any.
pub fn set_gdt(args: Arguments) -> Result<u64, Errno> {
    let [_, entries, ..] = args;
    match usize::try_from(entries) {
        Ok(0) => Ok(0),
        Ok(entries) if entries <= layout::FIRST_RESERVED_GDT_ENTRY => Err(Errno::OpNotSupp),
        _ => Err(Errno::Inval),
    }
}

/// `set_debugreg(register, value)`: breakpoints stay off.
///
/// # Errors
/// [`Errno::Inval`] for an unknown register, [`Errno::Perm`] for a value that would turn something on.
pub const fn set_debugreg(args: Arguments) -> Result<u64, Errno> {
    /// DR6 and DR7 with nothing set.
    const DR6_IDLE: u64 = 0xffff_0ff0;
    const DR7_IDLE: u64 = 0x400;
    match args {
        [0..=3 | 6 | 7, 0, ..] | [6, DR6_IDLE, ..] | [7, DR7_IDLE, ..] => Ok(0),
        [0..=3 | 6 | 7, ..] => Err(Errno::Perm),
        _ => Err(Errno::Inval),
    }
}

/// `get_debugreg(register)`.
///
/// # Errors
/// [`Errno::Inval`] for an unknown register.
pub const fn get_debugreg(args: Arguments) -> Result<u64, Errno> {
    match args {
        [0..=3 | 6 | 7, ..] => Ok(0),
        _ => Err(Errno::Inval),
    }
}
