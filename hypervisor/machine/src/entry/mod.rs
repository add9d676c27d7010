//! The ways from a guest into the hypervisor, one a file.
//! Each ends with a [`Registers`] frame at the end of the processor's stack and a call of [`crate::run`].
//!
//! A guest's registers lie at that one place while its domain has the processor; a switch exchanges them there. The
//! word `entry` in the frame tells how the guest came in, which decides how it may go back ([`crate::exit`]).

pub(crate) mod exception;
pub(crate) mod interrupt;
pub(crate) mod syscall;

use hypervisor_core::registers::Registers;

/// Vector in [`Registers::entry`] of a guest that came by `syscall`: RCX and R11 hold nothing it wants back.
pub(crate) const SYSCALL_VECTOR: u32 = 0x100;

/// What the vector of an entry was.
pub(crate) fn vector(regs: &Registers) -> u32 {
    (regs.entry >> 32) as u32
}

/// Pushes the fifteen general registers below `entry`, in the order of [`Registers`].
macro_rules! push_registers {
    () => {
        "push rdi
         push rsi
         push rdx
         push rcx
         push rax
         push r8
         push r9
         push r10
         push r11
         push rbx
         push rbp
         push r12
         push r13
         push r14
         push r15"
    };
}
pub(crate) use push_registers;
