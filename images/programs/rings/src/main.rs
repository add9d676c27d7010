//! A program that measures what a process asks of its kernel, in TSC ticks.
//! Its argument says what, in the lowest byte, how often, in the next 24 bits, and how much, above; its status is the
//! mean of all times.

#![no_std]
#![no_main]

use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use core::hint::black_box;

use program_runtime::{calls, layout};

program_runtime::main!(run);

/// Status of a measurement that went wrong.
const FAILED: u32 = u32::MAX;
/// Repetitions before the clock is read.
const WARM_UP: u64 = 4;

fn run(argument: u64) -> u32 {
    let (times, size) = (argument >> 8 & 0xff_ffff, argument >> 32);
    let total = match argument & 0xff {
        0 => measure(times, calls::nothing),
        1 => faults(times),
        2 => forks(times, size),
        3 => switches(times),
        _ => None,
    };
    total.and_then(|total| u32::try_from(total / times.max(1)).ok()).unwrap_or(FAILED)
}

fn ticks() -> u64 {
    // SAFETY: every 64-bit processor has it, and nobody forbids it.
    unsafe { _rdtsc() }
}

/// Ticks that all repetitions take, without the loop.
#[inline(always)]
fn measure(times: u64, mut operation: impl FnMut()) -> Option<u64> {
    let repeated = |times: u64, work: &mut dyn FnMut()| {
        let start = ticks();
        for _ in 0..black_box(times) {
            work();
        }
        ticks() - start
    };
    repeated(WARM_UP, &mut operation);
    let empty = repeated(times, &mut || ());
    Some(repeated(times, &mut operation).saturating_sub(empty))
}

/// Reads where nothing is; the kernel skips the instruction, which has two bytes.
fn faults(times: u64) -> Option<u64> {
    let at = layout::END - layout::PAGE;
    measure(times, || {
        // SAFETY: nothing is mapped at the address; the kernel of this measurement skips the instruction.
        unsafe { asm!(".byte 0x8b, 0x07", in("rdi") at, out("rax") _, options(nostack)) };
    })
}

/// Children that end at once, of a process with so many pages of its own.
fn forks(times: u64, pages: u64) -> Option<u64> {
    let start = calls::map(pages).ok()?;
    for page in 0..pages {
        // SAFETY: the kernel has just made room for it.
        unsafe { start.wrapping_add((page * layout::PAGE) as usize).write_volatile(1) };
    }
    let mut good = true;
    let total = measure(times, || match calls::fork() {
        Ok(0) => calls::exit(0),
        Ok(child) => good &= calls::wait(child) == Ok(0),
        Err(_) => good = false,
    })?;
    good.then_some(total)
}

/// Two processes that do nothing but yield to each other: a round is two switches.
fn switches(times: u64) -> Option<u64> {
    let child = calls::fork().ok()?;
    if child == 0 {
        loop {
            calls::yield_now();
        }
    }
    calls::yield_now();
    let total = measure(times, calls::yield_now)?;
    calls::kill(child).ok()?;
    Some(total / 2)
}
