//! Operations that were begun: what they want, which pages hold their data, how far they are.
//! An operation stays here, with its data, until its owner has taken its result.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::Waker;

use hypercall_abi::blkif::BlockOp;

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
    /// Bytes of its buffer, if the queue is told of its end.
    queued: Option<usize>,
    waker: Option<Waker>,
}

/// One of the queue that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ticket: Ticket,
    pub(super) result: Result<(), DiskFault>,
    pub(super) pages: Vec<u16>,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    operation: Option<Operation>,
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
}

impl Operations {
    pub(super) fn add(&mut self, kind: BlockOp, sector: u64, sectors: u64, pages: Vec<u16>) -> Ticket {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let operation = Operation {
            kind,
            sector,
            sectors,
            pages,
            segments: None,
            state: State::Waiting,
            order: self.next,
            abandoned: false,
            queued: None,
            waker: None,
        };
        self.next += 1;
        let mut generation = 0;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.generation = place.generation.wrapping_add(1);
            generation = place.generation;
            place.operation = Some(operation);
        }
        let ticket = Ticket { slot, generation };
        self.waiting.push_back(ticket);
        ticket
    }

    /// The same for one whose end the queue is told; it has a buffer of so many bytes.
    pub(super) fn add_queued(
        &mut self,
        kind: BlockOp,
        sector: u64,
        sectors: u64,
        pages: Vec<u16>,
        bytes: usize,
    ) -> Ticket {
        let ticket = self.add(kind, sector, sectors, pages);
        if let Some(operation) = self.get_mut(ticket) {
            operation.queued = Some(bytes);
        }
        ticket
    }

    /// Takes one of the queue that is done: its result, pages and bytes.
    pub(super) fn take_done(&mut self) -> Option<Ended> {
        loop {
            let ticket = self.done.pop_front()?;
            let Some(&Operation { state: State::Done(result), queued: Some(bytes), .. }) = self.get(ticket)
            else {
                continue;
            };
            return Some(Ended { ticket, result, pages: self.remove(ticket), bytes });
        }
    }

    /// Has `waker` woken when one of the queue is done.
    pub(super) fn wake_queue(&mut self, waker: &Waker) {
        if !self.queue.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.queue = Some(waker.clone());
        }
    }

    /// All of the queue whose results were not taken.
    pub(super) fn queued(&self) -> Vec<Ticket> {
        let is_queued =
            |place: &Slot| place.operation.as_ref().is_some_and(|one| one.queued.is_some() && !one.abandoned);
        (0..)
            .zip(&self.slots)
            .filter(|(_, place)| is_queued(place))
            .map(|(slot, place)| Ticket { slot, generation: place.generation })
            .collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Operation> {
        let slot = self.slots.get(ticket.slot as usize)?;
        slot.operation.as_ref().filter(|_| slot.generation == ticket.generation)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Operation> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        slot.operation.as_mut().filter(|_| slot.generation == ticket.generation)
    }

    /// The next to be sent.
    pub(super) fn next_waiting(&mut self) -> Option<Ticket> {
        self.waiting.front().copied()
    }

    /// Notes that the next one was sent.
    pub(super) fn sent(&mut self) {
        if let Some(ticket) = self.waiting.pop_front()
            && let Some(operation) = self.get_mut(ticket)
        {
            operation.state = State::Sent;
        }
    }

    /// Notes an answer and wakes whoever waits for it; returns the pages that are free because nobody does.
    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<(), DiskFault>) -> Vec<u16> {
        let Some(operation) = self.get_mut(ticket) else { return Vec::new() };
        operation.state = State::Done(result);
        let (segments, abandoned) = (operation.segments.take(), operation.abandoned);
        if let Some(waker) = operation.waker.take() {
            waker.wake();
        }
        if operation.queued.is_some() && !abandoned {
            self.done.push_back(ticket);
            if let Some(waker) = self.queue.take() {
                waker.wake();
            }
        }
        let mut free = if abandoned { self.remove(ticket) } else { Vec::new() };
        free.extend(segments);
        free
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
        if slot.generation != ticket.generation {
            return Vec::new();
        }
        let Some(operation) = slot.operation.take() else { return Vec::new() };
        self.free.push(ticket.slot);
        let mut pages = operation.pages;
        pages.extend(operation.segments);
        pages
    }

    /// Has all that was sent and not answered sent again, in the order in which it was begun. Returns pages that are free.
    pub(super) fn send_again(&mut self) -> Vec<u16> {
        let mut free = Vec::new();
        let mut again: Vec<(u64, Ticket)> = Vec::new();
        let mut forgotten = Vec::new();
        for (slot, place) in (0..).zip(&mut self.slots) {
            let Some(operation) = &mut place.operation else { continue };
            let ticket = Ticket { slot, generation: place.generation };
            if operation.state == State::Sent {
                operation.state = State::Waiting;
                free.extend(operation.segments.take());
                // Who gave up a read does not need it; a write may be half done and is completed.
                if operation.abandoned && operation.kind == BlockOp::Read {
                    forgotten.push(ticket);
                    continue;
                }
            }
            if operation.state == State::Waiting {
                again.push((operation.order, ticket));
            }
        }
        for ticket in forgotten {
            free.extend(self.remove(ticket));
        }
        again.sort_unstable_by_key(|(order, _)| *order);
        self.waiting = again.into_iter().map(|(_, ticket)| ticket).collect();
        free
    }

    /// Ends all that is not done. Returns pages that are free.
    pub(super) fn fail_all(&mut self, fault: DiskFault) -> Vec<u16> {
        self.waiting.clear();
        let open: Vec<Ticket> = (0..)
            .zip(&self.slots)
            .filter(|(_, place)| {
                place.operation.as_ref().is_some_and(|one| !matches!(one.state, State::Done(_)))
            })
            .map(|(slot, place)| Ticket { slot, generation: place.generation })
            .collect();
        open.into_iter().flat_map(|ticket| self.answer(ticket, Err(fault))).collect()
    }
}
