//! The block front end: connection states, operations in and results out.
//! It is the one object that a guest's disk talks to.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use hypercall_abi::blkif::{BlockOp, SECTOR_BYTES, SEGMENTS_MAX, SEGMENTS_PER_PAGE};
use hypercall_abi::device::{BlockCounters, BlockError, BlockPage, DiskFacts, XenbusState, block_features};
use hypercall_abi::ring::SharedPage;
use hypercall_abi::{DomId, PAGE_SIZE, Port};

use super::operation::{DiskFault, State, Ticket};
use super::operations::Operations;
use super::pages::Pages;
use super::trouble::Troubles;
use super::wire::Wire;
use crate::link::Link;
use crate::platform::Platform;
use crate::rings::Shared;

/// What a front end is told by its directory entry and its owner.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
    /// Domain of the back end; `None` while it is gone.
    pub peer: Option<DomId>,
    /// Our port for changes of state.
    pub state_port: Port,
    /// Whether ring indices may save notifications; false notifies always.
    pub suppress: bool,
    /// Pages for data under way; at least 2.
    pub pages: u16,
    /// Whether the back end may keep them mapped; otherwise it has to copy.
    pub lend: bool,
}

/// Why an operation was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginError {
    /// No back end was ever there to say what the disk is.
    Unknown,
    /// The device has given up.
    Gone,
    /// Every page is in use; [`BlockFront::wake_for_room`] tells when one is free.
    Full,
    /// Not a whole number of sectors, none, or more than [`BlockFront::bytes_max`].
    Length(usize),
    /// Not on the disk.
    Range,
    /// The disk cannot be written to.
    ReadOnly,
}

/// A disk over a back end.
#[derive(Debug)]
pub struct BlockFront<P: Platform, M> {
    pub(super) platform: P,
    pub(super) device: BlockPage<M>,
    pub(super) config: BlockConfig,
    pub(super) link: Link<Wire<P::Page>>,
    pub(super) reason: u32,
    pub(super) faults: u32,
    pub(super) facts: Option<DiskFacts>,
    pub(super) operations: Operations,
    pub(super) pages: Pages<P::Page>,
    /// Who waits for pages, in order, and for how many.
    pub(super) room: VecDeque<(usize, Waker)>,
    /// Whether somebody has the queue.
    pub(super) queue_open: bool,
    pub(super) counters: BlockCounters,
    pub(super) quarantine: Shared<P::Page>,
    pub(super) troubles: Troubles,
}

/// Connections that may end in a fault, without one right answer in between, before the device gives up.
pub(super) const FAULTS_MAX: u32 = 8;
/// Operations without a buffer that may be open at once.
const OPERATIONS_MAX: usize = 256;

impl<P: Platform, M: SharedPage> BlockFront<P, M> {
    /// Begins to connect. `device_page` is the page that the directory entry names.
    pub fn new(mut platform: P, device_page: M, config: BlockConfig) -> Self {
        let pages = Pages::new(&mut platform, config.pages.max(2));
        let mut front = Self {
            platform,
            device: BlockPage::front(device_page),
            config,
            link: Link::Waiting,
            reason: BlockError::None.raw(),
            faults: 0,
            facts: None,
            operations: Operations::default(),
            pages,
            room: VecDeque::new(),
            queue_open: false,
            counters: BlockCounters::default(),
            quarantine: Vec::new(),
            troubles: Troubles::default(),
        };
        front.enter(XenbusState::Initialising);
        front.step();
        front
    }

    /// Whether a back end takes requests.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Whether nothing is shared and [`Self::reconnect`] is needed to begin again.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Why the last connection ended: a [`BlockError`], or whatever the back end wrote.
    #[must_use]
    pub const fn reason(&self) -> u32 {
        self.reason
    }

    /// What the last back end said of the disk.
    #[must_use]
    pub const fn facts(&self) -> Option<DiskFacts> {
        self.facts
    }

    /// The port on which the back end tells of answers; another one after each connection.
    #[must_use]
    pub const fn ring_port(&self) -> Option<Port> {
        match self.link.shared() {
            Some(wire) => Some(wire.port),
            None => None,
        }
    }

    /// The most bytes of one operation.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        // One page stays free for the segments.
        self.segments_max().min(self.pages.len().saturating_sub(1)).max(1) * PAGE_SIZE
    }

    /// Operations whose result was not taken yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.operations.open()
    }

    /// Pages that hold no data.
    #[must_use]
    pub fn free_pages(&self) -> usize {
        self.pages.free()
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn counters(&self) -> &BlockCounters {
        &self.counters
    }

    /// How the back end says that data went, since it began: by so many copies, and in so many pages where they are.
    #[must_use]
    pub fn copied_and_in_place(&self) -> (u64, u64) {
        self.device.copied_and_in_place()
    }

    /// The platform, for its owner.
    pub const fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    pub(super) fn segments_max(&self) -> usize {
        let said = self.facts.map_or(0, |facts| facts.segments_max as usize);
        said.clamp(SEGMENTS_MAX, SEGMENTS_PER_PAGE)
    }

    /// Begins to read `bytes` from `sector` on.
    ///
    /// # Errors
    /// As [`BeginError`] says; nothing has changed.
    pub fn begin_read(&mut self, sector: u64, bytes: usize) -> Result<Ticket, BeginError> {
        let pages = self.take_pages(sector, bytes)?;
        Ok(self.operations.add(BlockOp::Read, sector, sectors(bytes), pages, false))
    }

    /// Begins to write a copy of `data` from `sector` on. It is durable after a flush that begins when this is done.
    ///
    /// # Errors
    /// As [`BeginError`] says; nothing has changed.
    pub fn begin_write(&mut self, sector: u64, data: &[u8]) -> Result<Ticket, BeginError> {
        self.check_writable(true)?;
        let pages = self.take_pages(sector, data.len())?;
        for (page, chunk) in pages.iter().zip(data.chunks(PAGE_SIZE)) {
            if let Some(page) = self.pages.page(*page) {
                page.copy_in(0, chunk);
            }
        }
        Ok(self.operations.add(BlockOp::Write, sector, sectors(data.len()), pages, false))
    }

    /// Begins to make durable all that was done before.
    ///
    /// # Errors
    /// As [`BeginError`] says; nothing has changed.
    pub fn begin_flush(&mut self) -> Result<Ticket, BeginError> {
        self.admit(false)?;
        Ok(self.operations.add(BlockOp::Flush, 0, 0, Vec::new(), false))
    }

    /// Begins to discard sectors, whose content may be anything afterwards.
    ///
    /// # Errors
    /// As [`BeginError`] says; nothing has changed.
    pub fn begin_discard(&mut self, sector: u64, sectors: u64) -> Result<Ticket, BeginError> {
        self.check_writable(true)?;
        let facts = self.admit(false)?;
        if sectors == 0 {
            return Err(BeginError::Range);
        }
        check_range(facts, sector, sectors)?;
        Ok(self.operations.add(BlockOp::Discard, sector, sectors, Vec::new(), false))
    }

    pub(super) fn check_writable(&self, write: bool) -> Result<(), BeginError> {
        if write && is_read_only(self.facts) { Err(BeginError::ReadOnly) } else { Ok(()) }
    }

    pub(super) fn check_length(&self, bytes: usize) -> Result<(), BeginError> {
        let wrong = bytes == 0 || !bytes.is_multiple_of(SECTOR_BYTES) || bytes > self.bytes_max();
        if wrong { Err(BeginError::Length(bytes)) } else { Ok(()) }
    }

    /// Admits an operation that has a buffer, or will not have one.
    pub(super) fn admit(&self, buffer: bool) -> Result<DiskFacts, BeginError> {
        if self.is_closed() && self.faults >= FAULTS_MAX {
            return Err(BeginError::Gone);
        }
        if !buffer && self.operations.without_buffers() >= OPERATIONS_MAX {
            return Err(BeginError::Full);
        }
        self.facts.ok_or(BeginError::Unknown)
    }

    fn take_pages(&mut self, sector: u64, bytes: usize) -> Result<Vec<u16>, BeginError> {
        let facts = self.admit(false)?;
        self.check_length(bytes)?;
        check_range(facts, sector, sectors(bytes))?;
        self.take_free(bytes)
    }

    /// Takes free pages for so many bytes.
    pub(super) fn take_free(&mut self, bytes: usize) -> Result<Vec<u16>, BeginError> {
        let need = bytes.div_ceil(PAGE_SIZE);
        // The page that stays free lets an indirect request be sent, so that waiting always ends.
        if need + 1 > self.pages.free() && self.pages.len() > 1 {
            return Err(BeginError::Full);
        }
        self.pages.take(need).ok_or(BeginError::Full)
    }

    /// Has `waker` woken when an operation of so many bytes that found no room may try again.
    pub fn wake_for_room(&mut self, bytes: usize, waker: &Waker) {
        if !self.room.iter().any(|(_, old)| old.will_wake(waker)) {
            self.room.push_back((bytes.div_ceil(PAGE_SIZE), waker.clone()));
        }
    }

    /// Whether an operation is done; if so, a read's data has been copied into `into` (as much as fits there) and the
    /// ticket means nothing any more.
    pub fn poll_finish(
        &mut self,
        ticket: Ticket,
        into: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<Result<(), DiskFault>> {
        let Some(operation) = self.operations.get(ticket) else { return Poll::Ready(Err(DiskFault::Gone)) };
        let State::Done(result) = operation.state else {
            self.operations.wake(ticket, context.waker());
            return Poll::Pending;
        };
        if operation.kind == BlockOp::Read && result.is_ok() {
            let bytes = into.len().min(operation.sectors as usize * SECTOR_BYTES);
            let chunks = into.get_mut(..bytes).unwrap_or_default().chunks_mut(PAGE_SIZE);
            for (page, chunk) in operation.pages.iter().zip(chunks) {
                if let Some(page) = self.pages.page(*page) {
                    page.copy_out(0, chunk);
                }
            }
        }
        let pages = self.operations.remove(ticket);
        self.give_back(pages);
        Poll::Ready(result)
    }

    /// Gives up waiting for an operation, which may be done nevertheless.
    pub fn abandon(&mut self, ticket: Ticket) {
        let pages = self.operations.abandon(ticket);
        self.give_back(pages);
    }

    /// Gives back the pages of what nobody waits for.
    #[inline]
    pub(super) fn give_back_freed(&mut self) {
        if self.operations.has_freed() {
            self.pages.take_back(self.operations.freed());
            self.wake_those_who_fit();
        }
    }

    pub(super) fn give_back(&mut self, pages: Vec<u16>) {
        self.pages.give_back(pages);
        self.wake_those_who_fit();
    }

    /// Wakes as many of those who wait for pages as there is room for, in order. When nothing is under way, and so nothing
    /// will bring us back, all of them: whoever was woken last time may have given up.
    #[inline]
    pub(super) fn wake_those_who_fit(&mut self) {
        if !self.room.is_empty() {
            self.wake_in_order();
        }
    }

    fn wake_in_order(&mut self) {
        let mut free = self.pages.free().saturating_sub(1);
        while let Some((need, waker)) = self.room.pop_front() {
            if need > free && !self.operations.is_idle() {
                self.room.push_front((need, waker));
                return;
            }
            free = free.saturating_sub(need);
            waker.wake();
        }
    }
}

/// Whether a disk cannot be written to, as far as is known.
pub(super) fn is_read_only(facts: Option<DiskFacts>) -> bool {
    facts.is_some_and(|facts| facts.features & block_features::READ_ONLY != 0)
}

/// Whether so many sectors from this on lie on the disk.
pub(super) fn check_range(facts: DiskFacts, sector: u64, sectors: u64) -> Result<(), BeginError> {
    if facts.holds(sector, sectors) { Ok(()) } else { Err(BeginError::Range) }
}

/// Sectors of so many bytes.
pub(super) const fn sectors(bytes: usize) -> u64 {
    (bytes / SECTOR_BYTES) as u64
}
