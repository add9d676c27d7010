//! What a process is killed for.

use core::arch::asm;
use core::hint::black_box;

use program_runtime::layout;

fn read(address: u64) -> u32 {
    // SAFETY: the point is that it faults; nothing is changed if it does not.
    unsafe { (address as *const u32).read_volatile() }
}

/// Nothing is ever mapped at 0.
pub(crate) fn read_nothing() -> u32 {
    read(black_box(0))
}

/// The base of the guest's kernel.
pub(crate) fn read_the_kernel() -> u32 {
    read(0x40_0000)
}

/// Code is for reading.
pub(crate) fn write_code() -> u32 {
    // SAFETY: the point is that it faults.
    unsafe { (layout::IMAGE as *mut u32).write_volatile(0xcccc_cccc) };
    0
}

/// Calls itself without end.
pub(crate) fn overflow_the_stack() -> u32 {
    fn deeper(depth: u64) -> u64 {
        let here = black_box([depth; 64]);
        if depth == u64::MAX { depth } else { deeper(depth + 1) + here[0] }
    }
    deeper(black_box(0)) as u32
}

/// Asks for an exception after the next instruction.
pub(crate) fn single_step() -> u32 {
    // SAFETY: the point is that it faults; the word that it pushes is gone by then.
    unsafe { asm!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop") };
    0
}
