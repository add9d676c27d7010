//! Many operations under way by one task, in memory that is shared with the back end for good.
//!
//! ```ignore
//! let mut queue = disk.queue().expect("nobody else has it");
//! queue.read(0, queue.buffer(4096)?)?;
//! let done = queue.next().await;
//! ```
//!
//! Nothing is copied for an operation: what a disk reads stands in the buffer. What was begun goes out when the queue is next
//! waited for, all of it at once.

use core::future::poll_fn;

use drivers_frontend::block::{self, BeginError, Ticket};

use super::{Disk, DiskError, Shared};

/// Memory of a disk's, held by whoever uses it. The back end can write to it at any time.
pub struct Buffer {
    front: Shared,
    inner: block::Buffer,
}

/// An operation that is done.
pub struct Done {
    /// What it was begun as.
    pub ticket: Ticket,
    /// What became of it.
    pub result: Result<(), DiskError>,
    /// Its memory; none for a flush.
    pub buffer: Option<Buffer>,
}

/// Operations of one task.
pub struct Queue {
    front: Shared,
}

impl Disk {
    /// The disk's queue; `None` while somebody has it.
    #[must_use]
    pub fn queue(&self) -> Option<Queue> {
        let free = self.front.borrow_mut().front.open_queue();
        free.then_some(Queue { front: self.front })
    }
}

impl Buffer {
    /// Copies bytes out of it, as far as it goes.
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        self.front.borrow().front.copy_out(&self.inner, offset, into);
    }

    /// Copies bytes into it, as far as it goes.
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        self.front.borrow().front.copy_in(&self.inner, offset, from);
    }

    /// What it is to the front end, which has it from now on.
    #[inline]
    fn into_inner(mut self) -> block::Buffer {
        let inner = core::mem::take(&mut self.inner);
        core::mem::forget(self);
        inner
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.front.borrow_mut().front.give_buffer(core::mem::take(&mut self.inner));
    }
}

fn error(error: BeginError) -> DiskError {
    match error {
        BeginError::Length(bytes) => DiskError::Length(bytes),
        BeginError::Range => DiskError::Range,
        BeginError::ReadOnly => DiskError::ReadOnly,
        BeginError::Full => DiskError::Full,
        BeginError::Gone | BeginError::Unknown => DiskError::Gone,
    }
}

impl Queue {
    /// Memory for operations of so many bytes. An operation of more than 11 pages takes another page of the disk's memory while it
    /// is under way; who leaves none free for that has such operations one after the other.
    ///
    /// # Errors
    /// [`DiskError::Length`], and [`DiskError::Full`] when too little of the disk's memory is free.
    pub fn buffer(&self, bytes: usize) -> Result<Buffer, DiskError> {
        let taken = self.front.borrow_mut().front.take_buffer(bytes).map_err(error)?;
        Ok(Buffer { front: self.front, inner: taken })
    }

    /// Begins to read into a buffer from `sector` on.
    ///
    /// # Errors
    /// As [`DiskError`] says, with the buffer; nothing has changed. A buffer of another disk is [`DiskError::Absent`].
    #[inline(always)]
    pub fn read(&mut self, sector: u64, buffer: Buffer) -> Result<Ticket, (DiskError, Buffer)> {
        self.begin(false, sector, buffer)
    }

    /// Begins to write a buffer from `sector` on.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[inline(always)]
    pub fn write(&mut self, sector: u64, buffer: Buffer) -> Result<Ticket, (DiskError, Buffer)> {
        self.begin(true, sector, buffer)
    }

    #[inline(always)]
    fn begin(&mut self, write: bool, sector: u64, buffer: Buffer) -> Result<Ticket, (DiskError, Buffer)> {
        let front = self.front;
        if !core::ptr::eq(front, buffer.front) {
            return Err((DiskError::Absent, buffer));
        }
        let begun = front.borrow_mut().front.begin_queued(write, sector, buffer.into_inner());
        begun.map_err(|(why, inner)| (error(why), Buffer { front, inner }))
    }

    /// Begins to make durable all that was done before.
    ///
    /// # Errors
    /// As [`DiskError`] says; nothing has changed.
    pub fn flush(&mut self) -> Result<Ticket, DiskError> {
        self.front.borrow_mut().front.begin_queued_flush().map_err(error)
    }

    /// Sends what was begun, and waits for the next operation that is done.
    #[inline]
    pub async fn next(&mut self) -> Done {
        let done = poll_fn(|context| {
            let front = &mut self.front.borrow_mut().front;
            let done = front.poll_done(context);
            if done.is_pending() {
                front.push();
            }
            done
        })
        .await;
        self.told(done)
    }

    /// An operation that is done already, if there is one. Nothing is sent, and nobody waits.
    #[inline]
    pub fn take(&mut self) -> Option<Done> {
        let done = self.front.borrow_mut().front.take_done()?;
        Some(self.told(done))
    }

    #[inline]
    fn told(&self, done: block::Done) -> Done {
        let block::Done { ticket, result, buffer } = done;
        let buffer = buffer.map(|inner| Buffer { front: self.front, inner });
        Done { ticket, result: result.map_err(DiskError::from), buffer }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.front.borrow_mut().front.close_queue();
    }
}
