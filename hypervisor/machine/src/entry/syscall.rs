//! Entry by `syscall`: a hypercall.
//! It is the hottest way in, and nothing on it depends on what the guest left in its registers.
//!
//! The processor has put the guest's RIP into RCX and its RFLAGS into R11, has cleared the flags of `SFMASK` and
//! changed neither RSP nor GS. The stub saves RSP in per-CPU memory, takes the processor's stack and builds the
//! frame that an interrupt would have pushed. A guest runs in ring 3 with fixed selectors, so they are constants.

use core::arch::global_asm;

use hypercall_abi::layout::{GUEST_CODE, GUEST_DATA};

use super::{SYSCALL_VECTOR, push_registers};
use crate::per_cpu::{GUEST_RSP, PER_CPU, STACK_END};

unsafe extern "C" {
    fn syscall_entry();
}

/// Address for `LSTAR`.
pub(crate) fn address() -> u64 {
    syscall_entry as *const () as u64
}

global_asm!(
    ".pushsection .text.entry, \"ax\"",
    ".balign 64",
    ".globl syscall_entry",
    "syscall_entry:",
    "mov [rip + {per_cpu} + {guest_rsp}], rsp",
    "lea rsp, [rip + {per_cpu} + {stack_end}]",
    "push {ss}",
    "push qword ptr [rip + {per_cpu} + {guest_rsp}]",
    "push r11",
    "push {cs}",
    "push rcx",
    "push 0",
    "mov dword ptr [rsp + 4], {vector}",
    push_registers!(),
    "mov rdi, rsp",
    "call {hypercall}",
    "jmp {exit}",
    ".popsection",
    per_cpu = sym PER_CPU,
    guest_rsp = const GUEST_RSP,
    stack_end = const STACK_END,
    ss = const GUEST_DATA,
    cs = const GUEST_CODE,
    vector = const SYSCALL_VECTOR,
    hypercall = sym crate::run::hypercall,
    exit = sym crate::exit::exit_to_guest,
);
