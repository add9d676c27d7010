//! Where a process is entered and left: a few lines of assembly around one frame.
//!
//! A process runs between a call of `process_execute` and its return: its registers are taken from the frame at the
//! end of the entry stack, and whatever ends its run (a system call, an exception, an upcall) stores them there again
//! and returns on the kernel's stack with the reason. The hypervisor, and in ring 1 the processor, enter on the entry
//! stack, so that what they push is already the upper part of the frame: `rcx r11 rip cs rflags rsp ss`.
//!
//! A system call that needs only an answer gets it right there, on the entry stack (`process_quick`), with nothing
//! stored but the registers that a function may change.
//!
//! In ring 3 a process is left to by the `iret` hypercall, which switches the roots. In ring 1 it is `iretq`, and the
//! process comes in by a gate of the processor. Upcalls may interrupt the kernel anywhere; what they woke must run
//! before the process does. So each upcall leaves a flag, which is looked at last: in ring 3 with upcalls masked, which
//! the hypercall undoes; in ring 1 in `process_leave`, and an upcall that finds its RIP there counts as one that
//! interrupted the process, whose registers are all in their places by then.

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use hypercall_abi::Hypercall;
use hypercall_abi::hypercall::STUB_BYTES;
use hypercall_abi::shared_info::VcpuInfo;
use hypercall_abi::trap::IRET_IN_SYSCALL;

use super::calls::process_quick;
use super::context::{ENTRY_STACK, FRAME};
use crate::machine::entry::EXCEPTION_STUB_BYTES;
use crate::machine::window::SHARED_INFO;

/// Reasons that `process_execute` returns.
pub(super) mod reason {
    /// A system call.
    pub(in crate::machine::process) const SYSTEM_CALL: u64 = 0;
    /// An exception: [`super::VECTOR`] and [`super::ERROR`].
    pub(in crate::machine::process) const EXCEPTION: u64 = 1;
    /// An upcall, which is still to be handled.
    pub(in crate::machine::process) const UPCALL: u64 = 2;
    /// An upcall came before the process was reached.
    pub(in crate::machine::process) const TOLD: u64 = 3;
}

/// The kernel's RSP while a process runs.
static KERNEL_RSP: AtomicU64 = AtomicU64::new(0);
/// Address of the way out.
pub(super) static LEAVE: AtomicU64 = AtomicU64::new(0);
/// Set by each upcall.
pub(super) static TOLD: AtomicBool = AtomicBool::new(false);
/// Number of the last exception of a process.
pub(super) static VECTOR: AtomicU32 = AtomicU32::new(0);
/// Its error code; of another one, if this has none.
pub(super) static ERROR: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    /// Runs the process whose registers are in the frame; the reason why it stopped.
    pub(super) fn process_execute() -> u64;
    /// Where upcalls enter.
    pub(super) fn process_upcall();
    /// The first of the exception stubs.
    pub(super) fn process_exceptions();
    /// Where a system call enters in ring 3.
    pub(super) fn process_system_call_ring3();
    /// Where a system call that the hypervisor passes on enters in ring 1.
    pub(super) fn process_system_call_ring1();
    /// Where a system call enters by a gate of the processor, in ring 1.
    pub(super) fn process_gate();
    /// The way out in ring 3.
    pub(super) fn process_leave_ring3();
    /// The way out in ring 1.
    pub(super) fn process_leave_ring1();
}

global_asm!(
    r#"
    .macro PUSH_SCRATCH
    push rax
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    .endm

    .macro PUSH_PRESERVED
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    .endm

    .macro POP_PRESERVED
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    .endm

    // Registers of the process are all in their places but those of the bounce frame at RSP: store them and return.
    .macro STOP reason
    PUSH_SCRATCH
    PUSH_PRESERVED
    mov eax, \reason
    jmp process_stop
    .endm

    // Answers a system call at once, or stops the process. What follows finds RSP at the bounce frame.
    .macro ANSWER
    PUSH_SCRATCH
    cld
    mov rcx, rax
    call {quick}
    test edx, edx
    jz process_store
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    add rsp, 8
    .endm

    .pushsection .text.process, "ax", @progbits
    .globl process_execute
process_execute:
    PUSH_PRESERVED
    mov [rip + {kernel_rsp}], rsp
    lea rsp, [rip + {entry_stack} + {frame}]
    POP_PRESERVED
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rax
    jmp qword ptr [rip + {leave}]

    .globl process_system_call_ring3
process_system_call_ring3:
    ANSWER
    mov byte ptr [{mask}], 1
    cmp byte ptr [rip + {told}], 0
    jne process_told
    // RCX and R11 may be lost; where R11 was now lie the flags that say so.
    add rsp, 8
    mov qword ptr [rsp], {in_syscall}
    jmp guest_hypercall_page + {iret}

    .globl process_leave_ring3
process_leave_ring3:
    mov byte ptr [{mask}], 1
    cmp byte ptr [rip + {told}], 0
    jne process_told
    pop rcx
    pop r11
    push 0
    jmp guest_hypercall_page + {iret}

    .globl process_gate
process_gate:
    push r11
    push rcx
    .globl process_system_call_ring1
process_system_call_ring1:
    ANSWER
    .globl process_leave_ring1
process_leave_ring1:
    pop rcx
    pop r11
process_leave:
    cmp byte ptr [rip + {told}], 0
    jne 1f
    iretq
process_leave_end:
1:  push r11
    push rcx
process_told:
    STOP {reason_told}

    // The system call's number is in RAX's place, and nothing else of the process has changed.
process_store:
    PUSH_PRESERVED
    xor eax, eax
process_stop:
    cld
    mov rsp, [rip + {kernel_rsp}]
    POP_PRESERVED
    ret

    .globl process_upcall
process_upcall:
    test byte ptr [rsp + 24], 2
    jnz 2f
    mov byte ptr [rip + {told}], 1
    cmp qword ptr [rsp + 16], offset process_leave
    jb guest_upcall
    cmp qword ptr [rsp + 16], offset process_leave_end
    jae guest_upcall
    mov rcx, [rsp]
    mov r11, [rsp + 8]
    mov rsp, [rsp + 40]
    push r11
    push rcx
2:  STOP {reason_upcall}

    .balign {stub}
    .globl process_exceptions
process_exceptions:
    .set vector, 0
    .rept 20
    .balign {stub}
    .if (1 << vector) & 0x27d00
    test byte ptr [rsp + 32], 2
    .else
    test byte ptr [rsp + 24], 2
    .endif
    jnz process_own_exceptions + {stub} * vector
    jmp guest_exceptions + {stub} * vector
    .set vector, vector + 1
    .endr

    .balign {stub}
process_own_exceptions:
    .set vector, 0
    .rept 20
    .balign {stub}
    .if (1 << vector) & 0x27d00
    pop rcx
    pop r11
    pop qword ptr [rip + {error}]
    push r11
    push rcx
    .endif
    mov dword ptr [rip + {vector}], vector
    jmp process_exception
    .set vector, vector + 1
    .endr

process_exception:
    STOP {reason_exception}
    .popsection
    "#,
    quick = sym process_quick,
    kernel_rsp = sym KERNEL_RSP,
    entry_stack = sym ENTRY_STACK,
    frame = const FRAME,
    leave = sym LEAVE,
    told = sym TOLD,
    vector = sym VECTOR,
    error = sym ERROR,
    stub = const EXCEPTION_STUB_BYTES,
    mask = const SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask),
    in_syscall = const IRET_IN_SYSCALL,
    iret = const Hypercall::Iret.raw() as usize * STUB_BYTES,
    reason_told = const reason::TOLD,
    reason_upcall = const reason::UPCALL,
    reason_exception = const reason::EXCEPTION,
);
