//! From a hypercall's number to its handler.
//! It is the hottest path of the hypervisor: one bounds check, one counter, one match.

use hypercall_abi::{Errno, Hypercall};

use crate::call::Call;
use crate::machine::Machine;
use crate::registers::Registers;
use crate::world::World;

/// Arguments of a hypercall: RDI RSI RDX R10 R8.
pub type Arguments = [u64; 5];

/// Answers the hypercall in `regs`.
#[inline]
pub(crate) fn hypercall<M: Machine>(world: &mut World, m: &mut M, regs: &mut Registers) {
    let Some(caller) = world.current else { return };
    let number = regs.rax;
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8];
    let Some(domain) = world.domains.get_mut(caller) else { return };
    match usize::try_from(number).ok().and_then(|index| domain.counters.hypercalls.get_mut(index)) {
        Some(count) => *count = count.wrapping_add(1),
        None => domain.counters.unknown = domain.counters.unknown.wrapping_add(1),
    }
    let mut call = Call { world, memory: m, caller };
    regs.rax = match answer(&mut call, number, args) {
        Ok(value) => value,
        Err(errno) => errno.to_rax(),
    };
}

/// Answers one hypercall, which may be part of a multicall.
fn answer<M: Machine>(call: &mut Call<'_, M>, number: u64, args: Arguments) -> Result<u64, Errno> {
    let _ = (call, args);
    let number = u32::try_from(number).ok().and_then(Hypercall::from_raw).ok_or(Errno::NoSys)?;
    let _ = number;
    Err(Errno::NoSys)
}
