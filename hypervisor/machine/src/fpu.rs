//! The FPU, handed over when it is first used and saved when the processor changes hands.
//! A guest that does not use it pays nothing; one that does finds its own registers or zeros, never a neighbour's.
//!
//! CR0.TS is set whenever the registers in the FPU are not those of the domain that has the processor.

use alloc::boxed::Box;
use core::arch::asm;

use hypervisor_core::vcpu::{Fpu, FpuState};

use crate::cpu::control;

/// The guest used the FPU without having it: loads its registers, or those of a fresh FPU.
pub(crate) fn hand_over(fpu: &mut Fpu) {
    let state = fpu.state.get_or_insert_with(|| Box::new(FpuState::initial()));
    control::release_fpu();
    // SAFETY: the area is aligned, of full size, and was written by FXSAVE or is a valid initial state.
    unsafe { asm!("fxrstor64 [{}]", in(reg) &raw const **state, options(readonly, nostack)) };
    fpu.live = true;
}

/// Saves the registers of a domain that loses the processor, if it has any in the FPU.
#[inline]
pub(crate) fn take_away(fpu: &mut Fpu) {
    if fpu.live {
        save(fpu);
    }
}

#[inline(never)]
fn save(fpu: &mut Fpu) {
    let state = fpu.state.get_or_insert_with(|| Box::new(FpuState::initial()));
    control::release_fpu();
    // SAFETY: the area is aligned, of full size and exclusive.
    unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut **state, options(nostack)) };
    fpu.live = false;
    control::trap_fpu();
}
