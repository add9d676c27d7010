//! Executes each sensitive instruction of IA-32 as a kernel would, and says as `@sensitive` lines what became of it.
//! `docs/SENSITIVE.md` has the answers that must come, in each ring.

#![no_std]
#![no_main]

mod instructions;
mod longer;
mod outcome;
mod probe;

use core::cell::UnsafeCell;

use guest_kernel::{Guest, println, trap};

use instructions::INSTRUCTIONS;

/// Memory that instructions may write, a cache line and more.
#[repr(C, align(64))]
struct Scratch(UnsafeCell<[u64; 64]>);

// SAFETY: one vCPU, and only the instruction under test uses it.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new([0; 64]));

guest_kernel::main!(run);

async fn run(guest: Guest) {
    println!("sensitive instructions on {}, in ring {}", guest.hypervisor(), trap::code_selector() & 3);
    trap::set_handler(probe::handler);
    for instruction in INSTRUCTIONS {
        // SAFETY: each is a function that returns or faults, and writes nothing but the scratch memory.
        let end = unsafe { probe::probe(instruction.code, SCRATCH.0.get().cast()) };
        let outcome = outcome::of(end, instruction.shown);
        println!("@sensitive {{\"name\":\"{}\",\"outcome\":\"{outcome}\"}}", instruction.name);
    }
}
