//! The ways in from a guest in ring 1 and from its processes.
//! Each changes to the hypervisor's root with one register to spare, and takes what the processor pushed over to the
//! frame at the end of the hypervisor's own stack; from there on all is as for guests in ring 3.
//!
//! The kernel's selectors are constants: it may have loaded a null SS, which the processor would give back to it.
//! `syscall` does not say who executed it, so in these domains it always counts as a process's.

use core::arch::global_asm;
use core::mem::offset_of;

use hypercall_abi::layout::{GUEST_CODE, GUEST_DATA};
use hypervisor_core::registers::Registers;
use hypervisor_core::ring::{RING1_CODE, RING1_DATA};

use super::area::{ROOT, STACK_END as AREA_END};
use super::exit::{ring1_exit, ring1_exit_quickly};
use crate::entry::{push_preserved, push_scratch, skip_preserved, unskip_preserved};
use crate::per_cpu::{PENDING, PER_CPU, STACK_END};

/// Bytes from one stub to the next.
const STUB_BYTES: u64 = 16;
/// Whether what an exception leaves in the area beside the frame of the way out is cleared.
const CLEARS: u8 = if cfg!(feature = "plant-frame-kept") { 0 } else { 1 };
/// First vector that is no exception.
const FIRST: u64 = 32;

unsafe extern "C" {
    static ring1_exceptions: u8;
    static ring1_interrupts: u8;
    fn ring1_hypercall();
    fn ring1_system_call();
}

/// Address of an exception's stub.
pub(super) fn exception(vector: usize) -> u64 {
    &raw const ring1_exceptions as u64 + vector as u64 * STUB_BYTES
}

/// Address of an interrupt's stub; vectors from 32 on.
pub(super) fn interrupt(vector: usize) -> u64 {
    &raw const ring1_interrupts as u64 + (vector as u64 - FIRST) * STUB_BYTES
}

/// Address of the stub for a kernel's hypercalls.
pub(super) fn hypercall() -> u64 {
    ring1_hypercall as *const () as u64
}

/// Address of the stub for `syscall`.
pub(super) fn system_call() -> u64 {
    ring1_system_call as *const () as u64
}

/// Changes to the hypervisor's root; RAX is on the stack.
macro_rules! to_own_root {
    () => {
        "push rax
         mov rax, [rip + {per_cpu} + {root}]
         mov cr3, rax"
    };
}

/// Takes a frame over from the area, with RAX and `entry` below it, and clears RAX there.
macro_rules! take_over {
    () => {
        "lea rax, [rip + {per_cpu} + {stack_end}]
         xchg rax, rsp
         test byte ptr [rax + 24], 2
         jnz 6f
         push {kernel_data}
         jmp 7f
         6:
         push qword ptr [rax + 48]
         7:
         push qword ptr [rax + 40]
         push qword ptr [rax + 32]
         push qword ptr [rax + 24]
         push qword ptr [rax + 16]
         push qword ptr [rax + 8]
         mov rax, [rax]
         .if {clears}
         mov qword ptr [rip + {per_cpu} + {area_end} - 56], 0
         .endif
         cld"
    };
}

global_asm!(
    ".pushsection .ring1.text, \"ax\"",
    ".balign 16",
    ".globl ring1_exceptions",
    "ring1_exceptions:",
    ".set vector, 0",
    ".rept 32",
    ".balign {stub_bytes}",
    ".if ((0x60227d00 >> vector) & 1) == 0",
    "push 0",
    ".endif",
    "mov dword ptr [rsp + 4], vector",
    ".if vector == 14",
    "jmp 5f",
    ".else",
    "jmp 2f",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
    ".balign 16",
    "2:",
    to_own_root!(),
    "test byte ptr [rsp + 24], 3",
    "jz 3f",
    take_over!(),
    ".globl ring1_exception",
    "ring1_exception:",
    push_scratch!(),
    push_preserved!(),
    "call {exception}",
    "jmp {exit}",
    "3:",
    "cld",
    "pop rax",
    push_scratch!(),
    push_preserved!(),
    "call {own_fault}",
    "ud2",
    "5:",
    to_own_root!(),
    "test byte ptr [rsp + 24], 3",
    "jz 3b",
    take_over!(),
    push_scratch!(),
    skip_preserved!(),
    "call {page_fault}",
    "test eax, eax",
    "jnz {quick}",
    "8:",
    unskip_preserved!(),
    push_preserved!(),
    "call {resume}",
    "jmp {exit}",
    ".balign 64",
    ".globl ring1_hypercall",
    "ring1_hypercall:",
    to_own_root!(),
    "lea rsp, [rip + {per_cpu} + {stack_end}]",
    "push {kernel_data}",
    "push qword ptr [rip + {per_cpu} + {area_end} - 16]",
    "push qword ptr [rip + {per_cpu} + {area_end} - 24]",
    "push {kernel_code}",
    "push qword ptr [rip + {per_cpu} + {area_end} - 40]",
    "push 0",
    "mov rax, [rip + {per_cpu} + {area_end} - 48]",
    "cld",
    push_scratch!(),
    skip_preserved!(),
    "call {hypercall}",
    "test eax, eax",
    "jnz {quick}",
    "jmp 8b",
    ".balign 16",
    ".globl ring1_system_call",
    "ring1_system_call:",
    // Where a frame and RAX would lie: each way out writes there.
    "mov [rip + {per_cpu} + {area_end} - 16], rsp",
    "mov [rip + {per_cpu} + {area_end} - 48], rax",
    "mov rax, [rip + {per_cpu} + {root}]",
    "mov cr3, rax",
    "lea rsp, [rip + {per_cpu} + {stack_end}]",
    "push {user_data}",
    "push qword ptr [rip + {per_cpu} + {area_end} - 16]",
    "push r11",
    "push {user_code}",
    "push rcx",
    "push 0",
    "mov rax, [rip + {per_cpu} + {area_end} - 48]",
    push_scratch!(),
    push_preserved!(),
    "call {system_call}",
    "jmp {exit}",
    ".balign 16",
    ".globl ring1_interrupts",
    "ring1_interrupts:",
    ".set vector, {first}",
    ".rept 256 - {first}",
    ".balign {stub_bytes}",
    "push 0",
    "mov dword ptr [rsp + 4], vector",
    "jmp 2f",
    ".set vector, vector + 1",
    ".endr",
    ".balign 16",
    "2:",
    to_own_root!(),
    "test byte ptr [rsp + 24], 3",
    "jz 3f",
    take_over!(),
    push_scratch!(),
    push_preserved!(),
    "call {interrupt}",
    "jmp {exit}",
    "3:",
    // Idle, on the hypervisor's root already: set the vector's bit; the idle loop does the rest.
    "mov eax, [rsp + 12]",
    "lock bts [rip + {per_cpu} + {pending}], rax",
    "pop rax",
    "add rsp, 8",
    "iretq",
    ".popsection",
    stub_bytes = const STUB_BYTES,
    first = const FIRST,
    per_cpu = sym PER_CPU,
    root = const ROOT,
    stack_end = const STACK_END,
    area_end = const AREA_END,
    clears = const CLEARS,
    pending = const PENDING,
    kernel_code = const RING1_CODE,
    kernel_data = const RING1_DATA,
    user_code = const GUEST_CODE,
    user_data = const GUEST_DATA,
    exception = sym crate::run::exception::<1>,
    page_fault = sym crate::run::page_fault_in_ring1,
    hypercall = sym crate::run::hypercall,
    system_call = sym crate::run::system_call,
    interrupt = sym crate::run::interrupt::<1>,
    resume = sym crate::run::resume::<1>,
    own_fault = sym crate::fault::own_fault,
    exit = sym ring1_exit,
    quick = sym ring1_exit_quickly,
);

const _: () = assert!(offset_of!(Registers, ss) - offset_of!(Registers, entry) == 40, "what the stubs push");
