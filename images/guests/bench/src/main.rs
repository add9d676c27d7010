//! Measures single operations of the hypervisor in TSC ticks, and says them as `@bench` lines.
//! The same image runs on Denizen and as the initial domain of Xen, so that both answer to one binary.
//!
//! Under `-icount shift=0` a tick is an instruction. The cost of an empty loop of the same shape is subtracted.

#![no_std]
#![no_main]

extern crate alloc;

mod events;
mod faults;
mod grants;
mod measure;
mod mmu;
mod plain;
mod rings;
mod time;
mod ways;

use guest_kernel::{Guest, println, upcall};

guest_kernel::main!(run);

async fn run(guest: Guest) {
    println!("bench on {}: instructions per operation, empty loop subtracted", guest.hypervisor());
    upcall::mask();
    match guest.command_line().get("what") {
        Some("rings") => return rings::run().await,
        Some("ways") => return ways::run().await,
        _ => {}
    }
    plain::run();
    events::run();
    time::run();
    mmu::run();
    faults::run();
    grants::run();
}
