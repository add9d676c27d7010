//! Operations for who has many under way: results in the order in which they come, in pages that stay the caller's.
//! Nothing is copied and nothing is allocated for an operation, and one look takes all results that are there.

use alloc::vec::Vec;
use core::task::{Context, Poll};

use hypercall_abi::PAGE_SIZE;
use hypercall_abi::blkif::{BlockOp, BlockResponse, SECTOR_BYTES};
use hypercall_abi::device::BlockError;
use hypercall_abi::ring::SharedPage;

use super::front::{BeginError, BlockFront, check_range, is_read_only, sectors};
use super::operation::{DiskFault, Ticket};
use crate::link::Link;
use crate::platform::Platform;

/// Pages of a device that somebody holds, to be given back by [`BlockFront::give_buffer`]. The back end can write to them at
/// any time, so that bytes are copied in and out.
#[derive(Debug)]
pub struct Buffer {
    place: u32,
}

impl Buffer {
    #[inline(always)]
    pub(super) const fn new(place: u32) -> Self {
        Self { place }
    }

    #[inline(always)]
    pub(super) const fn place(&self) -> usize {
        self.place as usize
    }
}

impl Default for Buffer {
    /// One of no bytes.
    #[inline(always)]
    fn default() -> Self {
        Self::new(u32::MAX)
    }
}

/// An operation of a queue that is done.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub ticket: Ticket,
    /// What became of it.
    pub result: Result<(), DiskFault>,
    /// Its buffer; none if it had none.
    pub buffer: Option<Buffer>,
}

impl<P: Platform, M: SharedPage> BlockFront<P, M> {
    /// Takes pages for so many bytes out of those that are free.
    ///
    /// # Errors
    /// [`BeginError::Length`] and [`BeginError::Full`].
    pub fn take_buffer(&mut self, bytes: usize) -> Result<Buffer, BeginError> {
        self.check_length(bytes)?;
        let pages = self.take_free(bytes)?;
        let capacity = self.facts.filter(|_| self.is_up()).map(|facts| facts.sectors);
        Ok(self.operations.hold(sectors(bytes), pages, (capacity, &self.pages)))
    }

    /// Gives a buffer back.
    pub fn give_buffer(&mut self, buffer: Buffer) {
        let pages = self.operations.let_go(&buffer);
        self.give_back(pages);
    }

    /// Calls `each` with the pages of a buffer that hold `bytes` from `offset` on: page, offset in it, bytes.
    fn places(
        &self,
        buffer: &Buffer,
        offset: usize,
        bytes: usize,
        mut each: impl FnMut(&P::Page, usize, core::ops::Range<usize>),
    ) {
        let Some(held) = self.operations.held(buffer) else { return };
        let end = offset.saturating_add(bytes).min(held.sectors as usize * SECTOR_BYTES);
        let mut at = offset;
        while at < end {
            let rest = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
            if let Some(page) = held.pages.get(at / PAGE_SIZE).and_then(|page| self.pages.page(*page)) {
                each(page, at % PAGE_SIZE, at - offset..at - offset + rest);
            }
            at += rest;
        }
    }

    /// Copies bytes out of a buffer, as far as it goes.
    pub fn copy_out(&self, buffer: &Buffer, offset: usize, into: &mut [u8]) {
        let bytes = into.len();
        self.places(buffer, offset, bytes, |page, at, range| {
            page.copy_out(at, into.get_mut(range).unwrap_or_default());
        });
    }

    /// Copies bytes into a buffer, as far as it goes.
    pub fn copy_in(&self, buffer: &Buffer, offset: usize, from: &[u8]) {
        self.places(buffer, offset, from.len(), |page, at, range| {
            page.copy_in(at, from.get(range).unwrap_or_default());
        });
    }

    /// Begins to read into a buffer or to write it, from `sector` on. [`Self::poll_done`] tells of its end.
    ///
    /// # Errors
    /// As [`BeginError`] says, with the buffer; nothing has changed.
    #[inline(always)]
    pub fn begin_queued(
        &mut self,
        write: bool,
        sector: u64,
        buffer: Buffer,
    ) -> Result<Ticket, (BeginError, Buffer)> {
        let kind = if write { BlockOp::Write } else { BlockOp::Read };
        // Nearly always it may go into the ring at once, where the back end sees it after [`Self::push`].
        if let Link::Connected(wire) = &mut self.link
            && !(write && is_read_only(self.facts))
            && let Some(ticket) =
                self.operations.begin_straight(&buffer, (kind, sector), |ticket, operation| {
                    wire.send_short(ticket, kind, sector, operation)
                })
        {
            self.counters.requests += 1;
            return Ok(ticket);
        }
        self.begin_waiting(kind, sector, buffer)
    }

    /// Judges an operation with a buffer that does not go straight into the ring, and begins it.
    #[cold]
    #[inline(never)]
    fn begin_waiting(
        &mut self,
        kind: BlockOp,
        sector: u64,
        buffer: Buffer,
    ) -> Result<Ticket, (BeginError, Buffer)> {
        let checked = self.admit(true).and_then(|facts| {
            self.check_writable(kind == BlockOp::Write)?;
            let sectors = self.operations.held(&buffer).ok_or(BeginError::Length(0))?.sectors;
            check_range(facts, sector, sectors)
        });
        match checked {
            Ok(()) => Ok(self.operations.begin_held(&buffer, kind, sector)),
            Err(error) => Err((error, buffer)),
        }
    }

    /// Begins a flush whose end [`Self::poll_done`] tells.
    ///
    /// # Errors
    /// As [`BeginError`] says; nothing has changed.
    pub fn begin_queued_flush(&mut self) -> Result<Ticket, BeginError> {
        self.admit(false)?;
        Ok(self.operations.add(BlockOp::Flush, 0, 0, Vec::new(), true))
    }

    /// An operation of the queue that is done, if there is one. What the back end has answered and nobody has looked at is taken
    /// from the ring.
    #[inline]
    pub fn take_done(&mut self) -> Option<Done> {
        if self.operations.has_done() {
            return self.operations.take_done();
        }
        let Link::Connected(wire) = &mut self.link else { return None };
        let answer = match wire.ring.pop() {
            Ok(Some(answer)) => answer,
            Ok(None) => return None,
            Err(_) => return self.take_after_fault(),
        };
        let Some((done, bytes)) = self.operations.end_straight(&answer) else {
            return self.take_after(answer);
        };
        self.counters.bytes += bytes;
        self.faults = 0;
        Some(done)
    }

    /// The next one of the queue that is done after an answer to an operation that is not the queue's, or that needs more than to be told.
    #[cold]
    #[inline(never)]
    fn take_after(&mut self, mut answer: BlockResponse) -> Option<Done> {
        while self.settle(&answer) && !self.operations.has_done() {
            let Link::Connected(wire) = &mut self.link else { return None };
            answer = match wire.ring.pop() {
                Ok(Some(answer)) => answer,
                Ok(None) => return None,
                Err(_) => return self.take_after_fault(),
            };
        }
        self.operations.take_done()
    }

    /// Ends the connection, since the back end claims to have answered what it was not asked.
    #[cold]
    #[inline(never)]
    fn take_after_fault(&mut self) -> Option<Done> {
        self.fault(BlockError::Overrun);
        self.operations.take_done()
    }

    /// Whether somebody waits for the queue, and there are answers. After [`Self::wake_queue`] it takes them where they are: whoever
    /// else takes answers had better leave it the turn, and call [`Self::collect`] after it.
    pub fn has_answers_for_queue(&self) -> bool {
        let Link::Connected(wire) = &self.link else { return false };
        self.operations.is_queue_awaited() && matches!(wire.ring.ready(), Ok(1..))
    }

    /// Wakes whoever waits for the queue.
    pub fn wake_queue(&mut self) {
        self.operations.wake_queue();
    }

    /// The next operation of the queue that is done.
    pub fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        let Some(done) = self.take_done() else {
            self.operations.await_queue(context.waker());
            return Poll::Pending;
        };
        Poll::Ready(done)
    }

    /// Takes the queue, of which a device has one; false while somebody has it.
    pub const fn open_queue(&mut self) -> bool {
        !core::mem::replace(&mut self.queue_open, true)
    }

    /// Gives the queue up, and waiting for everything in it, which may be done nevertheless.
    pub fn close_queue(&mut self) {
        self.queue_open = false;
        for ticket in self.operations.queued() {
            self.abandon(ticket);
        }
        // What stands in the ring gives its pages back when it is answered.
        self.push();
    }
}
