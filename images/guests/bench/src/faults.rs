//! Page faults of the guest's kernel: bounced, skipped, and returned from in either way.

use core::arch::{asm, global_asm};

use guest_kernel::window::Range;
use guest_kernel::{clock, trap};
use hypercall_abi::Errno;
use hypercall_abi::trap::Vector;

use crate::measure::{N, failed, report};

// The faulting instruction has two bytes.
global_asm!(
    r#"
    .pushsection .text.bench, "ax", @progbits
    .globl bench_fault_hypercall
bench_fault_hypercall:
    pop rcx
    pop r11
    add rsp, 8
    add qword ptr [rsp], 2
    push 0
    jmp guest_hypercall_page + 23 * 32

    .globl bench_fault_iretq
bench_fault_iretq:
    pop rcx
    pop r11
    add rsp, 8
    add qword ptr [rsp], 2
    mov word ptr [rsp + 8], cs
    iretq
    .popsection
    "#
);

unsafe extern "C" {
    fn bench_fault_hypercall();
    fn bench_fault_iretq();
}

pub(crate) fn run() {
    for (name, handler) in [
        ("page_fault_return_hypercall", bench_fault_hypercall as unsafe extern "C" fn()),
        ("page_fault_return_iretq", bench_fault_iretq),
    ] {
        if let Err(error) = faults(name, handler) {
            failed(name, format_args!("{error:?}"));
        }
    }
}

fn faults(name: &str, handler: unsafe extern "C" fn()) -> Result<(), Errno> {
    let range = Range::new(1)?;
    // SAFETY: the handler is code of this file for the frames of page faults.
    unsafe { trap::set_raw_handler(Vector::PageFault, handler as usize as u64) }?;
    let loop_only = ticks(range.address(), N, false);
    let ticks = ticks(range.address(), N, true);
    trap::restore_handler(Vector::PageFault)?;
    report(name, ticks.saturating_sub(loop_only) / N, N);
    Ok(())
}

/// So many page faults at an address where nothing is mapped, each skipped and returned from by hypercall.
pub(crate) fn skip(address: u64, times: u64) -> Result<(), Errno> {
    // SAFETY: the handler is code of this file for the frames of page faults.
    unsafe { trap::set_raw_handler(Vector::PageFault, bench_fault_hypercall as *const () as u64) }?;
    ticks(address, times, true);
    trap::restore_handler(Vector::PageFault)
}

/// Ticks of a loop that reads from `address`, or that only computes with it.
fn ticks(address: u64, times: u64, read: bool) -> u64 {
    let start = clock::tsc();
    if read {
        // SAFETY: nothing is mapped at the address, and the handler skips the instruction.
        unsafe {
            asm!("2: .byte 0x8b, 0x07", "dec {n}", "jnz 2b", n = inout(reg) times => _, in("rdi") address, out("rax") _);
        }
    } else {
        // SAFETY: arithmetic on registers.
        unsafe {
            asm!("2: dec {n}", "jnz 2b", n = inout(reg) times => _);
        }
    }
    clock::tsc() - start
}
