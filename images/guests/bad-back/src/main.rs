//! A driver domain whose back end for disks lies to all its front ends until it crashes; built again often enough, it is
//! the honest one. So front ends meet a liar first, and their data has to come through.
//!
//! Command line: `seed=N`, `life_ms=MS` of a liar, `lives=N` of them. Each says `@bad_back` at its end. What follows them is a
//! [`driver_domain`], by the same command line.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;

use bad_ends::{BackLies, BadBack};
use driver_domain::kernel::{Kernel, PORTS, serve};
use embassy_time::{Duration, with_timeout};
use guest_kernel::hypercall::domain;
use guest_kernel::{Guest, clock, devices, println};
use hypercall_abi::device::DeviceKind;
use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::{GrantRef, Port};

guest_kernel::main!(run);

/// How long it waits for somebody to lie to.
const PATIENCE: Duration = Duration::from_micros(200);
/// Sectors of a disk, where the directory leaves its length to the image.
const SECTORS: u64 = 2048;

async fn run(guest: Guest) {
    let line = guest.command_line();
    let number = |key, otherwise| line.parse::<u64>(key, otherwise).unwrap_or_else(|error| panic!("{error}"));
    let (incarnation, lives) = (number("incarnation", 0), number("lives", 1));
    if incarnation >= lives {
        return driver_domain::run(guest).await;
    }
    let seed = number("seed", 1).wrapping_mul(1_000_003).wrapping_add(incarnation);
    let end_ns = clock::now_ns().saturating_add(number("life_ms", 100) * 1_000_000);
    let mut back = BadBack::new(Kernel, seed);
    let mut known = Vec::new();
    while clock::now_ns() < end_ns {
        take_up(&mut back, &mut known);
        while PORTS.take().is_some() {}
        back.turn();
        // Whether somebody told us something or not, there is something to do.
        let _ = with_timeout(PATIENCE, PORTS.wait()).await;
    }
    let BackLies { answers, lies, connections } = back.lies();
    println!(
        "@bad_back {{\"seed\":{seed},\"answers\":{answers},\"lies\":{lies},\"connections\":{connections}}}"
    );
    domain::shutdown(ShutdownReason::Crash);
}

/// Takes up the front ends that are new.
fn take_up(back: &mut BadBack<Kernel>, known: &mut Vec<u32>) {
    known.resize(devices::count() as usize, 0);
    for (index, known) in (0..).zip(known) {
        let Some(entry) = devices::entry(index) else { continue };
        let Some(peer) = devices::peer(&entry) else { continue };
        if entry.kind != DeviceKind::BlockBack.raw()
            || core::mem::replace(known, entry.generation) == entry.generation
        {
            continue;
        }
        let Ok(page) = u32::try_from(entry.page) else { continue };
        let sectors = if entry.sectors > 0 { entry.sectors } else { SECTORS };
        match back.add(peer, Port(entry.state_port), GrantRef(page), sectors) {
            Ok(()) => serve(Port(entry.state_port)),
            Err(status) => log::warn!("{peer} is not lied to: {status:?}"),
        }
    }
}
