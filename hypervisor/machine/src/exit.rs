//! The ways from the hypervisor into a guest: `sysretq` where it gives the guest what it must have, else `iretq`.
//! Both return from the one frame at the end of the processor's stack, built of checked values, so neither can fault.
//!
//! EAX says which: 2 for `iretq`, which restores everything; 1 for `sysretq`, which takes RIP from RCX and RFLAGS from
//! R11 and so loses both, as a hypercall may. The caller has made sure that RIP is a guest's.

use core::arch::naked_asm;

use crate::entry::{pop_preserved, pop_scratch};
use crate::per_cpu::{FRAME, PER_CPU};

/// Returns to the guest whose frame lies a word above RSP; EAX says how. Not a function that Rust may call.
#[unsafe(naked)]
pub(crate) extern "C" fn exit_to_guest() {
    naked_asm!(
        "cmp eax, 1",
        "lea rsp, [rsp + 8]",
        pop_preserved!(),
        "jne 2f",
        pop_scratch!(),
        "mov rcx, [rsp + 8]",
        "mov r11, [rsp + 24]",
        "mov rsp, [rsp + 32]",
        "sysretq",
        "2:",
        pop_scratch!(),
        "add rsp, 8",
        "iretq",
    )
}

/// Returns by `iretq` from a frame that has only room for the six registers that Rust functions preserve: they are
/// still in the processor. Not a function that Rust may call.
#[unsafe(naked)]
pub(crate) extern "C" fn exit_quickly() {
    naked_asm!("add rsp, 7 * 8", pop_scratch!(), "add rsp, 8", "iretq",)
}

/// Leaves the boot path: takes the frame's place on the stack and enters the first guest, or idles until there is one.
#[unsafe(naked)]
pub(crate) extern "C" fn start() -> ! {
    naked_asm!(
        "lea rdi, [rip + {per_cpu} + {frame}]",
        "lea rsp, [rdi - 8]",
        "xor ebp, ebp",
        "call {resume}",
        "jmp {exit}",
        per_cpu = sym PER_CPU,
        frame = const FRAME,
        resume = sym crate::run::resume::<3>,
        exit = sym exit_to_guest,
    )
}
