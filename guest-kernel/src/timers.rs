//! The queue of pending timers: who is woken when.
//! It is plain data with time as an argument, so that it is tested on the host.

extern crate alloc;

use alloc::vec::Vec;
use core::task::Waker;

/// Pending timers, one for each waker.
#[derive(Debug, Default)]
pub struct Timers(Vec<(u64, Waker)>);

impl Timers {
    /// A queue without timers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Wakes `waker` at `at`; of two times for one waker the earlier counts, since the later is asked for again
    /// when it is woken.
    pub fn schedule(&mut self, at: u64, waker: &Waker) {
        if let Some((time, _)) = self.0.iter_mut().find(|(_, other)| other.will_wake(waker)) {
            *time = at.min(*time);
        } else {
            self.0.push((at, waker.clone()));
        }
    }

    /// Takes away the timer of `waker`: its task is about to be polled, and asks again for what it still waits for. Who dropped
    /// a wait cannot say so, and would be woken for it.
    pub fn forget(&mut self, waker: &Waker) {
        if let Some(index) = self.0.iter().position(|(_, other)| other.will_wake(waker)) {
            self.0.swap_remove(index);
        }
    }

    /// Takes one timer whose time has come by `now`.
    pub fn take_expired(&mut self, now: u64) -> Option<Waker> {
        let index = self.0.iter().position(|&(at, _)| at <= now)?;
        Some(self.0.swap_remove(index).1)
    }

    /// The earliest pending time.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.0.iter().map(|&(at, _)| at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl std::task::Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn expire(timers: &mut Timers, now: u64) {
        while let Some(waker) = timers.take_expired(now) {
            waker.wake();
        }
    }

    #[test]
    fn a_timer_wakes_once_and_not_early() {
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(counter.clone());
        let mut timers = Timers::new();
        timers.schedule(10, &waker);
        expire(&mut timers, 9);
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
        expire(&mut timers, 10);
        expire(&mut timers, 11);
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn what_is_not_asked_for_again_is_forgotten() {
        let (one, other) =
            (Waker::from(Arc::new(Counter::default())), Waker::from(Arc::new(Counter::default())));
        let mut timers = Timers::new();
        timers.schedule(10, &one);
        timers.schedule(20, &other);
        timers.forget(&one);
        timers.forget(&one);
        assert_eq!(timers.next(), Some(20));
        timers.schedule(30, &one);
        timers.forget(&other);
        assert_eq!(timers.next(), Some(30), "the earlier time of the last round does not count");
    }

    #[test]
    fn the_earlier_of_two_times_for_one_waker_counts() {
        let waker = Waker::from(Arc::new(Counter::default()));
        let mut timers = Timers::new();
        timers.schedule(10, &waker);
        timers.schedule(5, &waker);
        timers.schedule(20, &waker);
        assert_eq!(timers.next(), Some(5));
    }
}
