//! A front end and its way to hear of its back end, which may end and be built again.
//! Each back end brings another state port, whose number may be that of the one before.

use core::task::{Context, Waker};

use hypercall_abi::Port;
use hypercall_abi::device::DirectoryEntry;

use super::FrontEnd;
use crate::machine::devices;
use crate::machine::ports::EventPort;

/// A front end and the port on which its back end tells of changes.
pub(in crate::machine) struct Attached<F> {
    /// The front end.
    pub(in crate::machine) front: F,
    state_port: EventPort,
    /// Of the directory entry that was followed last.
    generation: u32,
    /// Who looks after both, and has to look at a new port too.
    waker: Option<Waker>,
}

impl<F: FrontEnd> Attached<F> {
    /// A front end that was made after this entry.
    pub(in crate::machine) const fn new(front: F, state_port: EventPort, entry: &DirectoryEntry) -> Self {
        Self { front, state_port, generation: entry.generation, waker: None }
    }

    /// Takes what the state port tells, and has its later events wake `waker`.
    pub(in crate::machine) fn listen(&mut self, waker: &Waker) {
        while self.state_port.poll_wait(&mut Context::from_waker(waker)).is_ready() {
            self.front.step();
            self.front.tell_of_want();
        }
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    /// Takes the directory's word on who the back end is. One that ends loses the connection, and a new one begins
    /// another, whatever became of the connection before.
    pub(in crate::machine) fn follow(&mut self, entry: &DirectoryEntry) {
        if entry.generation == self.generation {
            return;
        }
        self.generation = entry.generation;
        self.front.set_peer(None);
        if let Some(peer) = devices::peer(entry) {
            let port = EventPort::adopt(Port(entry.state_port));
            // The hypervisor closed the old one with the old back end; to close its number now could close the new one.
            let _closed = core::mem::replace(&mut self.state_port, port).release();
            self.front.set_state_port(Port(entry.state_port));
            self.front.set_peer(Some(peer));
            self.front.reconnect_if_closed();
            self.front.tell_of_want();
        }
        self.look();
    }

    /// Grows with each change of the back end that was followed.
    #[cfg(feature = "block")]
    pub(in crate::machine) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Has whoever looks after both do so.
    pub(in crate::machine) fn look(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
