//! Code that may fault: it is entered by [`probe`], and a fault in it comes back there.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_kernel::trap::{Registers, Verdict};

/// Code under test. It finds scratch memory in RDI, and its answer is in RAX.
pub(crate) type Code = unsafe extern "C" fn(*mut u64) -> u64;

global_asm!(
    r#"
    .pushsection .text.sensitive, "ax", @progbits
    .globl sensitive_probe
sensitive_probe:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    mov [rip + SENSITIVE_STACK], rsp
    mov rax, rdi
    mov rdi, rsi
    call rax
    .globl sensitive_recover
sensitive_recover:
    mov rsp, [rip + SENSITIVE_STACK]
    mov qword ptr [rip + SENSITIVE_STACK], 0
    push 2
    popfq
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    .popsection
    "#
);

unsafe extern "C" {
    fn sensitive_probe(code: Code, scratch: *mut u64) -> u64;
    fn sensitive_recover();
}

/// Stack to come back to; 0 outside of a probe.
#[unsafe(no_mangle)]
static SENSITIVE_STACK: AtomicU64 = AtomicU64::new(0);

/// The vector of the last fault in its upper half, the error code in the lower.
static FAULT: AtomicU64 = AtomicU64::new(NO_FAULT);
const NO_FAULT: u64 = u64::MAX;

/// An exception that this kernel was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) vector: u32,
    pub(crate) error: u32,
}

/// Executes code that may fault.
///
/// # Errors
/// The fault.
///
/// # Safety
/// The code is a function that returns or faults, and what it writes nobody relies on.
pub(crate) unsafe fn probe(code: Code, scratch: *mut u64) -> Result<u64, Fault> {
    FAULT.store(NO_FAULT, Ordering::SeqCst);
    // SAFETY: the trampoline keeps what a called function keeps, also when the code faults.
    let result = unsafe { sensitive_probe(code, scratch) };
    match FAULT.load(Ordering::SeqCst) {
        NO_FAULT => Ok(result),
        fault => Err(Fault { vector: (fault >> 32) as u32, error: fault as u32 }),
    }
}

/// Leads a fault of a probe back to it.
pub(crate) fn handler(registers: &mut Registers) -> Verdict {
    let stack = SENSITIVE_STACK.load(Ordering::SeqCst);
    if stack == 0 {
        return Verdict::Fatal;
    }
    FAULT.store(registers.vector << 32 | registers.error & 0xffff_ffff, Ordering::SeqCst);
    (registers.rip, registers.rsp) = (sensitive_recover as *const () as u64, stack);
    registers.rflags = 0x202;
    Verdict::Resume
}
