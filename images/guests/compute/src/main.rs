//! Computes in a set time and counts its work, or is a bad neighbour of one that does.
//!
//! Command line: `start_ms=MS stop_ms=MS` of system time, `act=compute|events|wakes|pages|memory|rings|flood|yields`, and for the
//! acts between two neighbours `peer=DOMID to=ADDRESS`. `act=scale` is what `cargo xtask measure scale` has two of them do, with
//! `yields_ms=MS`, and `act=pong` with `rounds=N` what `cargo xtask bench tracing` has. At the end it says `@computed`. All guests read the same clock,
//! so that nobody has to tell anybody when it begins.

#![no_std]
#![no_main]

extern crate alloc;

mod events;
mod grab;
mod pages;
mod pong;
mod rings;
mod scale;
mod turns;
mod work;

use embassy_time::{Instant, Timer};
use guest_kernel::{Guest, println};

use self::turns::Turns;

guest_kernel::main!(run);

async fn run(guest: Guest) {
    let line = guest.command_line();
    let [start, stop] = ["start_ms", "stop_ms"].map(|key| match line.parse(key, 0) {
        Ok(ms) => Instant::from_millis(ms),
        Err(error) => panic!("{error}"),
    });
    let act = line.get("act").unwrap_or("compute");
    let late = Instant::now() >= start;
    let end_ns = stop.as_micros() * 1_000;
    let mut turns = Turns::new(end_ns);
    match act {
        "compute" => {
            Timer::at(start).await;
            turns.repeat(work::unit);
        }
        "events" | "wakes" => events::storm(&guest, act == "wakes", start, &mut turns).await,
        "yields" => {
            Timer::at(start).await;
            turns.repeat(guest_kernel::hypercall::domain::yield_now);
        }
        "scale" => {
            let yields = match line.parse("yields_ms", 0) {
                Ok(ms) => Instant::from_millis(ms),
                Err(error) => panic!("{error}"),
            };
            scale::run(&guest, start, yields, &mut turns).await;
        }
        "pong" => {
            let rounds = line.parse("rounds", 0).unwrap_or_else(|error| panic!("{error}"));
            pong::run(&guest, start, rounds).await;
        }
        "pages" => {
            let mut churn = pages::Churn::new();
            Timer::at(start).await;
            turns.repeat(|| churn.step());
        }
        "memory" => {
            Timer::at(start).await;
            let mut grab = grab::Grab::default();
            turns.repeat(|| grab.step());
        }
        "rings" | "flood" => rings::flood(&guest, act == "flood", start, &mut turns).await,
        _ => panic!("command line: there is no act {act:?}"),
    }
    println!(
        "@computed {{\"act\":\"{act}\",\"units\":{},\"turns\":{},\"longest_wait_us\":{},\"late\":{late}}}",
        turns.units,
        turns.count,
        turns.longest_wait_ns / 1_000,
    );
}
