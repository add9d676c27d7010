//! What goes through the ring: requests out, and answers in.
//! A notification carries all that was begun, and one look takes all that was answered.

use alloc::vec::Vec;

use hypercall_abi::blkif::{BlockResponse, BlockStatus};
use hypercall_abi::device::BlockError;
use hypercall_abi::extension::RingSide;
use hypercall_abi::ring::{Notify, SharedPage};

use super::front::BlockFront;
use super::operation::{DiskFault, State, Ticket};
use super::wire::Unsendable;
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
            match wire.send(ticket, operation, &mut self.pages, segments_max) {
                Ok(()) => self.counters.requests += 1,
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
                Ok(Some(answer)) => {
                    if !self.settle(&answer) {
                        return;
                    }
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

    /// Judges an answer, and tells whoever waits for it. False when it is one that nobody asked for, which ends the connection.
    #[inline(never)]
    pub(super) fn settle(&mut self, answer: &BlockResponse) -> bool {
        let result = match BlockStatus::from_raw(answer.status) {
            Some(BlockStatus::Okay) => Ok(()),
            Some(BlockStatus::NotSupported) => Err(DiskFault::NotSupported),
            Some(BlockStatus::Error) | None => Err(DiskFault::Failed),
        };
        let Some(bytes) = self.operations.answer_sent(Ticket::from_id(answer.id), result) else {
            self.fault(BlockError::Unasked);
            return false;
        };
        self.counters.bytes += bytes;
        self.counters.failed += u64::from(result.is_err());
        self.faults = 0;
        self.give_back_freed();
        true
    }
}
