//! Entry by `syscall`: a hypercall.
//! It is the hottest way in, and nothing on it depends on what the guest left in its registers.
//!
//! The processor has put the guest's RIP into RCX and its RFLAGS into R11, has cleared the flags of `SFMASK` and
//! changed neither RSP nor GS. The stub saves RSP where it belongs in the frame, at the end of the processor's stack,
//! goes there itself and builds the rest of what an interrupt would have pushed. A guest runs in ring 3 with fixed
//! selectors, so they are constants.
//!
//! Most hypercalls change RAX and nothing else. For them the six registers that Rust functions preserve are not
//! even stored: the frame has only room for them, until [`crate::run::hypercall`] says that there is more to do,
//! such as handing the processor to another domain.

use core::arch::global_asm;
use core::mem::offset_of;

use hypercall_abi::layout::{GUEST_CODE, GUEST_DATA};
use hypervisor_core::registers::Registers;

use super::{push_preserved, push_scratch, skip_preserved, unskip_preserved};
use crate::per_cpu::{FRAME, PER_CPU};

unsafe extern "C" {
    fn syscall_entry();
}

/// Address for `LSTAR`.
pub(crate) fn address() -> u64 {
    syscall_entry as *const () as u64
}

global_asm!(
    ".pushsection .text.entry.syscall, \"ax\"",
    ".balign 64",
    ".globl syscall_entry",
    "syscall_entry:",
    "mov [rip + {per_cpu} + {frame} + {rsp}], rsp",
    "lea rsp, [rip + {per_cpu} + {frame} + {rsp}]",
    "mov qword ptr [rsp + 8], {ss}",
    "push r11",
    "push {cs}",
    "push rcx",
    // Entry: came by `syscall`.
    "push -1",
    push_scratch!(),
    skip_preserved!(),
    "call {hypercall}",
    "dec eax",
    "jnz 2f",
    // 1: back at once: RIP travels in RCX and RFLAGS in R11.
    "mov r10, [rsp + 8 + {r10}]",
    "mov r9, [rsp + 8 + {r9}]",
    "mov r8, [rsp + 8 + {r8}]",
    "mov rax, [rsp + 8 + {rax}]",
    "mov rdx, [rsp + 8 + {rdx}]",
    "mov rsi, [rsp + 8 + {rsi}]",
    "mov rdi, [rsp + 8 + {rdi}]",
    "mov rcx, [rsp + 8 + {rip}]",
    "mov r11, [rsp + 8 + {rflags}]",
    "mov rsp, [rsp + 8 + {rsp}]",
    "sysretq",
    "2:",
    "jns {quick}",
    // 0: there is more to do, for which the frame must be whole.
    unskip_preserved!(),
    push_preserved!(),
    "call {leave}",
    "jmp {exit}",
    ".popsection",
    per_cpu = sym PER_CPU,
    frame = const FRAME,
    ss = const GUEST_DATA,
    cs = const GUEST_CODE,
    r10 = const offset_of!(Registers, r10),
    r9 = const offset_of!(Registers, r9),
    r8 = const offset_of!(Registers, r8),
    rax = const offset_of!(Registers, rax),
    rdx = const offset_of!(Registers, rdx),
    rsi = const offset_of!(Registers, rsi),
    rdi = const offset_of!(Registers, rdi),
    rip = const offset_of!(Registers, rip),
    rflags = const offset_of!(Registers, rflags),
    rsp = const offset_of!(Registers, rsp),
    hypercall = sym crate::run::hypercall,
    quick = sym crate::exit::exit_quickly,
    leave = sym crate::run::resume::<3>,
    exit = sym crate::exit::exit_to_guest,
);
