//! A guest whose front end for its first disk lies to the driver domain, then becomes an honest one.
//!
//! Command line: `seed=N`, `life_ms=MS` of lies. At the end it says
//! `@bad_front {"seed":N,"acts":N,"requests":N,"connections":N,"ended":N,"served":B}`: what was done, connections taken up,
//! how many of them the back end ended for it, and whether a front end that behaves is served in the same place.

#![no_std]
#![no_main]

use bad_ends::{BadFront, FrontLies};
use embassy_time::Timer;
use guest_kernel::block::{Disk, SECTOR_BYTES};
use guest_kernel::ports::EventPort;
use guest_kernel::{FrontKernel, Guest, clock, devices, grants, println};
use hypercall_abi::device::DeviceKind;
use hypercall_abi::{DomId, Port};

guest_kernel::main!(run);

/// Lies that are told before the back end has time to look at them.
const AT_ONCE: u32 = 6;
/// The longest that it is left alone, in microseconds.
const PAUSE_US: u64 = 400;
/// How often the back end is given a millisecond to let go. What follows has no limit but the run's: where instructions are the
/// clock and all sleep, time jumps to the next timer however long the host's disk still takes.
const PATIENCE: u32 = 20_000;

async fn run(guest: Guest) {
    let line = guest.command_line();
    let number = |key, otherwise| line.parse::<u64>(key, otherwise).unwrap_or_else(|error| panic!("{error}"));
    let own = grants::own_domain().map_or(0, |domain| u64::from(domain.0));
    let seed = number("seed", 1).wrapping_mul(1_000_003).wrapping_add(own);
    let end_ns = clock::now_ns().saturating_add(number("life_ms", 100) * 1_000_000);
    let (index, entry) = devices::of_kind(DeviceKind::BlockFront).next().expect("a disk to lie about");
    let page = devices::page(index).expect("each front end has a page");
    let state_port = EventPort::adopt(Port(entry.state_port)).release();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut front =
        BadFront::new(FrontKernel, page, DomId(entry.peer), state_port, seed).expect("room for lies");
    while clock::now_ns() < end_ns {
        (0..random.u32(1..=AT_ONCE)).for_each(|_| front.act());
        Timer::after_micros(random.u64(0..PAUSE_US)).await;
    }
    let FrontLies { acts, requests, connections, ended } = front.lies();
    let served = behave(&guest, front).await;
    println!(
        "@bad_front {{\"seed\":{seed},\"acts\":{acts},\"requests\":{requests},\"connections\":{connections},\
         \"ended\":{ended},\"served\":{served}}}"
    );
}

/// Ends what was, and reads from the disk as everybody does.
async fn behave(guest: &Guest, mut front: BadFront<FrontKernel, guest_kernel::shared_page::Mapped>) -> bool {
    let mut patience = PATIENCE;
    while !front.settle() && patience > 0 {
        Timer::after_millis(1).await;
        patience -= 1;
    }
    if front.end().is_err() {
        return false;
    }
    let Ok(disk) = Disk::open(guest, 0).await else { return false };
    disk.read(0, &mut [0; SECTOR_BYTES]).await.is_ok()
}
