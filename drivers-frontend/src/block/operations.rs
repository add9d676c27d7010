//! Operations that were begun: what they want, which pages hold their data, how far they are.
//! An operation stays here, with its data, until its owner has taken its result.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::Waker;

use hypercall_abi::blkif::{BlockOp, SECTOR_BYTES};

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The back end says that it failed: nothing is known of the sectors.
    Failed,
    /// The disk cannot do that.
    NotSupported,
    /// The back end has misbehaved too often, or is closed for good.
    Gone,
}

/// Names an operation until its result is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: u32,
    generation: u32,
}

impl Ticket {
    /// The number that travels in the ring.
    pub(super) const fn id(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The ticket that a number from the ring means, if there is one.
    pub(super) const fn from_id(id: u64) -> Self {
        Self { slot: id as u32, generation: (id >> 32) as u32 }
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not in the ring.
    Waiting,
    /// With the back end.
    Sent,
    /// Answered.
    Done(Result<(), DiskFault>),
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: BlockOp,
    pub(super) sector: u64,
    pub(super) sectors: u64,
    /// Pages of its data, in order.
    pub(super) pages: Vec<u16>,
    /// Page of its segments, while it is sent as an indirect request.
    pub(super) segments: Option<u16>,
    pub(super) state: State,
    /// When it was begun, against others.
    order: u64,
    /// Nobody waits for it.
    abandoned: bool,
    /// The queue is told of its end.
    queued: bool,
    waker: Option<Waker>,
}

/// One of the queue that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ticket: Ticket,
    pub(super) result: Result<(), DiskFault>,
    pub(super) pages: Vec<u16>,
    pub(super) sectors: u64,
}

/// A place for an operation, which stays where it is from its beginning to its end.
#[derive(Debug)]
struct Slot {
    /// Counts beginnings and ends: odd while there is an operation.
    generation: u32,
    operation: Operation,
}

impl Slot {
    const fn is_open(&self) -> bool {
        self.generation & 1 == 1
    }

    /// Ends what is open, and returns its pages.
    fn end(&mut self) -> Vec<u16> {
        self.generation = self.generation.wrapping_add(1);
        let operation = &mut self.operation;
        operation.waker = None;
        let mut pages = core::mem::take(&mut operation.pages);
        if let Some(segments) = operation.segments.take() {
            pages.push(segments);
        }
        pages
    }
}

/// All operations.
#[derive(Debug, Default)]
pub(super) struct Operations {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Those to be sent, in order.
    waiting: VecDeque<Ticket>,
    /// Those of the queue that are done, and who waits for one.
    done: VecDeque<Ticket>,
    queue: Option<Waker>,
    next: u64,
    /// Pages that are free because nobody waits for what they held.
    freed: Vec<u16>,
}

impl Operations {
    /// Begins one, to be sent by and by. The queue is told of its end if it is `queued`.
    pub(super) fn add(
        &mut self,
        kind: BlockOp,
        sector: u64,
        sectors: u64,
        pages: Vec<u16>,
        queued: bool,
    ) -> Ticket {
        let (ticket, _) = self.open(kind, sector, sectors, pages, queued);
        self.waiting.push_back(ticket);
        ticket
    }

    /// Begins one of the queue that its caller sends at once, if it may overtake nothing.
    #[inline]
    pub(super) fn add_sent(
        &mut self,
        kind: BlockOp,
        sector: u64,
        sectors: u64,
        pages: Vec<u16>,
    ) -> (Ticket, Option<&mut Operation>) {
        let (ticket, mut opened) = self.open(kind, sector, sectors, pages, true);
        if let Some(operation) = &mut opened {
            operation.state = State::Sent;
        }
        (ticket, opened)
    }

    /// Whether some wait to be sent.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    #[inline]
    fn open(
        &mut self,
        kind: BlockOp,
        sector: u64,
        sectors: u64,
        pages: Vec<u16>,
        queued: bool,
    ) -> (Ticket, Option<&mut Operation>) {
        let slot = self.free.pop().unwrap_or_else(|| self.more());
        let order = self.next;
        self.next += 1;
        let Some(place) = self.slots.get_mut(slot as usize) else {
            return (Ticket { slot, generation: 0 }, None);
        };
        place.generation = place.generation.wrapping_add(1);
        let one = &mut place.operation;
        (one.kind, one.sector, one.sectors, one.pages) = (kind, sector, sectors, pages);
        (one.state, one.order, one.abandoned, one.queued) = (State::Waiting, order, false, queued);
        (Ticket { slot, generation: place.generation }, Some(one))
    }

    /// Makes one more slot.
    #[cold]
    fn more(&mut self) -> u32 {
        let operation = Operation {
            kind: BlockOp::Flush,
            sector: 0,
            sectors: 0,
            pages: Vec::new(),
            segments: None,
            state: State::Waiting,
            order: 0,
            abandoned: false,
            queued: false,
            waker: None,
        };
        self.slots.push(Slot { generation: 0, operation });
        (self.slots.len() - 1) as u32
    }

    /// Takes one of the queue that is done: its result, pages and sectors.
    #[inline(always)]
    pub(super) fn take_done(&mut self) -> Option<Ended> {
        loop {
            let ticket = self.done.pop_front()?;
            let Some(slot) = self.slots.get_mut(ticket.slot as usize) else { continue };
            let Operation { state: State::Done(result), queued: true, sectors, .. } = slot.operation else {
                continue;
            };
            if slot.generation == ticket.generation && slot.is_open() {
                let pages = slot.end();
                self.free.push(ticket.slot);
                return Some(Ended { ticket, result, pages, sectors });
            }
        }
    }

    /// Has `waker` woken when one of the queue is done.
    pub(super) fn wake_queue(&mut self, waker: &Waker) {
        if !self.queue.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.queue = Some(waker.clone());
        }
    }

    /// Those that are open and of which this holds.
    fn which(&self, holds: impl Fn(&Operation) -> bool) -> Vec<Ticket> {
        (0..)
            .zip(&self.slots)
            .filter(|(_, place)| place.is_open() && holds(&place.operation))
            .map(|(slot, place)| Ticket { slot, generation: place.generation })
            .collect()
    }

    /// All of the queue whose results were not taken.
    pub(super) fn queued(&self) -> Vec<Ticket> {
        self.which(|one| one.queued && !one.abandoned)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(super) fn get(&self, ticket: Ticket) -> Option<&Operation> {
        let slot = self.slots.get(ticket.slot as usize)?;
        (slot.generation == ticket.generation && slot.is_open()).then_some(&slot.operation)
    }

    #[inline]
    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Operation> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        (slot.generation == ticket.generation && slot.is_open()).then_some(&mut slot.operation)
    }

    /// The next to be sent.
    #[inline]
    pub(super) fn next_waiting(&mut self) -> Option<(Ticket, &mut Operation)> {
        let ticket = *self.waiting.front()?;
        Some((ticket, self.get_mut(ticket)?))
    }

    /// Notes that the next one was sent, as its state says.
    #[inline]
    pub(super) fn sent(&mut self) {
        self.waiting.pop_front();
    }

    /// Notes the answer to one that was sent and wakes whoever waits for it; returns the bytes that it carried, and nothing if
    /// it was not sent. Pages may be free then.
    #[inline]
    pub(super) fn answer_sent(&mut self, ticket: Ticket, result: Result<(), DiskFault>) -> Option<u64> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        let operation = &mut slot.operation;
        if slot.generation != ticket.generation || slot.generation & 1 == 0 || operation.state != State::Sent
        {
            return None;
        }
        let carried = operation.kind != BlockOp::Discard && result.is_ok();
        let bytes = if carried { operation.sectors * SECTOR_BYTES as u64 } else { 0 };
        if operation.queued
            && !operation.abandoned
            && operation.segments.is_none()
            && operation.waker.is_none()
        {
            // Nearly all.
            operation.state = State::Done(result);
            self.note_done(ticket);
        } else {
            self.answer(ticket, result);
        }
        Some(bytes)
    }

    /// Tells the queue that one of it is done.
    #[inline]
    fn note_done(&mut self, ticket: Ticket) {
        self.done.push_back(ticket);
        if let Some(waker) = self.queue.take() {
            waker.wake();
        }
    }

    /// Notes the end of one and wakes whoever waits for it. Pages may be free then.
    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<(), DiskFault>) {
        let Some(operation) = self.get_mut(ticket) else { return };
        operation.state = State::Done(result);
        if let Some(waker) = operation.waker.take() {
            waker.wake();
        }
        let (segments, abandoned, queued) =
            (operation.segments.take(), operation.abandoned, operation.queued);
        if abandoned {
            let pages = self.remove(ticket);
            self.freed.extend(pages);
        } else if queued {
            self.note_done(ticket);
        }
        if let Some(page) = segments {
            self.freed.push(page);
        }
    }

    /// Whether pages are free because nobody waits for what they held.
    #[inline]
    pub(super) const fn has_freed(&self) -> bool {
        !self.freed.is_empty()
    }

    /// Those pages, to be taken.
    pub(super) const fn freed(&mut self) -> &mut Vec<u16> {
        &mut self.freed
    }

    /// Has `waker` woken when the operation is done.
    pub(super) fn wake(&mut self, ticket: Ticket, waker: &Waker) {
        if let Some(operation) = self.get_mut(ticket)
            && !operation.waker.as_ref().is_some_and(|old| old.will_wake(waker))
        {
            operation.waker = Some(waker.clone());
        }
    }

    /// Forgets an operation and returns its pages; one that the back end has is forgotten when it is answered.
    pub(super) fn abandon(&mut self, ticket: Ticket) -> Vec<u16> {
        match self.get_mut(ticket) {
            Some(operation) if operation.state == State::Sent => {
                operation.abandoned = true;
                operation.waker = None;
                Vec::new()
            }
            Some(_) => {
                self.waiting.retain(|other| *other != ticket);
                self.remove(ticket)
            }
            None => Vec::new(),
        }
    }

    /// Removes an operation and returns its pages.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Vec<u16> {
        let Some(slot) = self.slots.get_mut(ticket.slot as usize) else { return Vec::new() };
        if slot.generation != ticket.generation || !slot.is_open() {
            return Vec::new();
        }
        self.free.push(ticket.slot);
        slot.end()
    }

    /// Has all that was sent and not answered sent again, in the order in which it was begun. Pages may be free then.
    pub(super) fn send_again(&mut self) {
        let mut again: Vec<(u64, Ticket)> = Vec::new();
        for ticket in self.which(|one| matches!(one.state, State::Sent | State::Waiting)) {
            let Some(operation) = self.get_mut(ticket) else { continue };
            // Who gave up a read does not need it; a write may be half done and is completed.
            if operation.abandoned && operation.kind == BlockOp::Read {
                let pages = self.remove(ticket);
                self.freed.extend(pages);
                continue;
            }
            operation.state = State::Waiting;
            again.push((operation.order, ticket));
            let segments = operation.segments.take();
            self.freed.extend(segments);
        }
        again.sort_unstable_by_key(|(order, _)| *order);
        self.waiting = again.into_iter().map(|(_, ticket)| ticket).collect();
    }

    /// Ends all that is not done. Pages may be free then.
    pub(super) fn fail_all(&mut self, fault: DiskFault) {
        self.waiting.clear();
        for ticket in self.which(|one| !matches!(one.state, State::Done(_))) {
            self.answer(ticket, Err(fault));
        }
    }
}
