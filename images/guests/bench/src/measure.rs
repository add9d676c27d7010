//! How an operation is measured and reported.

use core::hint::black_box;

use guest_kernel::{clock, println};

/// Repetitions of an operation that is not slow.
pub(crate) const N: u64 = 10_000;
/// Repetitions before the clock is read.
const WARM_UP: u64 = 16;

/// Ticks that `n` calls of `operation` take.
#[inline(always)]
fn ticks(n: u64, mut operation: impl FnMut()) -> u64 {
    for _ in 0..WARM_UP {
        operation();
    }
    let start = clock::tsc();
    for _ in 0..black_box(n) {
        operation();
    }
    clock::tsc() - start
}

/// Measures `operation` and reports its mean, divided by the `parts` that it does at once.
#[inline(always)]
pub(crate) fn measure(name: &str, n: u64, parts: u64, operation: impl FnMut()) {
    let empty = ticks(n, || ());
    let total = ticks(n, operation).saturating_sub(empty);
    report(name, total / (n * parts), n);
}

/// Says a result.
pub(crate) fn report(name: &str, value: u64, n: u64) {
    println!("@bench {{\"name\":\"{name}\",\"instructions\":{value},\"n\":{n}}}");
}

/// Says that an operation could not be measured.
pub(crate) fn failed(name: &str, why: impl core::fmt::Display) {
    println!("bench: {name}: {why}");
}
