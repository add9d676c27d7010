//! The first instruction of a program, and its end by panic.

use core::arch::global_asm;

use crate::{calls, println};

/// Status of a program that panicked.
const PANICKED: u32 = 101;

// RDI holds the argument, RSP the end of the stack.
global_asm!(
    r#"
    .pushsection .text.start, "ax", @progbits
    .globl program_start
program_start:
    xor ebp, ebp
    call program_main
    ud2
    .popsection
    "#
);

/// Runs `main` and ends the process with its status; [`crate::main!`] calls it.
pub fn enter(main: fn(u64) -> u32, argument: u64) -> ! {
    calls::exit(main(argument))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("{info}");
    calls::exit(PANICKED)
}
