//! Sensitive instructions that take more than a line: far transfers, flags that are the shared page's, and `hlt`, which
//! needs something to wait for.

use core::arch::{asm, naked_asm};

use core::sync::atomic::Ordering;

use guest_kernel::ports::EventPort;
use guest_kernel::{clock, hypercall, upcall};
use hypercall_abi::event_channel::Virq;

/// Goes far through memory to the word after it, with the selector in EAX; `$op` is `call` or `jmp`.
macro_rules! far {
    ($name:ident, $op:literal, $selector:literal) => {
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name(_: *mut u64) -> u64 {
            naked_asm!(
                "lea rcx, [rip + 2f]",
                "mov [rdi], rcx",
                $selector,
                "mov [rdi + 8], rax",
                "mov rdx, rsp",
                concat!("rex64 ", $op, " fword ptr [rdi]"),
                "2:",
                "mov rsp, rdx",
                "mov eax, cs",
                "ret",
            )
        }
    };
}

far!(call_own, "call", "mov eax, cs");
far!(call_hypervisor, "call", "mov eax, 0xe008");
far!(jump_own, "jmp", "mov eax, cs");
far!(jump_hypervisor, "jmp", "mov eax, 0xe008");
far!(jump_task, "jmp", "mov eax, 0xe040");

/// Waits by `hlt` for a timer. 1 if the time had passed when it went on.
pub(crate) unsafe extern "C" fn halt(_: *mut u64) -> u64 {
    const NS: u64 = 1_000_000;
    let Ok(_port) = EventPort::virq(Virq::Timer) else { return 3 };
    let due = clock::now_ns() + NS;
    if hypercall::time::set_timer(due).is_err() {
        return 2;
    }
    // SAFETY: waits for an upcall, and the timer's is on its way.
    unsafe { asm!("hlt", options(nostack)) };
    u64::from(clock::now_ns() >= due)
}

/// Masks by `cli`. What the upcall mask is then.
pub(crate) unsafe extern "C" fn mask(_: *mut u64) -> u64 {
    let mask = &upcall::page().vcpu().mask;
    mask.store(0, Ordering::SeqCst);
    // SAFETY: nothing here relies on upcalls.
    unsafe { asm!("cli") };
    mask.swap(0, Ordering::SeqCst).into()
}

/// Unmasks by `sti`. What the upcall mask is then.
pub(crate) unsafe extern "C" fn unmask(_: *mut u64) -> u64 {
    let mask = &upcall::page().vcpu().mask;
    mask.store(1, Ordering::SeqCst);
    // SAFETY: upcalls may come here as anywhere.
    unsafe { asm!("sti") };
    mask.swap(0, Ordering::SeqCst).into()
}
