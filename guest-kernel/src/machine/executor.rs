//! The executor: tasks run until none is ready, then the domain sleeps until an event or the next timer.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use embassy_executor::raw;
use hypercall_abi::event_channel::Virq;

use super::hypercall::{domain, extension, time};
use super::ports::EventPort;
use super::{Hypervisor, clock, time_driver, upcall};

/// Set when a task became ready.
static READY: AtomicBool = AtomicBool::new(false);
/// From this system time on, sleep only when no timer is pending; otherwise spin.
static PLAIN_FROM_NS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Called by the executor when a task becomes ready, also from upcalls.
#[unsafe(export_name = "__pender")]
fn pend(_context: *mut ()) {
    READY.store(true, Ordering::Release);
}

/// Makes the executor. From `plain_from_ns` on, if there is such a time, it idles as if there were no timeouts.
pub(super) fn init(plain_from_ns: Option<u64>) -> &'static raw::Executor {
    PLAIN_FROM_NS.store(plain_from_ns.unwrap_or(u64::MAX), Ordering::Relaxed);
    Box::leak(Box::new(raw::Executor::new(core::ptr::null_mut())))
}

/// Runs tasks for ever.
pub(super) fn run(executor: &'static raw::Executor, hypervisor: Hypervisor) -> ! {
    let sleep = Sleep::new(hypervisor);
    loop {
        // SAFETY: this is the only place that polls it, and no task calls this function.
        unsafe { executor.poll() };
        let next = time_driver::wake_expired();
        upcall::mask();
        if READY.swap(false, Ordering::AcqRel) {
            upcall::unmask();
            continue;
        }
        match next {
            Some(deadline_ns) if is_plain() => {
                upcall::unmask();
                while !READY.load(Ordering::Acquire) && clock::now_ns() < deadline_ns {
                    core::hint::spin_loop();
                }
            }
            // Both ways to sleep unmask upcalls, so that nothing is missed in between.
            _ => sleep.until(next.unwrap_or(u64::MAX)),
        }
    }
}

/// Whether to sleep only when no timer is pending.
fn is_plain() -> bool {
    match PLAIN_FROM_NS.load(Ordering::Relaxed) {
        0 => true,
        u64::MAX => false,
        from_ns => clock::now_ns() >= from_ns,
    }
}

/// How this domain sleeps.
enum Sleep {
    /// One call that takes the deadline.
    Idle,
    /// Xen's two calls: set the timer, block.
    Block {
        /// Keeps the timer's interrupt bound.
        _timer: EventPort,
    },
}

impl Sleep {
    fn new(hypervisor: Hypervisor) -> Self {
        if hypervisor.is_denizen() {
            Self::Idle
        } else {
            Self::Block {
                _timer: EventPort::virq(Virq::Timer).expect("the timer's interrupt can be bound once"),
            }
        }
    }

    /// Unmasks upcalls and sleeps until an event or `deadline_ns`.
    fn until(&self, deadline_ns: u64) {
        match self {
            Self::Idle => {
                // It fails only for a caller without the extension, which was checked.
                let _ = extension::idle_until(deadline_ns);
            }
            Self::Block { .. } => {
                let timer = if deadline_ns == u64::MAX { 0 } else { deadline_ns };
                // A time that has passed raises the interrupt at once.
                let _ = time::set_timer(timer);
                domain::block();
            }
        }
    }
}
