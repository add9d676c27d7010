//! A back end that lies: answers, indices, states, what it says of the disk, and pages that it does not let go of.

use alloc::vec::Vec;

use drivers_backend::Platform;
use fastrand::Rng;
use hypercall_abi::blkif::{Block, BlockRequest, BlockResponse};
use hypercall_abi::device::{BlockError, BlockPage, DiskFacts, XenbusState, block_features};
use hypercall_abi::grant_table::GrantStatus;
use hypercall_abi::ring::{HEADER_BYTES, Protocol, SharedPage, index};
use hypercall_abi::{DomId, GrantRef, PAGE_SIZE, Port};
use zerocopy::{FromBytes, IntoBytes};

/// Pages of front ends that are held beside rings.
const HELD_MAX: usize = 8;
/// Requests kept back, to be answered later or never.
const KEPT_MAX: usize = 64;
/// Words of a half of a device page.
const HALF_WORDS: usize = 32;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackLies {
    /// Requests answered as they should be, but for their data.
    pub answers: u64,
    /// Things done that no back end should do.
    pub lies: u64,
    /// Connections taken up.
    pub connections: u64,
}

#[derive(Debug)]
struct Wire<G> {
    ring: G,
    port: Port,
    taken: u32,
    answered: u32,
    /// Identifiers and operations of requests that have no answer yet.
    kept: Vec<(u64, u8)>,
}

#[derive(Debug)]
struct Client<G> {
    peer: DomId,
    state_port: Port,
    page: G,
    sectors: u64,
    wire: Option<Wire<G>>,
}

/// A bad back end, for any number of front ends.
#[derive(Debug)]
pub struct BadBack<P: Platform> {
    platform: P,
    random: Rng,
    clients: Vec<Client<P::Page>>,
    held: Vec<P::Page>,
    lies: BackLies,
}

impl<P: Platform> BadBack<P> {
    /// A back end without front ends.
    pub const fn new(platform: P, seed: u64) -> Self {
        let random = Rng::with_seed(seed);
        let lies = BackLies { answers: 0, lies: 0, connections: 0 };
        Self { platform, random, clients: Vec::new(), held: Vec::new(), lies }
    }

    /// Takes up a front end that granted us its device page, with a disk of so many sectors.
    ///
    /// # Errors
    /// Why the page cannot be mapped.
    pub fn add(
        &mut self,
        peer: DomId,
        state_port: Port,
        page: GrantRef,
        sectors: u64,
    ) -> Result<(), GrantStatus> {
        let page = self.platform.map(peer, page)?;
        let client = Client { peer, state_port, page, sectors, wire: None };
        client.be_ready();
        self.platform.notify(state_port);
        self.clients.push(client);
        Ok(())
    }

    /// What was counted.
    #[must_use]
    pub const fn lies(&self) -> BackLies {
        self.lies
    }

    /// Does something for each front end, right more often than wrong. It may be called at any time.
    pub fn turn(&mut self) {
        let mut clients = core::mem::take(&mut self.clients);
        for client in &mut clients {
            self.step(client);
            self.serve(client);
            if self.random.u32(0..24) == 0 {
                self.lies.lies += 1;
                self.lie(client);
            }
        }
        self.clients = clients;
        if self.random.u32(0..16) == 0
            && let Some(page) = self.held.pop()
        {
            self.platform.unmap(page);
        }
    }

    /// Lets go of everything, as the hypervisor would for a domain that dies.
    pub fn end(mut self) {
        for page in self.held.drain(..) {
            self.platform.unmap(page);
        }
        for client in self.clients.drain(..) {
            if let Some(wire) = client.wire {
                self.platform.unmap(wire.ring);
                self.platform.close_port(wire.port);
            }
            self.platform.unmap(client.page);
        }
    }

    /// The step that the front end's state asks for, mostly.
    fn step(&mut self, client: &mut Client<P::Page>) {
        use XenbusState as S;
        match (&client.wire, client.half().other_state()) {
            (None, S::Initialised) => match self.random.u32(0..12) {
                0 => self.enter(client, S::Closed),
                1 => self.enter(client, S::Connected),
                _ => self.connect(client),
            },
            (None, S::Initialising) => {
                client.be_ready();
                self.platform.notify(client.state_port);
            }
            (None, S::Connected | S::Closing) => self.enter(client, S::Closed),
            (Some(_), S::Initialised | S::Connected) | (None, S::Closed | S::Unknown | S::InitWait) => {}
            (Some(_), _) => self.close(client),
        }
    }

    fn connect(&mut self, client: &mut Client<P::Page>) {
        let (ring, remote) = client.half().offered();
        let Ok(ring) = self.platform.map(client.peer, ring) else { return };
        let Ok(port) = self.platform.bind_port(client.peer, remote) else {
            self.platform.unmap(ring);
            return;
        };
        self.lies.connections += 1;
        client.wire = Some(Wire { ring, port, taken: 0, answered: 0, kept: Vec::new() });
        self.enter(client, XenbusState::Connected);
    }

    /// Ends a connection, and may keep the ring.
    fn close(&mut self, client: &mut Client<P::Page>) {
        let Some(wire) = client.wire.take() else { return };
        self.platform.close_port(wire.port);
        if self.held.len() < HELD_MAX && self.random.u32(0..4) == 0 {
            self.lies.lies += 1;
            self.held.push(wire.ring);
        } else {
            self.platform.unmap(wire.ring);
        }
        self.enter(client, XenbusState::Closed);
    }

    fn enter(&mut self, client: &Client<P::Page>, state: XenbusState) {
        client.half().set_state(state);
        self.platform.notify(client.state_port);
    }

    /// Takes requests and answers them: not all, not in order, and a few of them falsely.
    fn serve(&mut self, client: &mut Client<P::Page>) {
        let Some(wire) = &mut client.wire else { return };
        let asked = wire.ring.load_acquire(index::REQ_PROD);
        for _ in 0..asked.wrapping_sub(wire.taken).min(Block::SLOTS) {
            let mut bytes = [0; size_of::<BlockRequest>()];
            let at = HEADER_BYTES + (wire.taken % Block::SLOTS) as usize * Block::SLOT_BYTES;
            wire.ring.copy_out(at, &mut bytes);
            wire.taken = wire.taken.wrapping_add(1);
            let Ok(request) = BlockRequest::read_from_bytes(&bytes) else { continue };
            if self.random.u32(0..200) == 0 || wire.kept.len() >= KEPT_MAX {
                // It is never answered.
                self.lies.lies += 1;
                continue;
            }
            wire.kept.push((request.id, request.operation));
            if self.random.u32(0..60) == 0 && self.held.len() < HELD_MAX {
                let reference = GrantRef(request.segment.first().map_or(0, |segment| segment.gref));
                if let Ok(page) = self.platform.map(client.peer, reference) {
                    self.lies.lies += 1;
                    self.held.push(page);
                }
            }
        }
        if self.random.u32(0..3) == 0 {
            self.random.shuffle(&mut wire.kept);
        }
        let now = self.random.usize(0..=wire.kept.len());
        for (mut id, operation) in wire.kept.drain(..now) {
            let mut status = 0;
            let mut times = 1;
            match self.random.u32(0..400) {
                0 => id = self.random.u64(..),
                1 => id ^= 1 << self.random.u32(0..64),
                2 => times = 2,
                3..12 => status = self.random.i16(..),
                _ => {}
            }
            let honest = status == 0 && times == 1;
            self.lies.answers += u64::from(honest);
            self.lies.lies += u64::from(!honest);
            for _ in 0..times {
                let response = BlockResponse { id, operation, pad: 0, status, pad2: 0 };
                let at = HEADER_BYTES + (wire.answered % Block::SLOTS) as usize * Block::SLOT_BYTES;
                wire.ring.copy_in(at, response.as_bytes());
                wire.answered = wire.answered.wrapping_add(1);
            }
        }
        wire.ring.store_release(index::RSP_PROD, wire.answered);
        wire.ring.store(index::REQ_EVENT, wire.taken.wrapping_add(1));
        self.platform.notify(wire.port);
    }

    /// One thing that no back end should do.
    fn lie(&mut self, client: &mut Client<P::Page>) {
        let word = if self.random.bool() { self.random.u32(0..64) } else { self.random.u32(..) };
        match (self.random.u32(0..9), &mut client.wire) {
            (0, Some(wire)) => wire.ring.store(index::RSP_PROD, word),
            (1, Some(wire)) => wire.ring.store(self.random.usize(0..PAGE_SIZE / 4) * 4, word),
            (2, Some(wire)) => wire.answered = wire.answered.wrapping_add(word),
            (3, _) => client.page.store(PAGE_SIZE / 2 + self.random.usize(0..HALF_WORDS) * 4, word),
            // What the front end wrote itself, and should not read back.
            (4, _) => client.page.store(self.random.usize(0..HALF_WORDS) * 4, word),
            (5, _) => {
                let state = XenbusState::from_raw(word % 8).unwrap_or(XenbusState::Unknown);
                self.enter(client, state);
            }
            (6, _) => {
                client.half().set_error(BlockError::Requests);
                self.close(client);
            }
            (7, _) => {
                if let Ok(page) = self.platform.map(client.peer, GrantRef(word)) {
                    self.platform.unmap(page);
                }
            }
            _ => (0..word % 32).for_each(|_| self.platform.notify(client.state_port)),
        }
    }
}

impl<G: SharedPage> Client<G> {
    fn half(&self) -> BlockPage<&G> {
        BlockPage::back(&self.page)
    }

    /// Says what the disk is, and that a front end may connect.
    fn be_ready(&self) {
        let features = block_features::FLUSH | block_features::BARRIER | block_features::PERSISTENT;
        let half = self.half();
        half.set_facts(&DiskFacts { sectors: self.sectors, features, segments_max: 64 });
        half.set_error(BlockError::None);
        half.set_state(XenbusState::InitWait);
    }
}
