//! Operations that were begun, each in a place where it stays with its data until its owner has taken its result.
//! What a back end names is believed only if it is the operation that is in that place now, and was sent.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::Waker;

use hypercall_abi::blkif::{BlockOp, BlockResponse, BlockStatus, SECTOR_BYTES};
use hypercall_abi::ring::{Full, SharedPage};

use super::operation::{DiskFault, Operation, State, Ticket};
use super::pages::Pages;
use super::queue::{Buffer, Done};

/// All operations, and the places of buffers.
#[derive(Debug, Default)]
pub(super) struct Operations {
    places: Vec<Operation>,
    free: Vec<u32>,
    /// Places that are buffers'.
    buffers: usize,
    /// Those to be sent, in order.
    waiting: VecDeque<Ticket>,
    /// Those of the queue that were found done while others were looked for, and who waits for one.
    done: VecDeque<Ticket>,
    queue: Option<Waker>,
    /// How many were begun.
    begun: u64,
    /// Pages that are free because nobody waits for what they held.
    freed: Vec<u16>,
}

impl Operations {
    /// Begins one without a buffer, to be sent by and by. The queue is told of its end if it is `queued`.
    pub(super) fn add(
        &mut self,
        kind: BlockOp,
        sector: u64,
        sectors: u64,
        pages: Vec<u16>,
        queued: bool,
    ) -> Ticket {
        let at = self.take_place(sectors, pages, queued);
        self.begin(at, kind, sector)
    }

    #[inline]
    fn take_place(&mut self, sectors: u64, pages: Vec<u16>, queued: bool) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| self.more());
        if let Some(place) = self.places.get_mut(at as usize) {
            (place.sectors, place.pages, place.queued) = (sectors, pages, queued);
            (place.abandoned, place.buffer) = (false, false);
        }
        at
    }

    /// Makes one more place.
    #[cold]
    fn more(&mut self) -> u32 {
        self.places.push(Operation::none());
        (self.places.len() - 1) as u32
    }

    /// Begins the operation of a place.
    #[inline]
    fn begin(&mut self, at: u32, kind: BlockOp, sector: u64) -> Ticket {
        let ticket = Ticket::new(at, self.begun);
        if let Some(place) = self.places.get_mut(at as usize) {
            (place.kind, place.sector, place.number) = (kind, sector, self.begun);
            place.state = State::Waiting;
            self.waiting.push_back(ticket);
        }
        self.begun += 1;
        ticket
    }

    /// Makes a buffer of pages for so many sectors, whose operations may go straight into the ring if there is a disk of so many
    /// sectors.
    pub(super) fn hold<G: SharedPage>(
        &mut self,
        sectors: u64,
        list: Vec<u16>,
        (capacity, pages): (Option<u64>, &Pages<G>),
    ) -> Buffer {
        let at = self.take_place(sectors, list, true);
        if let Some(place) = self.places.get_mut(at as usize) {
            (place.state, place.buffer, place.straight_end) = (State::Held, true, 0);
            self.buffers += 1;
            if let Some(capacity) = capacity {
                place.allow_straight(capacity, pages);
            }
        }
        Buffer::new(at)
    }

    /// What a buffer is, while no operation has it.
    pub(super) fn held(&self, buffer: &Buffer) -> Option<&Operation> {
        self.places.get(buffer.place()).filter(|place| place.state == State::Held)
    }

    /// Ends a buffer, and returns its pages.
    pub(super) fn let_go(&mut self, buffer: &Buffer) -> Vec<u16> {
        if self.held(buffer).is_some() { self.end(buffer.place() as u32) } else { Vec::new() }
    }

    /// Begins one with a buffer, to be sent by and by.
    pub(super) fn begin_held(&mut self, buffer: &Buffer, kind: BlockOp, sector: u64) -> Ticket {
        self.begin(buffer.place() as u32, kind, sector)
    }

    /// Lets operations with buffers go straight into the ring of a new connection, to a disk of so many sectors.
    pub(super) fn allow_straight<G: SharedPage>(&mut self, capacity: u64, pages: &Pages<G>) {
        for place in self.places.iter_mut().filter(|place| place.buffer) {
            place.allow_straight(capacity, pages);
        }
    }

    /// Begins one with a buffer that may begin at this sector and overtakes nothing, if `send` puts it into the ring as it is; otherwise
    /// nothing changes.
    #[inline(always)]
    pub(super) fn begin_straight(
        &mut self,
        buffer: &Buffer,
        (kind, sector): (BlockOp, u64),
        send: impl FnOnce(Ticket, &Operation) -> Result<(), Full>,
    ) -> Option<Ticket> {
        let place = self.places.get_mut(buffer.place())?;
        if sector >= place.straight_end || !self.waiting.is_empty() {
            return None;
        }
        let ticket = Ticket::new(buffer.place() as u32, self.begun);
        send(ticket, place).ok()?;
        (place.kind, place.sector, place.number) = (kind, sector, self.begun);
        place.state = State::Straight;
        self.begun += 1;
        Some(ticket)
    }

    /// The end of one that went straight into the ring and is done, and its bytes; nothing of any other answer.
    #[inline(always)]
    pub(super) fn end_straight(&mut self, answer: &BlockResponse) -> Option<(Done, u64)> {
        let ticket = Ticket::from_id(answer.id);
        let place = self.places.get_mut(ticket.place as usize)?;
        if place.state != State::Straight
            || place.number as u32 != ticket.number
            || answer.status != BlockStatus::Okay.raw()
        {
            return None;
        }
        place.state = State::Held;
        let bytes = place.sectors * SECTOR_BYTES as u64;
        Some((Done { ticket, result: Ok(()), buffer: Some(Buffer::new(ticket.place)) }, bytes))
    }

    /// Whether one of the queue was found done.
    #[inline(always)]
    pub(super) fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// Takes one of the queue that was found done.
    #[cold]
    #[inline(never)]
    pub(super) fn take_done(&mut self) -> Option<Done> {
        loop {
            let ticket = self.done.pop_front()?;
            let Some(place) = self.get_mut(ticket) else { continue };
            let Operation { state: State::Done(result), queued: true, buffer, .. } = *place else { continue };
            let buffer = if buffer {
                place.state = State::Held;
                place.waker = None;
                Some(Buffer::new(ticket.place))
            } else {
                self.remove(ticket);
                None
            };
            return Some(Done { ticket, result, buffer });
        }
    }

    /// Has `waker` woken when one of the queue is done.
    pub(super) fn await_queue(&mut self, waker: &Waker) {
        if !self.queue.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.queue = Some(waker.clone());
        }
    }

    /// Whether somebody waits for one of the queue.
    pub(super) const fn is_queue_awaited(&self) -> bool {
        self.queue.is_some()
    }

    /// Wakes whoever waits for one of the queue.
    pub(super) fn wake_queue(&mut self) {
        if let Some(waker) = self.queue.take() {
            waker.wake();
        }
    }

    /// Those that are open and of which this holds.
    fn which(&self, holds: impl Fn(&Operation) -> bool) -> Vec<Ticket> {
        (0..)
            .zip(&self.places)
            .filter(|(_, place)| place.is_open() && holds(place))
            .map(|(at, place)| Ticket::new(at, place.number))
            .collect()
    }

    /// All of the queue whose results were not taken.
    pub(super) fn queued(&self) -> Vec<Ticket> {
        self.which(|one| one.queued && !one.abandoned)
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.places.iter().filter(|place| place.is_open()).count()
    }

    /// Whether there is none.
    pub(super) fn is_idle(&self) -> bool {
        !self.places.iter().any(Operation::is_open)
    }

    /// How many there are without a buffer.
    pub(super) const fn without_buffers(&self) -> usize {
        self.places.len() - self.free.len() - self.buffers
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Operation> {
        let place = self.places.get(ticket.place as usize)?;
        (place.number as u32 == ticket.number && place.is_open()).then_some(place)
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Operation> {
        let place = self.places.get_mut(ticket.place as usize)?;
        (place.number as u32 == ticket.number && place.is_open()).then_some(place)
    }

    /// The next to be sent.
    #[inline]
    pub(super) fn next_waiting(&mut self) -> Option<(Ticket, &mut Operation)> {
        let ticket = *self.waiting.front()?;
        Some((ticket, self.get_mut(ticket)?))
    }

    /// Notes that the next one was sent, as its state says.
    pub(super) fn sent(&mut self) {
        self.waiting.pop_front();
    }

    /// Notes the answer to one that was sent and wakes whoever waits for it; returns the bytes that it carried, and nothing if
    /// it was not sent. Pages may be free then.
    pub(super) fn answer_sent(&mut self, ticket: Ticket, result: Result<(), DiskFault>) -> Option<u64> {
        let operation = self.get_mut(ticket)?;
        if !matches!(operation.state, State::Sent | State::Straight) {
            return None;
        }
        let carried = operation.kind != BlockOp::Discard && result.is_ok();
        let bytes = if carried { operation.sectors * SECTOR_BYTES as u64 } else { 0 };
        self.answer(ticket, result);
        Some(bytes)
    }

    /// Notes the end of one and wakes whoever waits for it. Pages may be free then.
    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<(), DiskFault>) {
        let Some(operation) = self.get_mut(ticket) else { return };
        operation.state = State::Done(result);
        if let Some(waker) = operation.waker.take() {
            waker.wake();
        }
        let (segments, abandoned, queued) =
            (operation.segment_page.take(), operation.abandoned, operation.queued);
        if abandoned {
            let pages = self.remove(ticket);
            self.freed.extend(pages);
        } else if queued {
            self.done.push_back(ticket);
            self.wake_queue();
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
        let Some(operation) = self.get_mut(ticket) else { return };
        if operation.state == State::Straight {
            // Somebody beside the queue wants to know.
            operation.state = State::Sent;
        }
        if !operation.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            operation.waker = Some(waker.clone());
        }
    }

    /// Forgets an operation and returns its pages; one that the back end has is forgotten when it is answered.
    pub(super) fn abandon(&mut self, ticket: Ticket) -> Vec<u16> {
        match self.get_mut(ticket) {
            Some(operation) if matches!(operation.state, State::Sent | State::Straight) => {
                operation.state = State::Sent;
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

    /// Removes an operation, with its buffer if it has one, and returns its pages.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Vec<u16> {
        if self.get(ticket).is_some() { self.end(ticket.place) } else { Vec::new() }
    }

    /// Has a place be nobody's, and returns its pages.
    fn end(&mut self, at: u32) -> Vec<u16> {
        let Some(place) = self.places.get_mut(at as usize) else { return Vec::new() };
        self.buffers -= usize::from(core::mem::take(&mut place.buffer));
        self.free.push(at);
        place.end()
    }

    /// Has all that was sent and not answered sent again, in the order in which it was begun. Pages may be free then.
    pub(super) fn send_again(&mut self) {
        let mut again: Vec<(u64, Ticket)> = Vec::new();
        for ticket in self.which(|one| !matches!(one.state, State::Done(_))) {
            let Some(operation) = self.get_mut(ticket) else { continue };
            // Who gave up a read does not need it; a write may be half done and is completed.
            if operation.abandoned && operation.kind == BlockOp::Read {
                let pages = self.remove(ticket);
                self.freed.extend(pages);
                continue;
            }
            operation.state = State::Waiting;
            again.push((operation.number, ticket));
            let segments = operation.segment_page.take();
            self.freed.extend(segments);
        }
        again.sort_unstable_by_key(|(number, _)| *number);
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
