//! Denizen's hypervisor on bare x86_64: all its assembler, all its unsafe code, no decisions.
//! It exists to give [`hypervisor_core`] a processor: it boots, enters and leaves guests, and carries out what the core decided.
//!
//! Reading order: [`boot`] (from the loader to Rust, memory map, archive), [`paging`] (the final address space),
//! [`per_cpu`] and [`descriptors`] (what the processor finds on entry), [`entry`] and [`exit`] (one direction a
//! file), [`run`] and [`switch`] (the loop between them), [`ring1`] (the same for guests to which the hypervisor is not
//! mapped), then the devices.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod account;
#[cfg(target_os = "none")]
mod acpi;
#[cfg(target_os = "none")]
mod apic;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod descriptors;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod exit;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
mod fpu;
#[cfg(target_os = "none")]
mod hardware;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod layout;
#[cfg(target_os = "none")]
mod log;
#[cfg(target_os = "none")]
mod messages;
#[cfg(target_os = "none")]
mod nmi;
#[cfg(target_os = "none")]
mod paging;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod pci;
#[cfg(target_os = "none")]
mod per_cpu;
#[cfg(target_os = "none")]
mod power;
#[cfg(target_os = "none")]
mod record;
#[cfg(target_os = "none")]
mod ring1;
#[cfg(target_os = "none")]
mod rtc;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod serial;
#[cfg(target_os = "none")]
mod switch;
#[cfg(target_os = "none")]
mod system;

// On the host only the parsers are built, for their tests.
#[cfg(all(test, not(target_os = "none")))]
mod boot;
#[cfg(all(test, not(target_os = "none")))]
#[path = "acpi/sleep.rs"]
mod sleep;

#[cfg(not(target_os = "none"))]
fn main() {
    println!(
        "the hypervisor runs on bare metal: cargo build --release -p hypervisor --target x86_64-unknown-none"
    );
}
