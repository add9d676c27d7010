//! A front end that lies: rings, indices, requests, grants, states and its device page.

use alloc::vec::Vec;
use core::mem::offset_of;

use drivers_frontend::{Access, Platform};
use fastrand::Rng;
use hypercall_abi::blkif::{Block, BlockOp};
use hypercall_abi::device::{BACK_HALF, BlockHalf, BlockPage, XenbusState, block_features};
use hypercall_abi::ring::{FrontRing, HEADER_BYTES, Protocol, SharedPage, index};
use hypercall_abi::{DomId, Errno, GrantRef, PAGE_SIZE, Port};
use zerocopy::IntoBytes;

use crate::requests::Names;

/// Pages for data and lists.
const PAGES: usize = 6;
/// References that are remembered, those that were taken back included.
const REMEMBERED: usize = 16;
/// The first of the acts that leave a connection as it is.
const STATES_AND_INDICES: u32 = 5;
/// Words of a device page that mean something: its two halves are at 0 and in the middle.
const HALF_WORDS: usize = 32;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontLies {
    /// Things done.
    pub acts: u64,
    /// Requests put into the ring.
    pub requests: u64,
    /// Connections that the back end took up.
    pub connections: u64,
    /// Of them, those that it ended for what was done.
    pub ended: u64,
}

/// A bad front end.
#[derive(Debug)]
pub struct BadFront<P: Platform, M> {
    platform: P,
    device: M,
    peer: DomId,
    state_port: Port,
    random: Rng,
    ring: (P::Page, GrantRef),
    port: Port,
    pages: Vec<(P::Page, Option<GrantRef>)>,
    references: Vec<u32>,
    asked: u32,
    connected: bool,
    settling: bool,
    /// It keeps its connection and asks for nothing that can be done.
    stubborn: bool,
    lies: FrontLies,
}

impl<P: Platform, M: SharedPage> BadFront<P, M> {
    /// A front end over this device page, whose changes of state go to `peer` by `state_port`.
    ///
    /// # Errors
    /// [`Errno::NoMem`] or [`Errno::NoSpc`] when there are no pages, references or ports.
    pub fn new(mut platform: P, device: M, peer: DomId, state_port: Port, seed: u64) -> Result<Self, Errno> {
        let page = platform.allocate()?;
        let reference = platform.grant(&page, peer, Access::ReadWrite)?;
        let port = platform.open_port(peer)?;
        let mut random = Rng::with_seed(seed);
        let stubborn = random.u32(0..4) == 0;
        let mut front = Self {
            platform,
            device,
            peer,
            state_port,
            random,
            ring: (page, reference),
            port,
            pages: Vec::new(),
            references: Vec::new(),
            asked: 0,
            connected: false,
            settling: false,
            stubborn,
            lies: FrontLies::default(),
        };
        for at in 0..PAGES {
            let page = front.platform.allocate()?;
            front.pages.push((page, None));
            front.give(at)?;
        }
        front.enter(XenbusState::Initialising);
        Ok(front)
    }

    /// What was counted.
    #[must_use]
    pub const fn lies(&self) -> FrontLies {
        self.lies
    }

    /// Does one thing, wrong more often than not.
    pub fn act(&mut self) {
        self.lies.acts += 1;
        if self.random.u32(0..4) > 0 {
            self.step();
        }
        let first = if self.stubborn { STATES_AND_INDICES } else { 0 };
        match self.random.u32(first..32) {
            0 => {
                let index = self.random.u32(..);
                self.ring.0.store(index::REQ_PROD, index);
            }
            1 => {
                let (at, word) = (self.random.usize(0..PAGE_SIZE / 4) * 4, self.random.u32(..));
                self.ring.0.store(at, word);
            }
            2 => {
                let more = self.random.u32(0..40);
                let asked = self.ring.0.load(index::REQ_PROD);
                self.ring.0.store(index::REQ_PROD, asked.wrapping_add(more));
            }
            3 => {
                let at = self.random.usize(0..HALF_WORDS) * 4 + self.random.usize(0..2) * (PAGE_SIZE / 2);
                let word = if self.random.bool() { self.random.u32(0..8) } else { self.random.u32(..) };
                self.device.store(at, word);
                self.platform.notify(self.state_port);
            }
            4 => {
                let state = XenbusState::from_raw(self.random.u32(0..7)).unwrap_or(XenbusState::Unknown);
                self.enter(state);
            }
            5 | 6 => self.take_back_or_give(),
            7 => {
                let events = self.random.u32(0..20);
                (0..events).for_each(|_| self.platform.notify(self.port));
            }
            8 => self.scribble(),
            _ => self.ask(),
        }
        self.platform.notify(self.port);
    }

    /// What the back end's half says.
    fn half(&self) -> BlockPage<&M> {
        BlockPage::front(&self.device)
    }

    fn enter(&mut self, state: XenbusState) {
        self.half().set_state(state);
        self.platform.notify(self.state_port);
    }

    /// Takes the step that an honest front end would take, with a chance of a false offer.
    fn step(&mut self) {
        match self.half().other_state() {
            XenbusState::InitWait => {
                self.connected = false;
                FrontRing::<_, Block>::new(&self.ring.0);
                self.asked = 0;
                let (mut reference, mut port) = (self.ring.1, self.port);
                if self.random.u32(0..12) == 0 {
                    reference = GrantRef(self.random.u32(..));
                }
                if self.random.u32(0..12) == 0 {
                    port = Port(self.random.u32(0..4096));
                }
                // A promise that it does not keep.
                let promise = if self.random.bool() { block_features::PERSISTENT } else { 0 };
                self.half().offer(reference, port, promise);
                self.enter(XenbusState::Initialised);
            }
            XenbusState::Connected if !self.connected => {
                self.connected = true;
                self.lies.connections += 1;
                self.enter(XenbusState::Connected);
            }
            XenbusState::Closed => {
                self.lies.ended += u64::from(self.connected && self.half().other_error() != 0);
                self.connected = false;
                self.enter(XenbusState::Initialising);
            }
            _ => {}
        }
    }

    /// Puts requests into the ring, whether there is room or not.
    fn ask(&mut self) {
        if self.random.bool() {
            self.scribble();
        }
        for _ in 0..self.random.u32(1..12) {
            let mut request = Names { references: &self.references }.request(&mut self.random);
            if self.stubborn {
                if self.asked.wrapping_sub(self.ring.0.load(index::RSP_PROD)) >= Block::SLOTS {
                    break;
                }
                request.operation = BlockOp::Read.raw();
                request.sector = u64::MAX;
            }
            let at = HEADER_BYTES + (self.asked % Block::SLOTS) as usize * Block::SLOT_BYTES;
            self.ring.0.copy_in(at, request.as_bytes());
            self.asked = self.asked.wrapping_add(1);
            self.lies.requests += 1;
        }
        self.ring.0.store_release(index::REQ_PROD, self.asked);
    }

    /// Writes a list of segments over a page that the back end may be reading one from.
    fn scribble(&mut self) {
        let list = Names { references: &self.references }.list(&mut self.random);
        let at = self.random.usize(0..PAGES);
        if let Some((page, _)) = self.pages.get(at) {
            page.copy_in(0, list.as_slice().as_bytes());
        }
    }

    /// Takes a page back while a request may name it, or gives it anew.
    fn take_back_or_give(&mut self) {
        let at = self.random.usize(0..PAGES);
        let Some((_, given)) = self.pages.get_mut(at) else { return };
        match given.take() {
            Some(reference) if self.platform.revoke(reference).is_err() => *given = Some(reference),
            Some(_) => {}
            None => {
                let _none_free = self.give(at);
            }
        }
    }

    fn give(&mut self, at: usize) -> Result<(), Errno> {
        let Some((page, given)) = self.pages.get_mut(at) else { return Ok(()) };
        let access = if self.random.u32(0..4) == 0 { Access::ReadOnly } else { Access::ReadWrite };
        let reference = self.platform.grant(page, self.peer, access)?;
        *given = Some(reference);
        if self.references.len() >= REMEMBERED {
            self.references.remove(0);
        }
        self.references.push(reference.0);
        Ok(())
    }

    /// Takes a step towards an end in good order; true when the back end has let go. To be called until then, with time for
    /// the back end in between: it writes its state, which may have been written over, only when that changes.
    pub fn settle(&mut self) -> bool {
        if self.settling && self.half().other_state() == XenbusState::Closed {
            return true;
        }
        self.settling = true;
        // From now on `Closed` is the back end's own word.
        self.device.store(BACK_HALF + offset_of!(BlockHalf, state), XenbusState::Unknown.raw());
        // An offer that cannot be taken is refused, whatever was before.
        self.half().offer(GrantRef(u32::MAX), Port(u32::MAX), 0);
        let states = [XenbusState::Closing, XenbusState::Initialising, XenbusState::Initialised];
        let state = self.random.choice(states).unwrap_or(XenbusState::Closing);
        self.enter(state);
        false
    }

    /// Takes everything back that was granted, and gives up the device page.
    ///
    /// # Errors
    /// Itself, while the back end has a page mapped.
    pub fn end(mut self) -> Result<M, Self> {
        let mut held = false;
        for (_, given) in &mut self.pages {
            if let Some(reference) = given.take()
                && self.platform.revoke(reference).is_err()
            {
                *given = Some(reference);
                held = true;
            }
        }
        if held || self.platform.revoke(self.ring.1).is_err() {
            return Err(self);
        }
        self.platform.close_port(self.port);
        self.enter(XenbusState::Closed);
        Ok(self.device)
    }
}
