//! The end of a domain that cannot go on: what happened, where, and by which way, on the console.

use core::sync::atomic::{AtomicBool, Ordering};

use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::trap::Vector;

use super::hypercall::domain;
use super::trap::{self, Registers};
use super::upcall;

/// Set by the first panic, so that a panic in its report ends at once.
static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    if PANICKING.swap(true, Ordering::SeqCst) {
        domain::shutdown(ShutdownReason::Crash);
    }
    crate::println!("{info}");
    domain::shutdown(ShutdownReason::Crash)
}

/// Reports an exception that nobody handles, and ends the domain.
pub(super) fn unhandled_exception(registers: &Registers) -> ! {
    if PANICKING.swap(true, Ordering::SeqCst) {
        domain::shutdown(ShutdownReason::Crash);
    }
    upcall::mask();
    let name = Vector::from_raw(registers.vector as u8).map_or("unknown", Vector::name);
    crate::println!(
        "exception {} ({name}), error code {:#x}, at rip {:#x}, cr2 {:#x}",
        registers.vector,
        registers.error,
        registers.rip,
        trap::fault_address(),
    );
    domain::shutdown(ShutdownReason::Crash)
}
