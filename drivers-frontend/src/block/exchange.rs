//! What goes through the ring: requests out, and answers in.
//! A notification carries all that was begun, and one look takes all that was answered.

use alloc::vec::Vec;

use hypercall_abi::blkif::BlockStatus;
use hypercall_abi::device::BlockError;
use hypercall_abi::extension::RingSide;
use hypercall_abi::ring::{Notify, SharedPage};

use super::front::BlockFront;
use super::operations::{DiskFault, State, Ticket};
use super::wire::{self, Unsendable};
use crate::link::Link;
use crate::platform::Platform;
use crate::traced::trace;

impl<P: Platform, M: SharedPage> BlockFront<P, M> {
    /// Shows the back end what was begun, and notifies it if it asked for that.
    pub fn push(&mut self) {
        let segments_max = self.segments_max();
        let Link::Connected(wire) = &mut self.link else { return };
        let mut failed = Vec::new();
        while wire.ring.free() > 0 {
            let Some((ticket, operation)) = self.operations.next_waiting() else { break };
            match wire::request(ticket, operation, &mut self.pages, segments_max, &mut self.request) {
                Ok(()) => {
                    let _full = wire.ring.push(&self.request);
                    self.counters.requests += 1;
                }
                Err(Unsendable::Later) => break,
                Err(Unsendable::Never) => failed.push(ticket),
            }
            operation.state = State::Sent;
            self.operations.sent();
        }
        let (notify, port) = (wire.ring.publish().with(self.config.suppress), wire.port);
        if self.platform.traces_rings() && wire.ring.has_moved() {
            trace(&mut self.platform, &mut wire.ring, RingSide::FrontBlock, self.config.peer, notify);
        }
        match notify {
            Notify::Nothing => {}
            Notify::Suppressed => {
                self.counters.suppressed += 1;
                self.device.set_counters(&self.counters);
            }
            Notify::Needed => {
                self.counters.notified += 1;
                self.device.set_counters(&self.counters);
                self.platform.notify(port);
            }
        }
        for ticket in failed {
            self.operations.answer(ticket, Err(DiskFault::NotSupported));
        }
        self.give_back_freed();
    }

    /// Takes the answers that have come, wakes whoever waits for them, and sends what had no room before. After that
    /// the back end notifies the next answer.
    pub fn collect(&mut self) {
        loop {
            let Link::Connected(wire) = &mut self.link else { return };
            match wire.ring.pop() {
                Ok(Some(response)) => {
                    let ticket = Ticket::from_id(response.id);
                    let result = match BlockStatus::from_raw(response.status) {
                        Some(BlockStatus::Okay) => Ok(()),
                        Some(BlockStatus::NotSupported) => Err(DiskFault::NotSupported),
                        Some(BlockStatus::Error) | None => Err(DiskFault::Failed),
                    };
                    let Some(bytes) = self.operations.answer_sent(ticket, result) else {
                        return self.fault(BlockError::Unasked);
                    };
                    self.counters.bytes += bytes;
                    self.counters.failed += u64::from(result.is_err());
                    self.faults = 0;
                    self.give_back_freed();
                }
                Ok(None) => {
                    self.wake_those_who_fit();
                    self.push();
                    let Link::Connected(wire) = &mut self.link else { return };
                    match wire.ring.arm(1) {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(_) => return self.fault(BlockError::Overrun),
                    }
                }
                Err(_) => return self.fault(BlockError::Overrun),
            }
        }
    }
}
