//! Operations for who has many under way: results in the order in which they come, in pages that stay the caller's.
//! Nothing is copied and nothing is allocated for an operation, and one look takes all results that are there.

use alloc::vec::Vec;
use core::task::{Context, Poll};

use hypercall_abi::PAGE_SIZE;
use hypercall_abi::blkif::{BlockOp, SECTOR_BYTES, SEGMENTS_MAX};
use hypercall_abi::ring::SharedPage;

use super::front::{BeginError, BlockFront, sectors};
use super::operations::{DiskFault, Ended, Ticket};
use super::wire;
use crate::link::Link;
use crate::platform::Platform;

/// Pages of a device that somebody holds, to be given back by [`BlockFront::give_buffer`]. The back end can write to them at
/// any time, so that bytes are copied in and out.
#[derive(Debug)]
pub struct Buffer {
    pages: Vec<u16>,
    bytes: usize,
}

impl Buffer {
    /// Its length.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
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
        Ok(Buffer { pages: self.take_free(bytes)?, bytes })
    }

    /// Gives a buffer back.
    pub fn give_buffer(&mut self, buffer: Buffer) {
        self.give_back(buffer.pages);
    }

    /// Calls `each` with the pages of a buffer that hold `bytes` from `offset` on: page, offset in it, bytes.
    fn places(
        &self,
        buffer: &Buffer,
        offset: usize,
        bytes: usize,
        mut each: impl FnMut(&P::Page, usize, core::ops::Range<usize>),
    ) {
        let end = offset.saturating_add(bytes).min(buffer.bytes);
        let mut at = offset;
        while at < end {
            let rest = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
            if let Some(page) = buffer.pages.get(at / PAGE_SIZE).and_then(|page| self.pages.page(*page)) {
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
    pub fn begin_queued(
        &mut self,
        write: bool,
        sector: u64,
        buffer: Buffer,
    ) -> Result<Ticket, (BeginError, Buffer)> {
        let count = sectors(buffer.bytes);
        let checked = self.admit().and_then(|facts| {
            self.check_writable(write)?;
            let end = sector.checked_add(count).filter(|end| *end <= facts.sectors);
            end.map(|_| ()).ok_or(BeginError::Range)
        });
        if let Err(error) = checked {
            return Err((error, buffer));
        }
        let kind = if write { BlockOp::Write } else { BlockOp::Read };
        Ok(self.send_or_keep(kind, sector, count, buffer.pages))
    }

    /// Writes an operation of the queue into the ring, where the back end sees it after [`Self::push`]; keeps it if others wait, or if
    /// it does not go into the ring as it is.
    #[inline]
    fn send_or_keep(&mut self, kind: BlockOp, sector: u64, sectors: u64, pages: Vec<u16>) -> Ticket {
        let short = pages.len() <= SEGMENTS_MAX && !self.operations.has_waiting();
        let Link::Connected(wire) = &mut self.link else {
            return self.operations.add(kind, sector, sectors, pages, true);
        };
        if !short || wire.ring.free() == 0 {
            return self.operations.add(kind, sector, sectors, pages, true);
        }
        let (ticket, operation) = self.operations.add_sent(kind, sector, sectors, pages);
        if let Some(operation) = operation {
            wire::short_request(ticket, operation, &self.pages, &mut self.request);
            let _full = wire.ring.push(&self.request);
            self.counters.requests += 1;
        }
        ticket
    }

    /// Begins a flush whose end [`Self::poll_done`] tells.
    ///
    /// # Errors
    /// As [`BeginError`] says; nothing has changed.
    pub fn begin_queued_flush(&mut self) -> Result<Ticket, BeginError> {
        self.admit()?;
        Ok(self.operations.add(BlockOp::Flush, 0, 0, Vec::new(), true))
    }

    /// An operation of the queue that is done, if there is one.
    #[inline(always)]
    pub fn take_done(&mut self) -> Option<Done> {
        let Ended { ticket, result, pages, sectors } = self.operations.take_done()?;
        let bytes = sectors as usize * SECTOR_BYTES;
        let buffer = (bytes > 0).then_some(Buffer { pages, bytes });
        Some(Done { ticket, result, buffer })
    }

    /// The next operation of the queue that is done.
    pub fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        let Some(done) = self.take_done() else {
            self.operations.wake_queue(context.waker());
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
