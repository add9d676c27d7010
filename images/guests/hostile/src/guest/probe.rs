//! Code that may fault: it is entered by [`probe`], and a fault in it comes back there.
//! The handlers do not return to what faulted, so that no frame of the fault is believed.
//!
//! Both the exception handlers and the upcall's are our own, apart from the guest kernel's, because attacks leave the
//! stack, the flags and the shared page in any state.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use hypercall_abi::Hypercall;
use hypercall_abi::shared_info::VcpuInfo;
use hypercall_abi::trap::TrapInfo;

use super::syscall::syscall;

/// Vectors that have a handler.
const VECTORS: u64 = 32;
/// Bytes from one handler to the next.
const STUB_BYTES: u64 = 16;

global_asm!(
    r#"
    .pushsection .text.hostile, "ax", @progbits
    .globl hostile_stubs
    .balign 16
hostile_stubs:
    .set vector, 0
    .rept 32
    .balign 16
    push vector
    jmp hostile_trap
    .set vector, vector + 1
    .endr

    .balign 16
hostile_trap:
    cld
    pop rax
    cmp qword ptr [rip + HOSTILE_RECOVER], 0
    je 1f
    mov [rip + HOSTILE_VECTOR], rax
    mov rsp, [rip + HOSTILE_STACK]
    jmp [rip + HOSTILE_RECOVER]
1:  mov rdi, rax
    mov rsi, [rsp + 16]
    mov rdx, [rsp + 24]
    and rsp, -16
    call hostile_lost
    ud2

    .globl hostile_probe
hostile_probe:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + HOSTILE_STACK], rsp
    lea rax, [rip + 2f]
    mov [rip + HOSTILE_RECOVER], rax
    mov rax, rdi
    mov rdi, rsi
    mov rsi, rdx
    mov rdx, rcx
    call rax
2:  mov rsp, [rip + HOSTILE_STACK]
    mov qword ptr [rip + HOSTILE_RECOVER], 0
    push 2
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

    .globl hostile_upcall
    .balign 16
hostile_upcall:
    mov byte ptr [{pending}], 0
    mov qword ptr [{selector}], 0
    pop rcx
    pop r11
    mov dword ptr [rsp + 8], 0
    mov word ptr [rsp + 8], cs
    mov dword ptr [rsp + 12], 0
    iretq

    .globl hostile_failsafe
    .balign 16
hostile_failsafe:
    mov rax, 255
    push rax
    jmp hostile_trap
    .popsection
    "#,
    pending = const guest_kernel::window::SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_pending),
    selector = const guest_kernel::window::SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_pending_sel),
);

unsafe extern "C" {
    fn hostile_stubs();
    fn hostile_upcall();
    fn hostile_failsafe();
    fn hostile_probe(code: unsafe extern "C" fn() -> u64, a: u64, b: u64, c: u64) -> u64;
}

#[unsafe(no_mangle)]
static HOSTILE_RECOVER: AtomicU64 = AtomicU64::new(0);
#[unsafe(no_mangle)]
static HOSTILE_STACK: AtomicU64 = AtomicU64::new(0);
#[unsafe(no_mangle)]
static HOSTILE_VECTOR: AtomicU64 = AtomicU64::new(NO_FAULT);

const NO_FAULT: u64 = u64::MAX;

/// Executes code that may fault, with three words in RDI, RSI and RDX.
///
/// # Errors
/// The vector of the fault.
///
/// # Safety
/// The code is a function that returns or faults, and what it writes nobody relies on.
pub(super) unsafe fn probe(code: unsafe extern "C" fn() -> u64, words: [u64; 3]) -> Result<u64, u8> {
    HOSTILE_VECTOR.store(NO_FAULT, Ordering::SeqCst);
    let [a, b, c] = words;
    // SAFETY: the trampoline keeps what a called function keeps, also when the code faults.
    let result = unsafe { hostile_probe(code, a, b, c) };
    match HOSTILE_VECTOR.load(Ordering::SeqCst) {
        NO_FAULT => Ok(result),
        vector => Err(vector as u8),
    }
}

/// Called when something faulted outside of a probe.
#[unsafe(no_mangle)]
extern "C" fn hostile_lost(vector: u64, first: u64, second: u64) -> ! {
    guest_kernel::println!("hostile: lost by vector {vector}, rip {first:#x} or {second:#x}");
    guest_kernel::hypercall::domain::shutdown(hypercall_abi::sched::ShutdownReason::Crash)
}

/// Addresses of the handlers: upcall, failsafe, the first exception.
pub(super) fn handlers() -> [u64; 3] {
    [
        hostile_upcall as *const () as u64,
        hostile_failsafe as *const () as u64,
        hostile_stubs as *const () as u64,
    ]
}

/// Registers the handlers.
pub(super) fn register() {
    let mut table = [TrapInfo::zeroed(); VECTORS as usize + 1];
    let [upcall, failsafe, first] = handlers();
    for (vector, entry) in table.iter_mut().take(VECTORS as usize).enumerate() {
        let flags = if vector == 3 || vector == 4 { 3 } else { 0 };
        let cs = guest_kernel::trap::code_selector();
        let address = first + vector as u64 * STUB_BYTES;
        *entry = TrapInfo { vector: vector as u8, flags, cs, pad: 0, address };
    }
    let number = u64::from(Hypercall::SetTrapTable.raw());
    // SAFETY: the table names code that handles the frames of these vectors.
    unsafe { syscall(number, [(&raw const table) as u64, 0, 0, 0, 0]) };
    let number = u64::from(Hypercall::SetCallbacks.raw());
    // SAFETY: the addresses name code that handles these frames.
    unsafe { syscall(number, [upcall, failsafe, 0, 0, 0]) };
}
