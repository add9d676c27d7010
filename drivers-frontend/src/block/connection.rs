//! The front end's states: connecting, closing, and beginning again with what was not answered.
//! Nothing of an operation is lost here: data stays in its pages, and only the leave to use them is taken back.

use hypercall_abi::device::{BlockError, XenbusState, block_features};
use hypercall_abi::ring::SharedPage;
use hypercall_abi::{DomId, Port};

use super::front::{BlockFront, FAULTS_MAX};
use super::operation::DiskFault;
use super::pages::Pages;
use super::wire::Wire;
use crate::link::{Link, Next};
use crate::platform::Platform;
use crate::rings::take_back;

/// Pages that a back end may hold back before this front end connects no more.
const QUARANTINE_MAX: usize = 64;
/// Pages for data without which nothing goes through: one, and one for segments.
const PAGES_MIN: usize = 2;

impl<P: Platform, M: SharedPage> BlockFront<P, M> {
    /// Closes because of what the back end did.
    pub(super) fn fault(&mut self, error: BlockError) {
        self.troubles.note(error.raw());
        self.close_for(error);
        self.step();
    }

    /// Looks at the back end's state and takes the steps that follow. To be called after each event on the state port.
    /// True when something changed.
    pub fn step(&mut self) -> bool {
        let mut changed = false;
        // Each round takes one step of a finite path; the bound is for a back end that writes states as we go.
        for _ in 0..8 {
            if !self.step_once() {
                break;
            }
            changed = true;
        }
        changed
    }

    fn step_once(&mut self) -> bool {
        match self.link.next(self.device.other_state()) {
            Next::Stay => return self.learn_of_no_disk(),
            Next::Offer => return self.offer(),
            Next::Connect => {
                let facts = self.device.facts();
                self.facts = Some(facts);
                self.link.connect();
                self.operations.allow_straight(facts.sectors, &self.pages);
                self.enter(XenbusState::Connected);
                self.room.drain(..).for_each(|(_, waker)| waker.wake());
                self.collect();
            }
            Next::Close => {
                // Why, if the back end has a reason; it lets go when no device has a page of ours.
                self.reason = self.device.other_error();
                self.link.begin_to_close();
                self.enter(XenbusState::Closing);
            }
            Next::Ended => {
                self.reason = self.device.other_error();
                if self.reason != BlockError::None.raw() {
                    self.troubles.note(self.reason);
                }
                self.let_go();
                self.enter(XenbusState::Closed);
                self.ended();
            }
            Next::Anew => {
                self.let_go();
                self.begin_again();
            }
            Next::Released => {
                self.let_go();
                self.enter(XenbusState::Closed);
                if self.reason != BlockError::None.raw() {
                    self.ended();
                }
            }
        }
        true
    }

    /// Gives up when the back end says that there will be no disk here.
    fn learn_of_no_disk(&mut self) -> bool {
        let none = matches!(self.link, Link::Waiting)
            && self.device.other_state() == XenbusState::Closed
            && self.device.other_error() == BlockError::Disk.raw();
        if none {
            self.give_up(BlockError::Disk);
        }
        none
    }

    /// Closes for as long as there is this back end.
    fn give_up(&mut self, error: BlockError) {
        self.reason = error.raw();
        self.faults = FAULTS_MAX;
        self.link = Link::Closed;
        self.ended();
        self.enter(XenbusState::Closed);
    }

    /// Gives up for want of memory: waiting would bring none, and nobody would know what is waited for.
    fn starve(&mut self) -> bool {
        let free = self.pages.revoke(&mut self.platform, &mut self.quarantine);
        if free && self.facts.is_none() {
            // Nothing was ever begun, so that they hold nothing, and others have use for them.
            self.pages = Pages::new(&mut self.platform, 0);
        }
        self.device.set_error(BlockError::Memory);
        self.give_up(BlockError::Memory);
        true
    }

    /// A connection has ended: begins another one, unless too many have ended in faults.
    fn ended(&mut self) {
        if self.reason != BlockError::None.raw() {
            self.faults += 1;
        }
        if self.faults < FAULTS_MAX {
            self.begin_again();
            return;
        }
        self.troubles.give_up(self.reason);
        self.operations.fail_all(DiskFault::Gone);
        self.give_back_freed();
        self.room.drain(..).for_each(|(_, waker)| waker.wake());
    }

    /// Takes the directory's word on who the back end is; a change ends the connection and begins another. If the state port
    /// has changed as well, [`Self::set_state_port`] comes first.
    pub fn set_peer(&mut self, peer: Option<DomId>) {
        if peer == self.config.peer {
            return;
        }
        self.config.peer = peer;
        // A new back end is not to be judged by what the old one did.
        self.faults = 0;
        self.let_go();
        self.begin_again();
        self.step();
    }

    /// Takes the directory's word on our port for changes of state, which is another one for each back end.
    pub const fn set_state_port(&mut self, port: Port) {
        self.config.state_port = port;
    }

    /// Ends the connection in good order; [`Self::is_closed`] when the back end has let go. What is open waits.
    pub fn close(&mut self) {
        self.reason = BlockError::None.raw();
        self.close_for(BlockError::None);
        self.step();
    }

    /// Begins to connect again from the closed state.
    pub fn reconnect(&mut self) {
        self.faults = 0;
        self.begin_again();
        // A back end that is ready already tells us nothing.
        self.step();
    }

    fn begin_again(&mut self) {
        if self.is_closed() {
            self.link = Link::Waiting;
            self.device.set_error(BlockError::None);
            self.enter(XenbusState::Initialising);
        }
    }

    fn close_for(&mut self, error: BlockError) {
        match self.link {
            Link::Offered(_) | Link::Connected(_) => {
                self.link.begin_to_close();
                self.reason = error.raw();
                self.device.set_error(error);
                self.enter(XenbusState::Closing);
            }
            Link::Waiting => {
                self.link = Link::Closed;
                self.enter(XenbusState::Closed);
            }
            Link::Closing(_) | Link::Closed => {}
        }
    }

    /// Makes a ring and offers it; stays waiting while a back end holds what is needed, and gives up without memory for it.
    fn offer(&mut self) -> bool {
        self.link = Link::Waiting;
        let held = core::mem::take(&mut self.quarantine);
        take_back(&mut self.platform, held, &mut self.quarantine);
        let free = self.pages.revoke(&mut self.platform, &mut self.quarantine);
        let Some(peer) = self.config.peer.filter(|_| free && self.quarantine.len() <= QUARANTINE_MAX) else {
            return false;
        };
        if self.pages.len() < PAGES_MIN || self.pages.grant(&mut self.platform, peer).is_err() {
            return self.starve();
        }
        let Ok(wire) = Wire::open(&mut self.platform, peer, &mut self.quarantine) else {
            return self.starve();
        };
        let promise = if self.config.lend { block_features::PERSISTENT } else { 0 };
        self.device.offer(wire.reference, wire.port, promise);
        self.link = Link::Offered(wire);
        self.enter(XenbusState::Initialised);
        true
    }

    /// Takes everything back that was shared, and keeps what was not answered.
    fn let_go(&mut self) {
        let Some(wire) = self.link.close() else { return };
        wire.close(&mut self.platform, &mut self.quarantine);
        // What is still held is tried again before the next offer.
        self.pages.revoke(&mut self.platform, &mut self.quarantine);
        self.operations.send_again();
        self.give_back_freed();
    }

    /// Writes our state and tells the back end.
    pub(super) fn enter(&mut self, state: XenbusState) {
        self.device.set_counters(&self.counters);
        self.device.set_state(state);
        self.platform.notify(self.config.state_port);
    }
}
