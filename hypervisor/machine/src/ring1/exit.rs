//! The way back to a guest in ring 1 or to its processes: always by `iretq`, from the entry area.
//! The frame is copied there from the end of the hypervisor's stack, over whatever lay there; then the root changes, one
//! register is restored, and the frame is used. Nothing of the hypervisor's or of another guest stays on the page.
//!
//! An NMI between the last two steps would leave its own frame; [`super::anywhere`] takes those steps itself then.

use core::arch::{global_asm, naked_asm};
use core::mem::offset_of;

use hypervisor_core::registers::{Registers, rflags};

use super::area::{STACK_END as AREA_END, USED, interrupt_stack_end};
use crate::descriptors::tss;
use crate::entry::{pop_preserved, pop_scratch};
use crate::per_cpu::{FRAME, GUEST_ROOT, PER_CPU};

unsafe extern "C" {
    /// Returns to the guest whose frame lies a word above RSP. Not a function that Rust may call.
    pub(super) fn ring1_exit();
    /// The same from a frame that has only room for the six registers that Rust functions preserve: they are still in
    /// the processor.
    pub(super) fn ring1_exit_quickly();
}

global_asm!(
    ".pushsection .ring1.text, \"ax\"",
    ".balign 16",
    ".globl ring1_exit",
    "ring1_exit:",
    "add rsp, 8",
    pop_preserved!(),
    "jmp 2f",
    ".balign 16",
    ".globl ring1_exit_quickly",
    "ring1_exit_quickly:",
    "add rsp, 7 * 8",
    "2:",
    // With interrupts off a guest could never be stopped.
    "test dword ptr [rip + {per_cpu} + {frame} + {rflags}], {interrupt}",
    "jz 4f",
    "5:",
    "cmp byte ptr [rip + {per_cpu} + {used}], 0",
    "jne 3f",
    pop_scratch!(),
    "lea rsp, [rip + {per_cpu} + {area_end}]",
    "push qword ptr [rip + {per_cpu} + {frame} + {ss}]",
    "push qword ptr [rip + {per_cpu} + {frame} + {rsp}]",
    "push qword ptr [rip + {per_cpu} + {frame} + {rflags}]",
    "push qword ptr [rip + {per_cpu} + {frame} + {cs}]",
    "push qword ptr [rip + {per_cpu} + {frame} + {rip}]",
    "push rax",
    "mov rax, [rip + {per_cpu} + {guest_root}]",
    "mov cr3, rax",
    ".globl ring1_left",
    "ring1_left:",
    "pop rax",
    "iretq",
    ".globl ring1_left_end",
    "ring1_left_end:",
    // Something struck anywhere, and its frame still lies on its stack.
    "3:",
    // Before all else: what strikes meanwhile marks it again.
    "mov byte ptr [rip + {per_cpu} + {used}], 0",
    "xor eax, eax",
    ".set at, 8",
    ".rept {words}",
    "mov [rip + {per_cpu} + {debug} - at], rax",
    "mov [rip + {per_cpu} + {nmi} - at], rax",
    "mov [rip + {per_cpu} + {machine_check} - at], rax",
    ".set at, at + 8",
    ".endr",
    ".set at, 56",
    ".rept 4",
    "mov [rip + {per_cpu} + {area_end} - at], rax",
    ".set at, at + 8",
    ".endr",
    "jmp 5b",
    "4:",
    "lea rdi, [rip + {per_cpu} + {frame}]",
    "and rsp, -16",
    "call {interrupts_off}",
    "ud2",
    ".popsection",
    per_cpu = sym PER_CPU,
    area_end = const AREA_END,
    used = const USED,
    guest_root = const GUEST_ROOT,
    frame = const FRAME,
    rip = const offset_of!(Registers, rip),
    cs = const offset_of!(Registers, cs),
    rflags = const offset_of!(Registers, rflags),
    rsp = const offset_of!(Registers, rsp),
    ss = const offset_of!(Registers, ss),
    interrupt = const rflags::INTERRUPT,
    words = const WORDS,
    debug = const interrupt_stack_end(tss::DEBUG),
    nmi = const interrupt_stack_end(tss::NMI),
    machine_check = const interrupt_stack_end(tss::MACHINE_CHECK),
    interrupts_off = sym interrupts_off,
);

/// Words of a stack for what strikes anywhere that are ever used: a frame, two registers, and what a machine check puts
/// below them to go back to an NMI.
pub(super) const WORDS: usize = 11;

/// A guest in ring 1 would have run with interrupts off.
extern "C" fn interrupts_off(regs: &Registers) -> ! {
    panic!("a guest in ring 1 is about to run with interrupts off: {regs:#x?}")
}

/// Takes the frame's place on the stack and goes on as after an entry from a guest in ring 1. Whatever else was on the
/// stack is forgotten.
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
        resume = sym crate::run::resume::<1>,
        exit = sym ring1_exit,
    )
}
