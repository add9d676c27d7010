//! Entry by exception, NMI and machine check.
//! From a guest it leads to the core; from the hypervisor itself it is the end, with a report.
//!
//! The processor has pushed SS, RSP, RFLAGS, CS and RIP at the end of the processor's stack, and for some vectors an
//! error code, which the other stubs make up for with 0. The vector goes into the upper half of that word. #DB may
//! strike on the first instruction of any other entry (MOV SS), so it comes on a stack of its own: from a guest
//! its frame is carried over to the usual place, from ring 0 it is ignored. An NMI is counted and recorded with the
//! address that it struck, and touches nothing else, and a machine check is judged on its stack wherever it struck. If
//! that was in the way in for NMIs, it goes back without `iretq`, which would let the next NMI in, over the frame of the
//! one under way.

use core::arch::global_asm;

use super::{pop_scratch, push_preserved, push_scratch, skip_preserved, unskip_preserved};
use crate::descriptors::tss;
use crate::per_cpu::{INTERRUPT_STACK_BYTES, NMI_AT, NMIS, PER_CPU, STACK_END, interrupt_stack_end};

/// Bytes from one stub to the next.
const STUB_BYTES: u64 = 16;

unsafe extern "C" {
    static exception_stubs: u8;
    fn debug_entry();
    fn nmi_entry();
    fn machine_check_entry();
}

/// Address of a vector's stub.
pub(crate) fn stub(vector: usize) -> u64 {
    &raw const exception_stubs as u64 + vector as u64 * STUB_BYTES
}

/// Address of the stub for #DB.
pub(crate) fn debug_stub() -> u64 {
    debug_entry as *const () as u64
}

/// Address of the stub for NMIs.
pub(crate) fn nmi_stub() -> u64 {
    nmi_entry as *const () as u64
}

/// Address of the stub for machine checks.
pub(crate) fn machine_check_stub() -> u64 {
    machine_check_entry as *const () as u64
}

global_asm!(
    ".pushsection .text.entry.exception, \"ax\"",
    ".balign 16",
    ".globl exception_stubs",
    "exception_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".balign {stub_bytes}",
    // Vectors with an error code: 8, 10 to 14, 17, 21, 29, 30.
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
    // CS of the interrupted code: ring 0 is the hypervisor itself.
    "test byte ptr [rsp + 16], 3",
    "jz 3f",
    "cld",
    push_scratch!(),
    push_preserved!(),
    "call {exception}",
    "jmp {exit}",
    "3:",
    "cld",
    push_scratch!(),
    push_preserved!(),
    "call {own_fault}",
    "ud2",
    // A page fault mostly becomes a frame on the guest's stack, for which scratch registers are enough.
    "5:",
    "test byte ptr [rsp + 16], 3",
    "jz 3b",
    "cld",
    push_scratch!(),
    skip_preserved!(),
    "call {page_fault}",
    "test eax, eax",
    "jnz {quick}",
    unskip_preserved!(),
    push_preserved!(),
    "call {resume}",
    "jmp {exit}",
    ".balign 16",
    ".globl debug_entry",
    "debug_entry:",
    "test byte ptr [rsp + 8], 3",
    "jz 4f",
    // From a guest: carry SS, RSP, RFLAGS, CS and RIP over.
    "push rax",
    "lea rax, [rip + {per_cpu} + {stack_end}]",
    "xchg rax, rsp",
    "push qword ptr [rax + 40]",
    "push qword ptr [rax + 32]",
    "push qword ptr [rax + 24]",
    "push qword ptr [rax + 16]",
    "push qword ptr [rax + 8]",
    "mov rax, [rax]",
    "push 0",
    "mov dword ptr [rsp + 4], 1",
    "jmp 2b",
    "4:",
    "iretq",
    ".balign 16",
    ".globl nmi_entry",
    "nmi_entry:",
    "push rax",
    "mov rax, [rsp + 8]",
    "mov [rip + {per_cpu} + {nmi_at}], rax",
    "lock inc qword ptr [rip + {per_cpu} + {nmis}]",
    "pop rax",
    // For the trace, which has a stream that nobody but this writes. The processor has aligned its stack before it
    // pushed five words.
    "cld",
    push_scratch!(),
    "mov rdi, [rsp + 9 * 8]",
    "call {record_nmi}",
    pop_scratch!(),
    "iretq",
    ".balign 16",
    ".globl machine_check_entry",
    "machine_check_entry:",
    "cld",
    push_scratch!(),
    "call {machine_check}",
    pop_scratch!(),
    "test byte ptr [rsp + 8], 3",
    "jnz 8f",
    // Whether RSP is on the stack for NMIs. A guest's may be, on the first instruction of `syscall`'s entry; then no NMI
    // is under way and nothing lies there.
    "push rax",
    "lea rax, [rip + {per_cpu} + {nmi_end}]",
    "sub rax, [rsp + 32]",
    "cmp rax, {nmi_bytes}",
    "jb 6f",
    "pop rax",
    "8:",
    "iretq",
    "6:",
    // RIP, RFLAGS and RAX go below what is there, to be taken from there.
    "mov rax, [rsp + 32]",
    "push qword ptr [rsp + 8]",
    "pop qword ptr [rax - 8]",
    "push qword ptr [rsp + 24]",
    "pop qword ptr [rax - 16]",
    "push qword ptr [rsp]",
    "pop qword ptr [rax - 24]",
    "lea rsp, [rax - 24]",
    "pop rax",
    "popfq",
    "ret",
    ".popsection",
    stub_bytes = const STUB_BYTES,
    per_cpu = sym PER_CPU,
    stack_end = const STACK_END,
    nmis = const NMIS,
    nmi_at = const NMI_AT,
    nmi_end = const interrupt_stack_end(tss::NMI),
    nmi_bytes = const INTERRUPT_STACK_BYTES,
    record_nmi = sym crate::nmi::record,
    page_fault = sym crate::run::page_fault,
    quick = sym crate::exit::exit_quickly,
    resume = sym crate::run::resume::<3>,
    exception = sym crate::run::exception::<3>,
    own_fault = sym crate::fault::own_fault,
    machine_check = sym crate::fault::machine_check,
    exit = sym crate::exit::exit_to_guest,
);
