//! Changes of the device directory, for any number of front ends.
//! The interrupt that tells of them can be bound once in a domain, and wakes one task.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use critical_section::Mutex;
use hypercall_abi::event_channel::Virq;

use crate::machine::Guest;
use crate::machine::ports::EventPort;

struct Changes {
    watched: bool,
    count: u64,
    waiting: Vec<Waker>,
}

static CHANGES: Mutex<RefCell<Changes>> =
    Mutex::new(RefCell::new(Changes { watched: false, count: 0, waiting: Vec::new() }));

/// Begins to count changes, if nobody does yet.
pub(super) fn watch(guest: &Guest) {
    let watched =
        critical_section::with(|token| core::mem::replace(&mut CHANGES.borrow_ref_mut(token).watched, true));
    if watched {
        return;
    }
    let Ok(port) = EventPort::virq(Virq::Devices) else {
        log::error!("the directory's changes cannot be heard: a back end that is built again is lost");
        return;
    };
    guest.spawn(async move {
        loop {
            port.wait().await;
            let waiting = critical_section::with(|token| {
                let mut changes = CHANGES.borrow_ref_mut(token);
                changes.count += 1;
                core::mem::take(&mut changes.waiting)
            });
            waiting.into_iter().for_each(Waker::wake);
        }
    });
}

/// How many times the directory has changed.
pub(super) fn count() -> u64 {
    critical_section::with(|token| CHANGES.borrow_ref(token).count)
}

/// Waits until it has changed since it was `seen`.
pub(super) async fn after(seen: u64) {
    poll_fn(|context| {
        critical_section::with(|token| {
            let mut changes = CHANGES.borrow_ref_mut(token);
            if changes.count != seen {
                return Poll::Ready(());
            }
            if !changes.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                changes.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    })
    .await;
}
