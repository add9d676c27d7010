//! Where the hypervisor enters: the first instruction, upcalls and exceptions.
//! These few lines are assembly because they run before, or between, anything that Rust knows about.
//!
//! A bounce pushes `rcx r11 [error] rip cs rflags rsp ss`. The return is a native `iretq`, which needs CS as the
//! processor has it: the pushed one shows RPL 0 for the kernel and holds the saved mask in its upper half.
//!
//! An upcall's return unmasks first and then looks whether something came in between. An upcall that arrives
//! between that and the `iretq` finds its RIP in `guest_upcall_leave`; it then takes the place of the one
//! that was leaving, so that upcalls never pile up on the stack.

use core::arch::global_asm;

use hypercall_abi::shared_info::VcpuInfo;

use super::window::SHARED_INFO;

global_asm!(
    r#"
    .pushsection .hypercall_page, "ax", @progbits
    .balign 4096
    .globl guest_hypercall_page
guest_hypercall_page:
    .fill 4096, 1, 0xcc
    .popsection

    .pushsection .text.entry, "ax", @progbits
    .globl guest_entry
guest_entry:
    cld
    mov rdi, rsi
    mov rsi, rsp
    lea rsp, [rip + guest_stack_end]
    xor ebp, ebp
    call guest_start
    ud2

    .globl guest_upcall
guest_upcall:
    cmp qword ptr [rsp + 16], offset guest_upcall_leave
    jb 1f
    cmp qword ptr [rsp + 16], offset guest_upcall_end
    jae 1f
    mov rcx, [rsp]
    mov r11, [rsp + 8]
    mov rsp, [rsp + 40]
    push r11
    push rcx
1:  push rax
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    cld
    mov dword ptr [rsp + 80], 0
    mov word ptr [rsp + 80], cs
    mov dword ptr [rsp + 84], 0
    call guest_dispatch_upcall
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rax
    pop rcx
    pop r11
    mov byte ptr [{mask}], 0
guest_upcall_leave:
    cmp byte ptr [{pending}], 0
    jne 2f
    iretq
2:  mov byte ptr [{mask}], 1
guest_upcall_end:
    push r11
    push rcx
    jmp 1b

    .globl guest_failsafe
guest_failsafe:
    ud2
    .popsection
    "#,
    mask = const SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask),
    pending = const SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_pending),
);

// One stub for each vector of 32 bytes: those without an error code push 0 in its place.
global_asm!(
    r#"
    .pushsection .text.entry, "ax", @progbits
    .globl guest_exceptions
    .balign 32
guest_exceptions:
    .set vector, 0
    .rept 20
    .balign 32
    .if (1 << vector) & 0x27d00
    .else
    pop rcx
    pop r11
    push 0
    push r11
    push rcx
    .endif
    push vector
    jmp guest_exception
    .set vector, vector + 1
    .endr

guest_exception:
    push rax
    push rbx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbx, rsp
    and rsp, -16
    call guest_dispatch_exception
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rbx
    pop rax
    add rsp, 8
    pop rcx
    pop r11
    add rsp, 8
    iretq
    .popsection
    "#
);

unsafe extern "C" {
    /// Where upcalls enter.
    pub(super) fn guest_upcall();
    /// Where frames that could not be returned to enter.
    pub(super) fn guest_failsafe();
    /// The first of the exception stubs, one each 32 bytes.
    pub(super) fn guest_exceptions();
}

/// Bytes from one exception stub to the next.
pub(super) const EXCEPTION_STUB_BYTES: u64 = 32;
/// How many vectors have a stub.
pub(super) const EXCEPTION_STUBS: u8 = 20;
