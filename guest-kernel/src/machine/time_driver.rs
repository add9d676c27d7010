//! The time driver behind `embassy-time`: its `Instant` is system time in microseconds.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::Mutex;

use super::clock;
use crate::timers::Timers;

/// Nanoseconds in one of embassy's ticks.
const NS_PER_TICK: u64 = 1_000_000_000 / embassy_time_driver::TICK_HZ;

struct Driver(Mutex<RefCell<Timers>>);

embassy_time_driver::time_driver_impl!(static DRIVER: Driver = Driver(Mutex::new(RefCell::new(Timers::new()))));

impl embassy_time_driver::Driver for Driver {
    fn now(&self) -> u64 {
        clock::now_ns() / NS_PER_TICK
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|token| self.0.borrow_ref_mut(token).schedule(at, waker));
    }
}

/// Wakes the tasks whose time has come; returns the next deadline in ns. Without timers nobody looks at the clock.
pub(super) fn wake_expired() -> Option<u64> {
    loop {
        let deadline_ns = next()?;
        let now_ns = clock::now_ns();
        if deadline_ns > now_ns {
            return Some(deadline_ns);
        }
        let now = now_ns / NS_PER_TICK;
        if let Some(waker) = critical_section::with(|token| DRIVER.0.borrow_ref_mut(token).take_expired(now))
        {
            waker.wake();
        }
    }
}

/// The task of this waker is about to be polled: its timers are those that it asks for from now on.
pub(super) fn forget(waker: &Waker) {
    critical_section::with(|token| DRIVER.0.borrow_ref_mut(token).forget(waker));
}

/// The next deadline of a task, in ns.
pub(super) fn next() -> Option<u64> {
    critical_section::with(|token| DRIVER.0.borrow_ref(token).next()).map(|at| at.saturating_mul(NS_PER_TICK))
}
