//! The hostile guest: carries out what the plan draws, on the real interface.
//! It exists so that a hypervisor that holds under tests is attacked once more where the hardware takes part.
//!
//! Command line: `seed=N` (the number of the domain and of its incarnation are added), `life_ms=N` after which it crashes
//! so as to be built anew with other numbers, `deaths=0` to never kill itself in between,
//! `say_from=N` to print each action from number N on.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod guest;

#[cfg(target_os = "none")]
guest_kernel::main!(guest::run);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("hostile is a guest: `cargo xtask run hostile` starts it");
}
