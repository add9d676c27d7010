//! The timer: arming, stopping, and how late a sleeper is woken.

use guest_kernel::hypercall::{domain, event, time};
use guest_kernel::ports::EventPort;
use guest_kernel::{clock, upcall};
use hypercall_abi::event_channel::Virq;

use crate::measure::{N, measure, report};

/// Far enough that no timer of the loops below fires.
const FAR_NS: u64 = 10_000_000_000;
/// How long one sleep is.
const SLEEP_NS: u64 = 1_000_000;
const SLEEPS: u64 = 1_000;

pub(crate) fn run() {
    let far = clock::now_ns() + FAR_NS;
    let mut step = 0;
    measure("timer_set", N, 1, || {
        step += 1;
        let _ = time::set_timer(far + step);
    });
    measure("timer_stop", N, 1, || {
        let _ = time::set_timer(0);
    });
    lateness();
}

fn lateness() {
    // On Xen the executor has bound it already, which serves as well.
    let port = event::bind_virq(Virq::Timer).ok().map(EventPort::adopt);
    let mut late_ns = 0;
    for _ in 0..SLEEPS {
        let deadline = clock::now_ns() + SLEEP_NS;
        let _ = time::set_timer(deadline);
        // What is still pending from before may wake us early, once.
        late_ns += loop {
            domain::block();
            upcall::mask();
            if let Some(late) = clock::now_ns().checked_sub(deadline) {
                break late;
            }
        };
    }
    drop(port);
    report("timer_lateness_ns", late_ns / SLEEPS, SLEEPS);
}
