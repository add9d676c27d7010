//! What a process of a kernel in ring 1 can do, and what it cannot: make hypercalls, read or write what is its kernel's
//! or the hypervisor's, reach ring 1 by any way but the gate that its kernel opened.
//! The process is a page of code that we go to by `iretq`; it comes back by the fault that it causes.

use core::arch::global_asm;

use guest_kernel::memory::Page;
use guest_kernel::window::Range;
use hypercall_abi::Hypercall;
use hypercall_abi::layout::{GUEST_CODE, GUEST_DATA, MACHINE_TO_PHYS};
use hypercall_abi::mmu::pte;
use hypercall_abi::trap::TrapInfo;

use super::act::Actor;
use super::entry_area::jump;
use super::probe::probe;
use super::syscall::syscall;

/// The vector that a kernel in ring 1 can open to its processes.
const GATE: u8 = 0x80;
const INVALID_OPCODE: u8 = 6;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;
/// Interrupts enabled.
const INTERRUPT: u64 = 0x200;

global_asm!(
    r#"
    .pushsection .text.hostile, "ax", @progbits
    .globl hostile_enter_process
hostile_enter_process:
    mov rax, rdx
    push {data}
    push rsi
    push 0x202
    push {code}
    push rdi
    iretq

    # The gate leads here, on the stack that we named, with the processor's own frame: back to the probe with the flags.
    .globl hostile_gate
    .balign 16
hostile_gate:
    pushfq
    pop rax
    mov rcx, cs
    shl rcx, 32
    or rax, rcx
    mov rsp, [rip + HOSTILE_STACK]
    jmp [rip + HOSTILE_RECOVER]
    .popsection
    "#,
    data = const GUEST_DATA,
    code = const GUEST_CODE,
);

unsafe extern "C" {
    fn hostile_enter_process() -> u64;
    fn hostile_gate();
}

/// Name, code, the word in its RAX, and the vector that must end it.
type Attempt = (&'static str, &'static [u8], u64, u8);

/// All attempts; `area` is the page of the entry area that a kernel can write.
pub(super) fn attack(actor: &mut Actor, area: u64) {
    let (Some(code), Some(stack)) = (Page::new(), Page::new()) else { return };
    let Ok(range) = Range::new(1) else { return };
    let flags = pte::PRESENT | pte::WRITABLE | pte::USER | pte::ACCESSED | pte::DIRTY;
    if range.map(0, code.machine_frame(), flags).is_err() {
        actor.breach("a page for a process", "cannot be mapped");
        return;
    }
    let number = Hypercall::StackSwitch.raw().into();
    // SAFETY: the page is ours and used for nothing else.
    unsafe { syscall(number, [0, stack.address() + 4096, 0, 0, 0]) };
    let kernel = code.address();
    let own = u64::from(guest_kernel::trap::code_selector());
    let attempts: [Attempt; 15] = [
        ("int 0x82", &[0xcd, 0x82], 17, GENERAL_PROTECTION),
        ("syscall", &[0x0f, 0x05], 17, INVALID_OPCODE),
        ("read of its kernel", &[0x48, 0x8b, 0x00], kernel, PAGE_FAULT),
        ("write of its kernel", &[0x48, 0x89, 0x00], kernel, PAGE_FAULT),
        ("jump into its kernel", &[0xff, 0xe0], hostile_gate as *const () as u64, PAGE_FAULT),
        ("read of the entry area", &[0x48, 0x8b, 0x00], area, PAGE_FAULT),
        ("write of the entry area", &[0x48, 0x89, 0x00], area, PAGE_FAULT),
        ("jump into the entry area", &[0xff, 0xe0], area, PAGE_FAULT),
        ("read of machine-to-physical", &[0x48, 0x8b, 0x00], MACHINE_TO_PHYS, PAGE_FAULT),
        // push rax; push rax; retfq
        ("far return to ring 1", &[0x50, 0x50, 0x48, 0xcb], own, GENERAL_PROTECTION),
        // push 0; push rsp; push 2; push rax; push rax; iretq
        ("iretq to ring 1", &[0x6a, 0, 0x54, 0x6a, 2, 0x50, 0x50, 0x48, 0xcf], own, GENERAL_PROTECTION),
        ("stack selector of ring 1", &[0x8e, 0xd0], 0xe051, GENERAL_PROTECTION),
        ("cli", &[0xfa], 0, GENERAL_PROTECTION),
        ("hlt", &[0xf4], 0, GENERAL_PROTECTION),
        ("int 0xf0", &[0xcd, 0xf0], 0, GENERAL_PROTECTION),
    ];
    let run = |bytes: &[u8], word: u64| {
        // SAFETY: the page is ours; nobody executes it now.
        unsafe { (kernel as *mut [u8; 4096]).write_bytes(0xcc, 1) };
        // SAFETY: as above; the code is a few bytes long.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), kernel as *mut u8, bytes.len()) };
        let top = range.address() + 4096;
        // SAFETY: the process can reach its page alone, and comes back by a fault or the gate.
        unsafe { probe(hostile_enter_process, [range.address(), top, word]) }
    };
    for (name, bytes, word, vector) in attempts {
        let outcome = run(bytes, word);
        if outcome != Err(vector) {
            guest_kernel::println!("@process {name}: {outcome:x?}");
            actor.breach("a process", name);
        }
    }
    // Its page is full of `int3` now, which would be another fault.
    // SAFETY: it faults, and a fault comes back here.
    if unsafe { probe(jump, [range.address(), 0, 0]) } != Err(PAGE_FAULT) {
        actor.breach("the page of a process", "can be executed by its kernel");
    }
    open_gate();
    let expected = own << 32 | INTERRUPT;
    match run(&[0xcd, GATE], 0) {
        Ok(found) if found & (0xffff << 32 | INTERRUPT) == expected => {}
        outcome => {
            guest_kernel::println!("@gate {outcome:x?}");
            actor.breach("the gate for processes", "does not lead to ring 1 with interrupts on");
        }
    }
    // SAFETY: nobody uses the mapping any more.
    let _ = unsafe { range.unmap(0) };
    // Handlers of processes keep the stack.
    stack.leak();
}

/// Opens the gate for our processes.
fn open_gate() {
    let cs = guest_kernel::trap::code_selector();
    let address = hostile_gate as *const () as u64;
    let table = [TrapInfo { vector: GATE, flags: 3, cs, pad: 0, address }, TrapInfo::zeroed()];
    let number = Hypercall::SetTrapTable.raw().into();
    // SAFETY: the table names code that handles the frame of this vector.
    unsafe { syscall(number, [(&raw const table) as u64, 0, 0, 0, 0]) };
}
