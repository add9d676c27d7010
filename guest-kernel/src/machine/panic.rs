//! The end of a domain that cannot go on: what happened, where, and by which way, on the console.

use core::sync::atomic::{AtomicBool, Ordering};

use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::trap::Vector;

use super::hypercall::domain;
use super::trap::{self, Registers};
use super::upcall;
use crate::backtrace::{Call, call_before};
use crate::symbols::Symbols;

/// Set by the first panic, so that a panic in its report ends at once.
static PANICKING: AtomicBool = AtomicBool::new(false);
/// The most return addresses that are shown.
const FRAMES_MAX: usize = 24;

unsafe extern "C" {
    /// Limits of the image's parts, by the linker script.
    static guest_text_start: [u8; 0];
    static guest_text_end: [u8; 0];
    static guest_stack_end: [u8; 0];
    static guest_symbols_start: [u8; 0];
}

/// Holds the place of the symbols' segment until `embed-symbols` fills it.
#[unsafe(link_section = ".guest_symbols")]
#[used]
static NO_SYMBOLS: [u32; 2] = [0; 2];

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    crate::println!("{info}");
    let here = 0_u8;
    backtrace(panic as *const () as u64, (&raw const here).addr());
    domain::shutdown(ShutdownReason::Crash)
}

/// Reports an exception that nobody handles, and ends the domain.
pub(super) fn unhandled_exception(registers: &Registers) -> ! {
    begin();
    let name = Vector::from_raw(registers.vector as u8).map_or("unknown", Vector::name);
    crate::println!(
        "panic: exception {} ({name}), error code {:#x}, at rip {:#x}, cr2 {:#x}, rsp {:#x}",
        registers.vector,
        registers.error,
        registers.rip,
        trap::fault_address(),
        registers.rsp,
    );
    show("at", registers.rip);
    backtrace(registers.rip, registers.rsp as usize);
    domain::shutdown(ShutdownReason::Crash)
}

/// Keeps reports from being interrupted, and one from following upon another.
fn begin() {
    if PANICKING.swap(true, Ordering::SeqCst) {
        domain::shutdown(ShutdownReason::Crash);
    }
    if super::window::shared_info_is_mapped() {
        upcall::mask();
    }
}

/// The image's symbols; `None` if they were not embedded.
fn symbols() -> Option<Symbols<'static>> {
    let head = (&raw const guest_symbols_start).cast::<u32>();
    // SAFETY: the section is loaded; what it holds is not what `NO_SYMBOLS` says, which only the linker saw.
    let magic = unsafe { head.read_volatile() };
    if magic != crate::symbols::MAGIC {
        return None;
    }
    // The table ends with its segment; where that is only the builder knew, but the table never reads past its own
    // names, and those past the last page of the image would be memory of ours as well.
    let bytes = super::memory::bytes_from(head.addr() as u64)?;
    // SAFETY: from here to the end of the domain's memory all is mapped, and nobody writes while this report is made.
    Symbols::read(unsafe { core::slice::from_raw_parts(head.cast(), bytes) })
}

/// The start of the function that an address lies in.
fn function(address: u64) -> Option<u64> {
    symbols()?.find(address).map(|(_, offset)| address - offset)
}

/// Shows an address with the function that it lies in.
fn show(how: &str, address: u64) {
    match symbols().and_then(|symbols| symbols.find(address)) {
        Some((name, offset)) => crate::println!("  {how} {address:#x} {name}+{offset:#x}"),
        None => crate::println!("  {how} {address:#x}"),
    }
}

/// Shows what on the stack from `top` up may be a return address, on the way out from `inner`.
///
/// What is left over from earlier calls looks the same; `by` marks what called the function shown before it.
fn backtrace(inner: u64, top: usize) {
    let text = (&raw const guest_text_start).addr()..(&raw const guest_text_end).addr();
    let stack_end = (&raw const guest_stack_end).addr();
    let stack_start = super::memory::VIRT_BASE as usize;
    if !(stack_start..stack_end).contains(&top) {
        return;
    }
    let words = (top.next_multiple_of(8)..stack_end).step_by(8);
    // SAFETY: all of it lies within the stack, which is mapped.
    let words = words.map(|at| unsafe { (at as *const usize).read_volatile() });
    let calls = words.filter(|word| text.contains(word)).filter_map(|word| {
        let start = word.saturating_sub(7).max(text.start);
        // SAFETY: these bytes lie within the code, which nobody writes.
        let before = unsafe { core::slice::from_raw_parts(start as *const u8, word - start) };
        call_before(before, word as u64).map(|call| (word as u64 - 1, call))
    });
    let mut last = inner;
    for (address, call) in calls.take(FRAMES_MAX) {
        let fits = match call {
            Call::Direct(target) => function(last).is_none_or(|function| function == target),
            Call::Indirect => true,
        };
        show(if fits { "by" } else { "? " }, address);
        if fits {
            last = address;
        }
    }
}
