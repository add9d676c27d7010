//! The ways from a guest into the hypervisor, one a file.
//! Each ends with a [`Registers`] frame at the end of the processor's stack and a call of [`crate::run`].
//!
//! A guest's registers lie at that one place while its domain has the processor; a switch exchanges them there. The
//! word `entry` in the frame tells how the guest came in, which decides how it may go back ([`crate::exit`]).

pub(crate) mod exception;
pub(crate) mod interrupt;
pub(crate) mod syscall;

use hypervisor_core::registers::Registers;

/// [`Registers::entry`] of a guest that came by `syscall`: RCX and R11 hold nothing it wants back. It is -1, which one
/// instruction pushes.
pub(crate) const SYSCALL: u64 = u64::MAX;

/// What the vector of an entry was.
pub(crate) fn vector(regs: &Registers) -> u32 {
    (regs.entry >> 32) as u32
}

/// Pushes the nine registers below `entry` that a Rust function may change, in the order of [`Registers`].
macro_rules! push_scratch {
    () => {
        "push rdi
         push rsi
         push rdx
         push rcx
         push rax
         push r8
         push r9
         push r10
         push r11"
    };
}
pub(crate) use push_scratch;

/// Pops what [`push_scratch`] pushes.
macro_rules! pop_scratch {
    () => {
        "pop r11
         pop r10
         pop r9
         pop r8
         pop rax
         pop rcx
         pop rdx
         pop rsi
         pop rdi"
    };
}
pub(crate) use pop_scratch;

/// Pushes the six that it preserves, below those, and a word that aligns the stack for a call, with the frame's address
/// as the argument.
macro_rules! push_preserved {
    () => {
        "push rbx
         push rbp
         push r12
         push r13
         push r14
         push r15
         push 0
         lea rdi, [rsp + 8]"
    };
}
pub(crate) use push_preserved;

/// Pops those six; the word that aligns is left to the caller, who knows where RSP stands.
macro_rules! pop_preserved {
    () => {
        "pop r15
         pop r14
         pop r13
         pop r12
         pop rbp
         pop rbx"
    };
}
pub(crate) use pop_preserved;

/// Leaves room for what [`push_preserved`] pushes.
macro_rules! skip_preserved {
    () => {
        "sub rsp, 7 * 8
         lea rdi, [rsp + 8]"
    };
}
pub(crate) use skip_preserved;

/// Takes the room back.
macro_rules! unskip_preserved {
    () => {
        "add rsp, 7 * 8"
    };
}
pub(crate) use unskip_preserved;
