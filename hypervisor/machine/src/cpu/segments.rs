//! Segment registers of guests: bases of FS and GS, which they change by themselves, and selectors.
//! In long mode the bases are all that counts; selectors are put back to one value at each switch, so that none leaks.

use core::arch::asm;

use hypercall_abi::layout::GUEST_DATA;
use hypervisor_core::segments::Segments;

use super::control::Features;
use super::msr;

/// The bases as they are.
pub(crate) fn save(features: Features) -> (u64, u64) {
    if features.fsgsbase {
        (read_fs_base(), read_gs_base())
    } else {
        (msr::read(msr::FS_BASE), msr::read(msr::GS_BASE))
    }
}

/// Loads selectors, then bases.
pub(crate) fn load(features: Features, bases: &Segments, user_mode: bool) {
    if !are_selectors_reset() {
        reset_selectors();
    }
    set_fs_base(features, bases.fs_base);
    set_gs_base(features, bases.gs_base(user_mode));
}

/// Loads the base of FS.
pub(crate) fn set_fs_base(features: Features, base: u64) {
    if features.fsgsbase {
        // SAFETY: the instruction is switched on; the core admits canonical bases only; the hypervisor does not use FS.
        unsafe { asm!("wrfsbase {}", in(reg) base, options(nostack, preserves_flags)) };
    } else {
        // SAFETY: the core admits canonical bases only; the hypervisor does not use FS.
        unsafe { msr::write(msr::FS_BASE, base) };
    }
}

/// Loads the base of GS.
pub(crate) fn set_gs_base(features: Features, base: u64) {
    if features.fsgsbase {
        // SAFETY: the instruction is switched on; the core admits canonical bases only; the hypervisor does not use GS.
        unsafe { asm!("wrgsbase {}", in(reg) base, options(nostack, preserves_flags)) };
    } else {
        // SAFETY: the core admits canonical bases only; the hypervisor does not use GS.
        unsafe { msr::write(msr::GS_BASE, base) };
    }
}

fn read_fs_base() -> u64 {
    let base;
    // SAFETY: the caller has seen that the instruction is switched on; reading changes nothing.
    unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

fn read_gs_base() -> u64 {
    let base;
    // SAFETY: the caller has seen that the instruction is switched on; reading changes nothing.
    unsafe { asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// Whether DS, ES, FS and GS are as [`reset_selectors`] leaves them: guests seldom change them, and to load one takes the
/// processor to the descriptor table.
fn are_selectors_reset() -> bool {
    let (ds, es, fs, gs): (u32, u32, u32, u32);
    // SAFETY: reading changes nothing.
    unsafe {
        asm!("mov {:e}, ds", "mov {:e}, es", "mov {:e}, fs", "mov {:e}, gs",
             out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags));
    }
    let wrong = |selector: u32| selector ^ u32::from(GUEST_DATA);
    wrong(ds) | wrong(es) | wrong(fs) | wrong(gs) == 0
}

#[cold]
fn reset_selectors() {
    // SAFETY: the selector is of a guest's data segment in the loaded table; ring 0 uses none of these registers.
    unsafe {
        asm!("mov ds, {selector:x}", "mov es, {selector:x}", "mov fs, {selector:x}", "mov gs, {selector:x}",
             selector = in(reg) GUEST_DATA, options(nostack, preserves_flags));
    }
}
