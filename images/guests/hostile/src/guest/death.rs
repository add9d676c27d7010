//! Ways to end: the last thing that a hypervisor must survive from a domain is its death.

use core::arch::asm;

use guest_kernel::hypercall::domain::shutdown;
use guest_kernel::window::SHARED_INFO;
use hypercall_abi::mmu::{MmuextOp, MmuextRequest, pte};
use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::trap::TrapInfo;
use hypercall_abi::{DomId, Hypercall};

use super::act::Actor;
use super::syscall::syscall;

/// How many there are.
pub(super) const WAYS: u64 = 14;

/// Ends the domain; if the way chosen does not, it crashes.
pub(super) fn die(actor: &mut Actor, way: u64) -> ! {
    let estate = &actor.home.estate;
    match way {
        1 => shutdown(ShutdownReason::Reboot),
        2 => fault_on_stack(0x8000_0000_0000_0000),
        3 => fault_on_stack(0xffff_8080_0020_1000),
        4 => fault_on_stack(estate.read_only + 0x800),
        5 => page_fault_on_stack(0),
        6 => {
            let traps = |address| TrapInfo { vector: 6, flags: 0, cs: 0xe033, pad: 0, address };
            let table = [traps(estate.unmapped), TrapInfo::zeroed()];
            call(Hypercall::SetTrapTable, [(&raw const table) as u64, 0, 0, 0, 0]);
            fault();
        }
        7 => {
            call(Hypercall::SetCallbacks, [estate.unmapped, estate.unmapped, 0, 0, 0]);
            let word = SHARED_INFO as *mut u16;
            // SAFETY: the shared page is mapped there; from here on an upcall to nowhere is due.
            unsafe { word.write_volatile(1) };
            call(Hypercall::SchedOp, [0; 5]);
        }
        8 => iret([0, 0, 0, 0, 0x8000_0000_0000_0000, 0xe033, 0x202, 0, 0xe02b]),
        9 => iret([0, 0, 0, 0, estate.argument, 0xe008, 0x3202, estate.argument, 0xe010]),
        10 => {
            // A root that maps nothing: not even the next instruction.
            let frame = estate.playground.frames[0];
            let va = estate.playground.va;
            extend(MmuextOp::UnpinTable, frame.0);
            // SAFETY: a page to lose, if it is writable at all; otherwise this is the death.
            unsafe { (va as *mut [u64; 512]).write_bytes(0, 1) };
            call(Hypercall::UpdateVaMapping, [va, frame.address() | pte::PRESENT | pte::USER, 2, 0, 0]);
            extend(MmuextOp::PinL4Table, frame.0);
            extend(MmuextOp::NewBaseptr, frame.0);
        }
        11 => {
            let code = (die as *const () as u64) & !0xfff;
            call(Hypercall::UpdateVaMapping, [code, 0, 2, 0, 0]);
        }
        12 => {
            // A processor hog that masks its upcalls; only the timer takes it off.
            let end = actor.clock.now_ns() + 40_000_000;
            while actor.clock.now_ns() < end {
                core::hint::spin_loop();
            }
        }
        13 => {
            // A user mode without a root, then one with ours.
            extend(MmuextOp::NewUserBaseptr, estate.root.0);
            call(Hypercall::StackSwitch, [0xe02b, estate.unmapped, 0, 0, 0]);
            iret([0, 0, 0, 0, estate.argument, 0xe033, 0x202, estate.argument, 0xe02b]);
        }
        _ => {}
    }
    shutdown(ShutdownReason::Crash)
}

fn call(number: Hypercall, args: [u64; 5]) {
    // SAFETY: the domain ends; nothing is relied on any more.
    unsafe { syscall(number.raw().into(), args) };
}

fn extend(op: MmuextOp, frame: u64) {
    let request = MmuextRequest { cmd: op.raw(), pad: 0, arg1: frame, arg2: 0 };
    call(Hypercall::MmuextOp, [(&raw const request) as u64, 1, 0, DomId::SELF.0.into(), 0]);
}

fn fault() -> ! {
    // SAFETY: the domain ends here.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// Faults where the frame of the fault cannot be pushed.
fn fault_on_stack(stack: u64) -> ! {
    // SAFETY: the domain ends here.
    unsafe { asm!("mov rsp, {0}", "ud2", in(reg) stack, options(noreturn)) }
}

/// The same with a page fault.
fn page_fault_on_stack(stack: u64) -> ! {
    // SAFETY: the domain ends here.
    unsafe { asm!("mov rsp, {0}", "mov rax, [rsp]", "ud2", in(reg) stack, options(noreturn)) }
}

/// Returns by hypercall to a frame of our making.
fn iret(frame: [u64; 9]) -> ! {
    // SAFETY: the domain ends here, or goes on where nothing is.
    unsafe {
        asm!(
            "mov rsp, {0}",
            "mov eax, {number}",
            "mov ecx, cs",
            "test cl, 2",
            "jnz 2f",
            "int 0x82",
            "2:",
            "syscall",
            "ud2",
            in(reg) &raw const frame,
            number = const Hypercall::Iret.raw(),
            options(noreturn)
        )
    }
}
