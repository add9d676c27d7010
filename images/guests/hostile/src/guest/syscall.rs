//! A hypercall by number, executed here rather than by a stub, so that numbers without a stub can be tried.
//! From ring 3 it is `syscall`; from ring 1, where that would be a process's, the interrupt that its stubs use.

use core::arch::asm;

/// Makes a hypercall.
///
/// # Safety
/// What the call changes is memory and mappings that nobody relies on.
pub(super) unsafe fn syscall(number: u64, args: [u64; 5]) -> u64 {
    let [a, b, c, d, e] = args;
    let result;
    // SAFETY: the convention of hypercalls; what the call itself does, the caller answers for.
    unsafe {
        asm!(
            "mov r9d, cs",
            "test r9b, 2",
            "jnz 2f",
            "int 0x82",
            "jmp 3f",
            "2:",
            "syscall",
            "3:",
            inlateout("rax") number => result,
            inlateout("rdi") a => _,
            inlateout("rsi") b => _,
            inlateout("rdx") c => _,
            inlateout("r10") d => _,
            inlateout("r8") e => _,
            out("r9") _,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}
