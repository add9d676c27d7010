//! A program of many acts: what a process may do, and what ends it.
//! Its argument chooses the act; a status of 0 means that all was as it should be.

#![no_std]
#![no_main]

mod faults;
mod forks;
mod memory;
mod own;
mod refused;

use program_runtime::{calls, println};

program_runtime::main!(run);

fn run(act: u64) -> u32 {
    match act {
        0 => hello(),
        1 => spin(),
        2 => faults::read_nothing(),
        3 => faults::read_the_kernel(),
        4 => faults::write_code(),
        5 => faults::overflow_the_stack(),
        6 => own::state(),
        7 => memory::exhaust(),
        8 => memory::grow_and_give_back(),
        9 => forks::copies(),
        10 => forks::bomb(),
        11 => forks::turns(),
        12 => forks::killed(),
        13 => refused::hypercalls(),
        14 => refused::instructions(),
        15 => refused::rings(),
        16 => refused::arguments(),
        17 => sleep(),
        18 => faults::single_step(),
        _ => u32::MAX,
    }
}

fn hello() -> u32 {
    println!("hello from process {}", calls::number());
    7
}

/// Until it is killed.
fn spin() -> u32 {
    loop {
        core::hint::spin_loop();
    }
}

/// Sleeps ten times a millisecond.
fn sleep() -> u32 {
    const NS: u64 = 1_000_000;
    let start = calls::clock();
    for _ in 0..10 {
        calls::sleep(NS);
    }
    u32::from(calls::clock() - start < 10 * NS)
}
