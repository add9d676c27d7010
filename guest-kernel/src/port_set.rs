//! Ports that had events, as a set that one task takes from.
//! Upcalls add at any time, so it is atomics alone; it works without a hypervisor and is tested on the host.

use core::future::poll_fn;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Poll;

use atomic_waker::AtomicWaker;
use hypercall_abi::Port;

/// Many ports that one task serves: it learns which of them had events, without looking at the others.
#[derive(Debug)]
pub struct PortSet {
    selector: AtomicU64,
    fired: [AtomicU64; 64],
    waker: AtomicWaker,
}

impl PortSet {
    /// A set without ports.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            selector: AtomicU64::new(0),
            fired: [const { AtomicU64::new(0) }; 64],
            waker: AtomicWaker::new(),
        }
    }

    /// Notes an event on a port; called from upcalls.
    pub fn add(&self, port: Port) {
        let word = port.0 / 64;
        if let Some(fired) = self.fired.get(word as usize) {
            fired.fetch_or(1 << (port.0 % 64), Ordering::AcqRel);
            self.selector.fetch_or(1 << word, Ordering::AcqRel);
            self.waker.wake();
        }
    }

    /// Takes one port that had events; the order is by number.
    #[must_use]
    pub fn take(&self) -> Option<Port> {
        loop {
            let selector = self.selector.load(Ordering::Acquire);
            if selector == 0 {
                return None;
            }
            let word = selector.trailing_zeros();
            let fired = self.fired.get(word as usize)?;
            let bits = fired.load(Ordering::Acquire);
            if bits == 0 {
                self.selector.fetch_and(!(1 << word), Ordering::AcqRel);
                // An upcall may have set a bit of the word in between.
                if fired.load(Ordering::Acquire) != 0 {
                    self.selector.fetch_or(1 << word, Ordering::AcqRel);
                }
                continue;
            }
            let bit = bits.trailing_zeros();
            fired.fetch_and(!(1 << bit), Ordering::AcqRel);
            return Some(Port(word * 64 + bit));
        }
    }

    /// Polls for a port that had events.
    pub fn poll_take(&self, context: &mut core::task::Context<'_>) -> Poll<Port> {
        if let Some(port) = self.take() {
            return Poll::Ready(port);
        }
        self.waker.register(context.waker());
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits for a port that had events.
    pub async fn wait(&self) -> Port {
        poll_fn(|context| self.poll_take(context)).await
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::{Context, Waker};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::vec::Vec;

    #[test]
    fn each_port_is_taken_once_for_any_number_of_events() {
        let set = PortSet::new();
        for port in [5, 4095, 5, 64] {
            set.add(Port(port));
        }
        let taken: Vec<u32> = core::iter::from_fn(|| set.take()).map(|port| port.0).collect();
        assert_eq!(taken, [5, 64, 4095]);
    }

    #[test]
    fn a_port_that_fires_again_after_it_was_taken_is_there_again() {
        let set = PortSet::new();
        set.add(Port(7));
        assert_eq!(set.take(), Some(Port(7)));
        set.add(Port(7));
        assert_eq!(set.take(), Some(Port(7)));
        assert_eq!(set.take(), None);
    }

    #[test]
    fn a_port_beyond_the_bitmap_is_no_member() {
        let set = PortSet::new();
        set.add(Port(4096));
        assert_eq!(set.take(), None);
    }

    struct Flag(AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_sleeper_is_woken_by_the_next_event() {
        let (set, flag) = (PortSet::new(), Arc::new(Flag(AtomicBool::new(false))));
        let waker = Waker::from(flag.clone());
        assert!(set.poll_take(&mut Context::from_waker(&waker)).is_pending());
        set.add(Port(1));
        assert!(flag.0.load(Ordering::SeqCst));
        assert_eq!(set.poll_take(&mut Context::from_waker(&waker)), Poll::Ready(Port(1)));
    }

    #[test]
    fn nothing_is_lost_between_an_adder_and_a_taker() {
        let set = PortSet::new();
        let total: u64 = std::thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let mut seen = 0;
                while seen < 64 * 64 {
                    match set.take() {
                        Some(_) => seen += 1,
                        None => std::thread::yield_now(),
                    }
                }
                seen
            });
            for port in 0..4096 {
                set.add(Port(port));
            }
            taker.join().unwrap()
        });
        assert_eq!(total, 4096);
    }
}
