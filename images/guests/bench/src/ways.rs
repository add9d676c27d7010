//! Goes each usual way into the hypervisor and back, over and over, without an end.
//! It exists as the load under which the processor is struck: most of its time passes on those ways.

use core::arch::{asm, global_asm};

use guest_kernel::hypercall::{domain, raw, time};
use guest_kernel::process::{Limits, Process, Program};
use guest_kernel::window::Range;
use guest_kernel::{clock, println, trap, upcall};
use hypercall_abi::Errno;
use hypercall_abi::trap::Vector;

use crate::faults;
use crate::rings::{self, RINGS};

const LIMITS: Limits = Limits { pages: 256, processes: 4, time_ns: u64::MAX, slice_ns: 1_000_000 };
/// Calls in a round that are answered at once.
const CALLS: u64 = 4_000;
/// Faults of each kind.
const FAULTS: u64 = 4_000;
/// Calls after which another guest runs, and system calls of a process: most of what they take is elsewhere.
const FEW: u64 = 200;
/// Timers in a round, and how far away each is.
const TIMERS: u64 = 200;
const AWAY_NS: u64 = 20_000;
/// Pages of a process that forks, and its children in a round.
const PAGES: u64 = 4;
const CHILDREN: u64 = 2;

// Skips an instruction of two bytes; there is no error code.
global_asm!(
    r#"
    .pushsection .text.bench, "ax", @progbits
    .globl bench_skip
bench_skip:
    pop rcx
    pop r11
    add qword ptr [rsp], 2
    push 0
    jmp guest_hypercall_page + 23 * 32
    .popsection
    "#
);

unsafe extern "C" {
    fn bench_skip();
}

pub(crate) async fn run() {
    let program = match Program::read(RINGS) {
        Ok(program) => program,
        Err(why) => return println!("bench: ways: {why}"),
    };
    loop {
        upcall::mask();
        if let Err(error) = kernel() {
            return println!("bench: ways: {error:?}");
        }
        upcall::unmask();
        for argument in
            [rings::argument(rings::SYSTEM_CALL, 0, FEW), rings::argument(rings::FORK, PAGES, CHILDREN)]
        {
            match Process::new(&program, argument, LIMITS) {
                Ok(process) => drop(process.run().await),
                Err(why) => return println!("bench: ways: {why:?}"),
            }
        }
    }
}

/// The kernel's own ways: calls that are answered at once and that are not, faults, interrupts.
fn kernel() -> Result<(), Errno> {
    for _ in 0..CALLS {
        // SAFETY: the number is unknown, so that nothing happens.
        let _ = unsafe { raw::call0::<63>() };
    }
    for _ in 0..FEW {
        domain::yield_now();
    }
    let nowhere = Range::new(1)?;
    faults::skip(nowhere.address(), FAULTS)?;
    // SAFETY: the handler is code of this file for the frames of this vector.
    unsafe { trap::set_raw_handler(Vector::InvalidOpcode, bench_skip as *const () as u64) }?;
    for _ in 0..FAULTS {
        // SAFETY: the handler skips it, and changes what a hypercall does.
        unsafe { asm!("ud2", out("rcx") _, out("r11") _) };
    }
    trap::restore_handler(Vector::InvalidOpcode)?;
    for _ in 0..TIMERS {
        let deadline = clock::now_ns() + AWAY_NS;
        time::set_timer(deadline)?;
        while clock::now_ns() < deadline + AWAY_NS / 4 {}
    }
    Ok(())
}
