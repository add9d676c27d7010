//! What single operations cost beside many other guests: calls, events, timers, and handing the processor over.
//!
//! Of two guests the first measures and the second answers. All others sleep meanwhile, each with a timer that is pending.
//! At the end all of them yield to each other.

use core::hint::black_box;

use embassy_time::{Duration, Instant, Timer};
use guest_kernel::hypercall::{domain, extension, time};
use guest_kernel::ports::EventPort;
use guest_kernel::{Guest, clock, println};

use crate::events::meet;
use crate::turns::Turns;

/// Repetitions of an operation.
const N: u64 = 1_000;
/// Repetitions before the clock is read.
const WARM_UP: u64 = 16;
/// Far enough that no timer that is armed fires.
const FAR_NS: u64 = 100_000_000_000;
/// How long one sleep is.
const SLEEP_NS: u64 = 20_000;

/// Measures, or answers, from `start` on; then yields in the time of `turns`.
pub(crate) async fn run(guest: &Guest, start: Instant, yields: Instant, turns: &mut Turns) {
    let port = meet(guest, start).await;
    Timer::at(start).await;
    if guest.name().ends_with("-1") {
        measure(&port).await;
        assert!(Instant::now() < yields, "the operations took longer than up to the yields");
    } else {
        for _ in 0..N + WARM_UP {
            port.wait().await;
            let _ = port.send();
        }
    }
    Timer::at(yields).await;
    turns.repeat(domain::yield_now);
}

async fn measure(port: &EventPort) {
    // The other one is asleep in its wait before it is told anything.
    Timer::after(Duration::from_millis(1)).await;
    let ticks = timed(async |_| {
        let _ = port.send();
        port.wait().await;
    });
    say("round trip of an event", ticks.await);
    say("null hypercall", timed(async |_| _ = extension::version()).await);
    let own = EventPort::ipi().expect("a port to ourselves");
    let ticks = timed(async |_| {
        let _ = own.send();
        own.wait().await;
    });
    say("event to oneself", ticks.await);
    let far_ns = clock::now_ns() + FAR_NS;
    say("timer armed", timed(async |step| _ = time::set_timer(far_ns + step)).await);
    say("timer stopped", timed(async |_| _ = time::set_timer(0)).await);
    let ticks = timed(async |_| {
        let _ = extension::idle_until(clock::now_ns() + SLEEP_NS);
    });
    say("sleep, beyond its time", ticks.await.saturating_sub(SLEEP_NS));
}

/// Ticks of one operation.
async fn timed(mut operation: impl AsyncFnMut(u64)) -> u64 {
    for step in 0..WARM_UP {
        operation(step).await;
    }
    let start = clock::tsc();
    for step in 0..black_box(N) {
        operation(step).await;
    }
    (clock::tsc() - start) / N
}

fn say(operation: &str, instructions: u64) {
    println!("@scaled {{\"operation\":\"{operation}\",\"instructions\":{instructions}}}");
}
