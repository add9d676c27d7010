//! Copying and filling by string instructions.
//! Guests may write the memory meanwhile, so the compiler must not see it: one instruction does the work.

use core::arch::asm;

/// Copies bytes, eight at a time as far as it goes.
///
/// # Safety
/// Both ranges are mapped, `to` for writing; they do not overlap, and no Rust reference to `to` is live.
#[inline]
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, bytes: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear in Rust code.
    unsafe {
        asm!(
            "rep movsq",
            "mov ecx, {tail:e}",
            "rep movsb",
            tail = in(reg) bytes & 7,
            inout("rcx") bytes >> 3 => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Fills words with zeros.
///
/// # Safety
/// The range is mapped for writing, and no Rust reference to it is live.
#[inline]
pub(crate) unsafe fn clear(at: *mut u64, words: usize) {
    // SAFETY: the caller vouches for the range; the direction flag is clear in Rust code.
    unsafe {
        asm!("rep stosq", inout("rcx") words => _, inout("rdi") at => _, in("rax") 0_u64,
             options(nostack, preserves_flags));
    }
}
