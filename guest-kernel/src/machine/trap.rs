//! Exceptions: the trap table, the registers that a handler sees, and what happens without a handler.

use core::arch::asm;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use hypercall_abi::shared_info::{ArchVcpuInfo, VcpuInfo};
use hypercall_abi::trap::{TrapInfo, Vector};

use super::entry::{self, EXCEPTION_STUB_BYTES, EXCEPTION_STUBS};
use super::hypercall;
use super::window::SHARED_INFO;

/// The registers at an exception, as the entry code lays them out. A handler may change them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "registers are named by the processor")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Number of the exception.
    pub vector: u64,
    pub rcx: u64,
    pub r11: u64,
    /// Error code; 0 for exceptions without one.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// What a handler of exceptions decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with the registers as they are now.
    Resume,
    /// It is not for this handler: the domain ends with a report.
    Fatal,
}

/// A handler of exceptions. It runs on the stack of what was interrupted and must not allocate.
pub type Handler = fn(&mut Registers) -> Verdict;

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Asks `handler` about each exception from now on.
pub fn set_handler(handler: Handler) {
    HANDLER.store(handler as *mut (), Ordering::Release);
}

/// The code selector that we run with, as the processor has it; its lowest two bits are the ring.
#[must_use]
pub fn code_selector() -> u16 {
    let selector: u16;
    // SAFETY: reading a selector changes nothing.
    unsafe { asm!("mov {0:x}, cs", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    selector
}

/// Address of the last page fault.
#[must_use]
pub fn fault_address() -> u64 {
    let offset = core::mem::offset_of!(VcpuInfo, arch) + core::mem::offset_of!(ArchVcpuInfo, cr2);
    // SAFETY: the shared page is mapped there for the domain's life.
    unsafe { ((SHARED_INFO + offset) as *const u64).read_volatile() }
}

/// Address of the first of this kernel's exception stubs.
static STUBS: AtomicU64 = AtomicU64::new(0);
/// This kernel's upcall entry.
static UPCALL: AtomicU64 = AtomicU64::new(0);

/// Registers the exception stubs and the upcall entry.
pub(super) fn init() -> hypercall::Result {
    // SAFETY: the stubs handle the bounce frames of their vectors, the entry those of upcalls.
    unsafe { set_entries(entry::guest_exceptions, entry::guest_upcall) }
}

/// Registers exception stubs, one after the other [`EXCEPTION_STUB_BYTES`] apart, and an upcall entry as this kernel's.
///
/// # Safety
/// They must be code that handles the bounce frames of their vectors, and those of upcalls.
pub(super) unsafe fn set_entries(
    exceptions: unsafe extern "C" fn(),
    upcall: unsafe extern "C" fn(),
) -> hypercall::Result {
    let first = exceptions as *const () as u64;
    STUBS.store(first, Ordering::Relaxed);
    UPCALL.store(upcall as *const () as u64, Ordering::Relaxed);
    let mut table = [TrapInfo::zeroed(); EXCEPTION_STUBS as usize + 1];
    for vector in 0..EXCEPTION_STUBS {
        // Breakpoint and overflow are instructions of their own, which any ring may use.
        let flags =
            if vector == Vector::Breakpoint.raw() || vector == Vector::Overflow.raw() { 3 } else { 0 };
        table[vector as usize] = TrapInfo {
            vector,
            flags,
            cs: code_selector(),
            pad: 0,
            address: first + u64::from(vector) * EXCEPTION_STUB_BYTES,
        };
    }
    // SAFETY: the caller answers for the stubs.
    unsafe { hypercall::domain::set_trap_table(&mut table) }?;
    restore_upcalls()
}

/// Registers this kernel's upcall entry, again after somebody has set another.
///
/// # Errors
/// As the hypervisor says.
pub fn restore_upcalls() -> hypercall::Result {
    let upcall = UPCALL.load(Ordering::Relaxed);
    // SAFETY: these two handle the frames of upcalls and failed returns.
    unsafe { hypercall::domain::set_callbacks(upcall, entry::guest_failsafe as *const () as u64) }
}

/// Replaces the handler of one vector by code of the caller's own.
///
/// # Safety
/// `address` must be code that handles the bounce frame of this vector.
///
/// # Errors
/// As the hypervisor says.
pub unsafe fn set_raw_handler(vector: Vector, address: u64) -> hypercall::Result {
    let entry = TrapInfo { vector: vector.raw(), flags: 0, cs: code_selector(), pad: 0, address };
    // SAFETY: the caller answers for the address.
    unsafe { hypercall::domain::set_trap_table(&mut [entry, TrapInfo::zeroed()]) }
}

/// Registers this kernel's own handler of one vector again.
///
/// # Errors
/// As the hypervisor says.
pub fn restore_handler(vector: Vector) -> hypercall::Result {
    let stub = STUBS.load(Ordering::Relaxed) + u64::from(vector.raw()) * EXCEPTION_STUB_BYTES;
    // SAFETY: the stub handles the bounce frame of its vector.
    unsafe { set_raw_handler(vector, stub) }
}

/// Called by the exception stubs.
#[unsafe(no_mangle)]
extern "C" fn guest_dispatch_exception(registers: &mut Registers) {
    registers.cs = code_selector().into();
    let handler = HANDLER.load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only `set_handler` stores here, and it stores a `Handler`.
        let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
        if handler(registers) == Verdict::Resume {
            return;
        }
    }
    super::panic::unhandled_exception(registers)
}
