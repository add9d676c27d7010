//! The ways in for what may strike between any two instructions: NMI, #DB, machine check, double fault.
//! They come on stacks of their own in the entry area, know nothing of the root that is loaded, and put it back.
//!
//! Where they struck decides how they go back. In the hypervisor proper (its own root is loaded): their frame moves to a
//! stack that no guest sees, and the area's words are cleared. In a guest, or in a stub on its way in: the frame stays
//! and is marked, so that the next exit clears it. In the last two instructions of the exit: they are carried out here,
//! as the frame for the guest lies complete where the exit has put it. In the way in for NMIs a machine check goes back
//! without `iretq`: that would let the next NMI in, over the frame of the one under way.

use core::arch::global_asm;

use super::area::{ROOT, STACK_END as AREA_END, USED, interrupt_stack_end as area_end};
use crate::descriptors::tss;
use crate::entry::{pop_scratch, push_preserved, push_scratch};
use crate::per_cpu::{
    INTERRUPT_STACK_BYTES, NMI_AT, NMIS, PER_CPU, STACK_END, interrupt_stack_end as own_end,
};

unsafe extern "C" {
    fn ring1_nmi();
    fn ring1_debug();
    fn ring1_machine_check();
    fn ring1_double_fault();
}

/// Address of the stub for NMIs.
pub(super) fn nmi_stub() -> u64 {
    ring1_nmi as *const () as u64
}

/// Address of the stub for #DB.
pub(super) fn debug_stub() -> u64 {
    ring1_debug as *const () as u64
}

/// Address of the stub for machine checks.
pub(super) fn machine_check_stub() -> u64 {
    ring1_machine_check as *const () as u64
}

/// Address of the stub for double faults.
pub(super) fn double_fault_stub() -> u64 {
    ring1_double_fault as *const () as u64
}

/// Saves RAX and CR3 below the frame and changes to the hypervisor's root.
macro_rules! save_root {
    () => {
        "push rax
         mov rax, cr3
         push rax
         mov rax, [rip + {per_cpu} + {root}]
         mov cr3, rax"
    };
}

/// Goes back from a frame with RAX and CR3 below it on the area's stack that ends at `$area`, or by way of the
/// hypervisor's own that ends at `$own`.
macro_rules! go_back {
    ($area:literal, $own:literal) => {
        concat!(
            "test byte ptr [rsp + 24], 3
             jnz 21f
             mov rax, [rsp]
             cmp rax, [rip + {per_cpu} + {root}]
             je 22f
             lea rax, [rip + ring1_left]
             cmp [rsp + 16], rax
             jb 21f
             lea rax, [rip + ring1_left_end]
             cmp [rsp + 16], rax
             jb 23f
             21:
             mov byte ptr [rip + {per_cpu} + {used}], 1
             pop rax
             mov cr3, rax
             pop rax
             iretq
             22:
             mov rax, rsp
             lea rsp, [rip + {per_cpu} + ",
            $own,
            "]
             push qword ptr [rax + 48]
             push qword ptr [rax + 40]
             push qword ptr [rax + 32]
             push qword ptr [rax + 24]
             push qword ptr [rax + 16]
             push qword ptr [rax + 8]
             .set at, 0
             .rept 7
             mov qword ptr [rax + at], 0
             .set at, at + 8
             .endr
             pop rax
             iretq
             23:
             mov rax, [rsp]
             .set at, 8
             .rept 7
             mov qword ptr [rip + {per_cpu} + ",
            $area,
            " - at], 0
             .set at, at + 8
             .endr
             lea rsp, [rip + {per_cpu} + {area_end} - 48]
             mov cr3, rax
             pop rax
             iretq"
        )
    };
}

global_asm!(
    ".pushsection .ring1.text, \"ax\"",
    ".balign 16",
    ".globl ring1_nmi",
    "ring1_nmi:",
    save_root!(),
    "mov rax, [rsp + 16]",
    "mov [rip + {per_cpu} + {nmi_at}], rax",
    "lock inc qword ptr [rip + {per_cpu} + {nmis}]",
    // What is asked of Rust happens on the hypervisor's own stack.
    "mov rax, rsp",
    "lea rsp, [rip + {per_cpu} + {own_nmi}]",
    "push rax",
    "cld",
    push_scratch!(),
    "mov rdi, [rax + 16]",
    "call {record_nmi}",
    pop_scratch!(),
    "pop rsp",
    go_back!("{area_nmi}", "{own_nmi}"),
    ".balign 16",
    // The end of the way in for NMIs, too.
    ".globl ring1_debug",
    "ring1_debug:",
    save_root!(),
    "test byte ptr [rsp + 24], 3",
    "jnz 4f",
    // MOV SS put it off until the hypervisor was entered: it is nobody's.
    go_back!("{area_debug}", "{own_debug}"),
    "4:",
    // From the guest: take the frame over as other exceptions do.
    "lea rax, [rip + {per_cpu} + {stack_end}]",
    "xchg rax, rsp",
    "test byte ptr [rax + 24], 2",
    "jnz 6f",
    "push {kernel_data}",
    "jmp 7f",
    "6:",
    "push qword ptr [rax + 48]",
    "7:",
    "push qword ptr [rax + 40]",
    "push qword ptr [rax + 32]",
    "push qword ptr [rax + 24]",
    "push qword ptr [rax + 16]",
    "push 0",
    "mov dword ptr [rsp + 4], 1",
    "push qword ptr [rax + 8]",
    ".set at, 0",
    ".rept 7",
    "mov qword ptr [rax + at], 0",
    ".set at, at + 8",
    ".endr",
    "pop rax",
    "cld",
    "jmp ring1_exception",
    ".balign 16",
    ".globl ring1_machine_check",
    "ring1_machine_check:",
    save_root!(),
    "mov rax, rsp",
    "lea rsp, [rip + {per_cpu} + {own_machine_check}]",
    "push rax",
    "cld",
    push_scratch!(),
    "call {machine_check}",
    pop_scratch!(),
    "pop rsp",
    // Whether it struck the way in for NMIs, or what that asked of Rust.
    "test byte ptr [rsp + 24], 3",
    "jnz 8f",
    "lea rax, [rip + ring1_nmi]",
    "cmp [rsp + 16], rax",
    "jb 7f",
    "lea rax, [rip + ring1_debug]",
    "cmp [rsp + 16], rax",
    "jb 9f",
    "7:",
    "mov rax, [rsp]",
    "cmp rax, [rip + {per_cpu} + {root}]",
    "jne 8f",
    "lea rax, [rip + {per_cpu} + {own_nmi}]",
    "sub rax, [rsp + 40]",
    "cmp rax, {own_bytes}",
    "jb 9f",
    "8:",
    go_back!("{area_machine_check}", "{own_machine_check}"),
    "9:",
    // RIP, RFLAGS, RAX and CR3 go below what the way in for NMIs has on its stack, to be taken from there.
    "mov byte ptr [rip + {per_cpu} + {used}], 1",
    "mov rax, [rsp + 40]",
    "push qword ptr [rsp + 16]",
    "pop qword ptr [rax - 8]",
    "push qword ptr [rsp + 32]",
    "pop qword ptr [rax - 16]",
    "push qword ptr [rsp + 8]",
    "pop qword ptr [rax - 24]",
    "push qword ptr [rsp]",
    "pop qword ptr [rax - 32]",
    "lea rsp, [rax - 32]",
    "pop rax",
    "mov cr3, rax",
    "pop rax",
    "popfq",
    "ret",
    ".balign 16",
    ".globl ring1_double_fault",
    "ring1_double_fault:",
    "mov dword ptr [rsp + 4], 8",
    save_root!(),
    "pop rax",
    "pop rax",
    "cld",
    push_scratch!(),
    push_preserved!(),
    "call {own_fault}",
    "ud2",
    ".popsection",
    per_cpu = sym PER_CPU,
    root = const ROOT,
    stack_end = const STACK_END,
    area_end = const AREA_END,
    used = const USED,
    nmis = const NMIS,
    nmi_at = const NMI_AT,
    area_nmi = const area_end(tss::NMI),
    own_nmi = const own_end(tss::NMI),
    own_bytes = const INTERRUPT_STACK_BYTES,
    record_nmi = sym crate::nmi::record,
    area_debug = const area_end(tss::DEBUG),
    own_debug = const own_end(tss::DEBUG),
    area_machine_check = const area_end(tss::MACHINE_CHECK),
    own_machine_check = const own_end(tss::MACHINE_CHECK),
    kernel_data = const hypervisor_core::ring::RING1_DATA,
    machine_check = sym crate::fault::machine_check,
    own_fault = sym crate::fault::own_fault,
);
