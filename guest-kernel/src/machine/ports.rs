//! Event-channel ports as things that tasks wait for.
//!
//! A port's state is made when the port is first used, in groups of 64, so that a guest with three ports pays for one
//! group and a driver domain with thousands for what it uses.

use alloc::boxed::Box;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use core::task::Poll;

use atomic_waker::AtomicWaker;
use hypercall_abi::event_channel::Virq;
use hypercall_abi::{DomId, Port};

use super::hypercall::{self, event as calls};
use super::upcall;
pub use crate::port_set::PortSet;

/// What an event on one port does.
struct Slot {
    fired: AtomicBool,
    waker: AtomicWaker,
    set: AtomicPtr<PortSet>,
}

type Group = [Slot; 64];

static GROUPS: [AtomicPtr<Group>; 64] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 64];

/// The state of a port; `None` if it was never used.
fn slot(port: Port) -> Option<&'static Slot> {
    let group = GROUPS.get(port.0 as usize / 64)?.load(Ordering::Acquire);
    // SAFETY: a pointer here comes from a leaked box and is never taken back.
    let group = unsafe { group.as_ref() }?;
    group.get(port.0 as usize % 64)
}

/// The state of a port, made if need be.
fn make_slot(port: Port) -> &'static Slot {
    let group = &GROUPS[port.0 as usize / 64];
    if group.load(Ordering::Acquire).is_null() {
        let fresh: Box<Group> = Box::new(core::array::from_fn(|_| Slot {
            fired: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            set: AtomicPtr::new(core::ptr::null_mut()),
        }));
        group.store(Box::into_raw(fresh), Ordering::Release);
    }
    slot(port).expect("its group was just made")
}

/// Called for each event, with upcalls masked.
pub(super) fn fire(port: Port) {
    let Some(slot) = slot(port) else { return };
    // SAFETY: a pointer here is of a set that lives for ever.
    if let Some(set) = unsafe { slot.set.load(Ordering::Acquire).as_ref() } {
        set.add(port);
    } else {
        slot.fired.store(true, Ordering::Release);
        slot.waker.wake();
    }
}

/// Has the next event on a port of ours wake `waker`. What was raised before is forgotten: the caller looks now.
#[cfg(any(feature = "net", feature = "block"))]
pub(super) fn wake_on(port: Port, waker: &core::task::Waker) {
    if let Some(slot) = slot(port) {
        slot.waker.register(waker);
        slot.fired.store(false, Ordering::Release);
    }
}

/// A port of ours, closed when it is dropped.
#[derive(Debug)]
pub struct EventPort(Port);

impl EventPort {
    /// Takes a port that is bound already, for instance one from the device directory.
    #[must_use]
    pub fn adopt(port: Port) -> Self {
        let slot = make_slot(port);
        slot.set.store(core::ptr::null_mut(), Ordering::Release);
        slot.fired.store(upcall::page().unmask(port), Ordering::Release);
        Self(port)
    }

    /// Makes a port that `remote` may connect to.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn unbound(remote: DomId) -> hypercall::Result<Self> {
        calls::alloc_unbound(remote).map(Self::adopt)
    }

    /// Connects to a port that `remote` left unbound for us.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn connect(remote: DomId, port: Port) -> hypercall::Result<Self> {
        calls::bind_interdomain(remote, port).map(Self::adopt)
    }

    /// Receives a virtual interrupt.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn virq(virq: Virq) -> hypercall::Result<Self> {
        calls::bind_virq(virq).map(Self::adopt)
    }

    /// Receives a device's interrupt.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn pirq(pirq: u32) -> hypercall::Result<Self> {
        calls::bind_pirq(pirq).map(Self::adopt)
    }

    /// Makes a port to signal oneself.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn ipi() -> hypercall::Result<Self> {
        calls::bind_ipi().map(Self::adopt)
    }

    /// Its number.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.0
    }

    /// Raises the event at the other end.
    ///
    /// # Errors
    /// As the hypervisor says; the other end may be gone.
    pub fn send(&self) -> hypercall::Result {
        calls::send(self.0)
    }

    /// Takes the event if it was raised since the last time.
    #[must_use]
    pub fn take(&self) -> bool {
        slot(self.0).is_some_and(|slot| slot.fired.swap(false, Ordering::AcqRel))
    }

    /// Polls for an event: ready once for any number of events since the last time.
    pub fn poll_wait(&self, context: &mut core::task::Context<'_>) -> Poll<()> {
        let Some(slot) = slot(self.0) else { return Poll::Pending };
        if slot.fired.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        slot.waker.register(context.waker());
        if slot.fired.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits for an event; any number of events since the last wait are one.
    pub async fn wait(&self) {
        poll_fn(|context| self.poll_wait(context)).await;
    }

    /// Sends its events to `set` from now on, instead of to those that wait for this port.
    pub fn join(&self, set: &'static PortSet) {
        let slot = make_slot(self.0);
        slot.set.store(core::ptr::from_ref(set).cast_mut(), Ordering::Release);
        if slot.fired.swap(false, Ordering::AcqRel) {
            set.add(self.0);
        }
    }

    /// Gives the port up without closing it.
    #[must_use]
    pub fn release(self) -> Port {
        let port = self.0;
        core::mem::forget(self);
        port
    }
}

impl Drop for EventPort {
    fn drop(&mut self) {
        if let Some(slot) = slot(self.0) {
            slot.set.store(core::ptr::null_mut(), Ordering::Release);
            slot.fired.store(false, Ordering::Release);
        }
        // A port that the hypervisor closed already is closed.
        let _ = calls::close(self.0);
    }
}
