//! Entry by interrupt of a device or the timer.
//! From a guest it leads to the core; while the processor is idle it is only noted, and the idle loop goes on.
//!
//! The hypervisor enables interrupts nowhere but in the idle loop, so ring 0 in the frame means idle.

use core::arch::global_asm;

use super::{push_preserved, push_scratch};
use crate::per_cpu::{PENDING, PER_CPU};

/// Bytes from one stub to the next.
const STUB_BYTES: u64 = 16;
/// First vector with a stub here.
const FIRST: u64 = 32;

unsafe extern "C" {
    static interrupt_stubs: u8;
}

/// Address of a vector's stub; vectors from 32 on.
pub(crate) fn stub(vector: usize) -> u64 {
    &raw const interrupt_stubs as u64 + (vector as u64 - FIRST) * STUB_BYTES
}

global_asm!(
    ".pushsection .text.entry.interrupt, \"ax\"",
    ".balign 16",
    ".globl interrupt_entry",
    "interrupt_entry:",
    "test byte ptr [rsp + 16], 3",
    "jz 3f",
    "cld",
    push_scratch!(),
    push_preserved!(),
    "call {interrupt}",
    "jmp {exit}",
    "3:",
    // Idle: set the vector's bit; the idle loop does the rest.
    "push rax",
    "mov eax, [rsp + 12]",
    "lock bts [rip + {per_cpu} + {pending}], rax",
    "pop rax",
    "add rsp, 8",
    "iretq",
    // The lowest vectors are those of devices, so they lie beside the code above.
    ".balign 16",
    ".globl interrupt_stubs",
    "interrupt_stubs:",
    ".set vector, {first}",
    ".rept 256 - {first}",
    ".balign {stub_bytes}",
    "push 0",
    "mov dword ptr [rsp + 4], vector",
    "jmp interrupt_entry",
    ".set vector, vector + 1",
    ".endr",
    ".popsection",
    first = const FIRST,
    stub_bytes = const STUB_BYTES,
    per_cpu = sym PER_CPU,
    pending = const PENDING,
    interrupt = sym crate::run::interrupt::<3>,
    exit = sym crate::exit::exit_to_guest,
);
