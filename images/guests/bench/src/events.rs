//! Events sent to oneself: masked, and with an upcall that returns in either way.
//!
//! The upcall's code here does the least that is needed, so that the hypervisor is measured and not this kernel.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_kernel::hypercall::{domain, event};
use guest_kernel::window::SHARED_INFO;
use guest_kernel::{trap, upcall};
use hypercall_abi::Port;
use hypercall_abi::shared_info::{SharedInfo, VcpuInfo};

use crate::measure::{N, failed, measure};

/// Upcalls that arrived.
#[unsafe(no_mangle)]
static BENCH_UPCALLS: AtomicU64 = AtomicU64::new(0);

// Ports stay below 64, so that the whole pending bitmap is its first word.
global_asm!(
    r#"
    .pushsection .text.bench, "ax", @progbits
    .macro TAKE_EVENT
    inc qword ptr [rip + BENCH_UPCALLS]
    mov byte ptr [{pending}], 0
    mov qword ptr [{selector}], 0
    mov qword ptr [{word}], 0
    .endm

    .globl bench_upcall_hypercall
bench_upcall_hypercall:
    TAKE_EVENT
    pop rcx
    pop r11
    push 0
    jmp guest_hypercall_page + 23 * 32

    .globl bench_upcall_iretq
bench_upcall_iretq:
    TAKE_EVENT
    pop rcx
    pop r11
    mov word ptr [rsp + 8], cs
    mov byte ptr [{mask}], 0
    iretq

    .globl bench_failsafe
bench_failsafe:
    ud2
    .popsection
    "#,
    pending = const SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_pending),
    mask = const SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask),
    selector = const SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_pending_sel),
    word = const SHARED_INFO + core::mem::offset_of!(SharedInfo, evtchn_pending),
);

unsafe extern "C" {
    fn bench_upcall_hypercall();
    fn bench_upcall_iretq();
    fn bench_failsafe();
}

pub(crate) fn run() {
    let port = match event::bind_ipi() {
        Ok(port) if port.0 < 64 => port,
        Ok(port) => return failed("event_self_masked", format_args!("{port} is past the first word")),
        Err(error) => return failed("event_self_masked", format_args!("{error:?}")),
    };
    let page = upcall::page();
    let _ = page.unmask(port);
    page.mask(port);
    let [word, ..] = &page.pending;
    measure("event_self_masked", N, 1, || {
        let _ = event::send(port);
        word.store(0, Ordering::Relaxed);
    });
    let _ = page.unmask(port);
    with_upcall("event_upcall_return_hypercall", port, bench_upcall_hypercall);
    with_upcall("event_upcall_return_iretq", port, bench_upcall_iretq);
    let _ = event::close(port);
}

/// The one of these that a kernel uses: an event, its upcall, and back by `iretq`.
///
/// It has a small frame of its own, so that arguments and the upcall's frame lie in one page of the stack.
#[inline(never)]
pub(crate) fn of_rings() {
    let port = match event::bind_ipi() {
        Ok(port) if port.0 < 64 => port,
        other => return failed("event_upcall", format_args!("{other:?}")),
    };
    let _ = upcall::page().unmask(port);
    let [entry, failsafe] =
        [bench_upcall_iretq as unsafe extern "C" fn(), bench_failsafe].map(|code| code as *const () as u64);
    // SAFETY: both are code of this file that handles the frames of upcalls and failed returns.
    if let Err(error) = unsafe { domain::set_callbacks(entry, failsafe) } {
        return failed("event_upcall", format_args!("{error:?}"));
    }
    upcall::page().vcpu().mask.store(0, Ordering::SeqCst);
    crate::rings::repeated("event_upcall", N, |times| {
        for _ in 0..times {
            let _ = event::send(port);
        }
    });
    upcall::mask();
    if let Err(error) = trap::restore_upcalls() {
        failed("event_upcall", format_args!("{error:?}"));
    }
    let _ = event::close(port);
}

fn with_upcall(name: &str, port: Port, entry: unsafe extern "C" fn()) {
    let [entry, failsafe] = [entry, bench_failsafe].map(|code| code as *const () as u64);
    // SAFETY: both are code of this file that handles the frames of upcalls and failed returns.
    if let Err(error) = unsafe { domain::set_callbacks(entry, failsafe) } {
        return failed(name, format_args!("{error:?}"));
    }
    let before = BENCH_UPCALLS.load(Ordering::Relaxed);
    upcall::page().vcpu().mask.store(0, Ordering::SeqCst);
    measure(name, N, 1, || {
        let _ = event::send(port);
    });
    upcall::mask();
    let upcalls = BENCH_UPCALLS.load(Ordering::Relaxed) - before;
    if upcalls < N {
        failed(name, format_args!("only {upcalls} upcalls for {N} events"));
    }
    if let Err(error) = trap::restore_upcalls() {
        failed(name, format_args!("{error:?}"));
    }
}
