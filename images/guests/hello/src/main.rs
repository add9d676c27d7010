//! The smallest guest: says hello and ends.

#![no_std]
#![no_main]

use guest_kernel::{Guest, println};

guest_kernel::main!(run);

async fn run(guest: Guest) {
    println!("hello from {} on {}", guest.name(), guest.hypervisor());
}
