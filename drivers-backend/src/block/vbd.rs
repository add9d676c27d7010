//! One front end as its back end sees it: connection states, ring and counters.
//! Whatever it does wrong ends here, in its own record.

use hypercall_abi::blkif::{Block, BlockRequest, BlockResponse, BlockStatus};
use hypercall_abi::device::{BlockCounters, BlockError, BlockPage, DiskFacts, XenbusState, block_features};
use hypercall_abi::extension::RingSide;
use hypercall_abi::ring::{BackRing, Notify, SharedPage};
use hypercall_abi::{DomId, Port};

use super::credit::Credit;
use super::jobs::Done;
use super::lent::Lent;
use super::share::Share;
use crate::link::{Link, Next, Step};
use crate::platform::Platform;
use crate::traced::trace;

/// A front end's number: its index in the device directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VbdId(pub u16);

impl From<VbdId> for usize {
    fn from(id: VbdId) -> Self {
        Self::from(id.0)
    }
}

/// What the device directory says of a front end.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its domain.
    pub peer: DomId,
    /// Our port for changes of state.
    pub state_port: Port,
    /// Whether ring indices may save notifications; false notifies always.
    pub suppress: bool,
    /// What it may do.
    pub share: Share,
}

/// The ring and the port of one connection.
#[derive(Debug)]
pub(super) struct Wire<G> {
    pub(super) ring: BackRing<G, Block>,
    pub(super) port: Port,
    /// Pages of the front end's that are mapped for good.
    pub(super) lent: Lent<G>,
}

impl<G: SharedPage> Wire<G> {
    /// Puts an answer into the ring.
    #[inline]
    pub(super) fn answer(&mut self, id: u64, operation: u8, status: BlockStatus) {
        let response = BlockResponse { id, operation, pad: 0, status: status.raw(), pad2: 0 };
        let _full = self.ring.push(&response);
    }
}

/// One front end.
#[derive(Debug)]
pub(super) struct Vbd<G> {
    pub(super) client: Client,
    page: BlockPage<G>,
    facts: DiskFacts,
    /// Place of its disk among those of the back end.
    pub(super) shelf: usize,
    pub(super) link: Link<Wire<G>>,
    pub(super) error: BlockError,
    pub(super) counters: BlockCounters,
    /// Wrong requests since the last right one.
    pub(super) wrong: u32,
    /// Requests of this connection that are under way.
    pub(super) in_flight: u32,
    /// Pages that they hold.
    pub(super) pages: usize,
    /// A request that was taken and has to wait.
    pub(super) held: Option<BlockRequest>,
    /// A barrier is under way: nothing else begins.
    pub(super) barrier: bool,
    /// The connection has ended for this, and the front end hears of it when no device has a page of its any more.
    draining: Option<BlockError>,
    /// What it may have done for it.
    pub(super) credit: Credit,
}

impl<G: SharedPage> Vbd<G> {
    /// Takes up a front end and says that we are ready.
    pub(super) fn new<P: Platform<Page = G>>(
        platform: &mut P,
        client: Client,
        page: G,
        facts: DiskFacts,
        shelf: usize,
    ) -> Self {
        let mut vbd = Self {
            client,
            page: BlockPage::back(page),
            facts,
            shelf,
            link: Link::Waiting,
            error: BlockError::None,
            counters: BlockCounters::default(),
            wrong: 0,
            in_flight: 0,
            pages: 0,
            held: None,
            barrier: false,
            draining: None,
            credit: Credit::default(),
        };
        vbd.page.set_facts(&vbd.facts);
        vbd.enter(platform, XenbusState::InitWait, BlockError::None);
        vbd
    }

    /// Writes into a device page that there is no disk.
    pub(super) fn refuse(page: G) -> G {
        let page = BlockPage::back(page);
        page.set_error(BlockError::Disk);
        page.set_state(XenbusState::Closed);
        page.into_page()
    }

    /// Looks at the front end's state and takes the step that follows.
    pub(super) fn step<P: Platform<Page = G>>(&mut self, platform: &mut P, lent: &mut usize) -> Step {
        if self.draining.is_some() {
            return Step::Same;
        }
        match self.link.next(self.page.other_state()) {
            Next::Stay => Step::Same,
            Next::Connect => match self.connect(platform) {
                Ok(port) => Step::Up(port),
                Err(error) => {
                    self.link = Link::Closed;
                    self.enter(platform, XenbusState::Closed, error);
                    Step::Moved
                }
            },
            Next::Close => self.close(platform, BlockError::None, lent),
            Next::Ready => {
                self.link = Link::Waiting;
                self.page.set_facts(&self.facts);
                self.enter(platform, XenbusState::InitWait, BlockError::None);
                Step::Moved
            }
        }
    }

    fn connect<P: Platform<Page = G>>(&mut self, platform: &mut P) -> Result<Port, BlockError> {
        let (ring, remote) = self.page.offered();
        let peer = self.client.peer;
        let page = platform.map(peer, ring).map_err(|_| BlockError::Ring)?;
        let Ok(port) = platform.bind_port(peer, remote) else {
            platform.unmap(page);
            return Err(BlockError::Port);
        };
        let lent = Lent::new(self.page.promised() & block_features::PERSISTENT != 0);
        self.link = Link::Connected(Wire { ring: BackRing::attach(page), port, lent });
        (self.wrong, self.in_flight, self.pages) = (0, 0, 0);
        (self.held, self.barrier) = (None, false);
        self.enter(platform, XenbusState::Connected, BlockError::None);
        Ok(port)
    }

    /// Lets go of everything of the front end's, then says why; if a device has some of its pages, after [`Self::drained`].
    /// `lent` counts the pages of all connections.
    pub(super) fn close<P: Platform<Page = G>>(
        &mut self,
        platform: &mut P,
        error: BlockError,
        lent: &mut usize,
    ) -> Step {
        let Some(wire) = self.link.close() else { return Step::Same };
        platform.close_port(wire.port);
        platform.unmap(wire.ring.into_page());
        if wire.lent.let_go(platform, lent) > 0 {
            self.draining = Some(error);
            self.enter(platform, XenbusState::Closing, error);
        } else {
            self.enter(platform, XenbusState::Closed, error);
        }
        Step::Down(wire.port)
    }

    /// Notes that no device has a page of the connection that has ended.
    pub(super) fn drained<P: Platform<Page = G>>(&mut self, platform: &mut P) {
        if let Some(error) = self.draining.take() {
            self.enter(platform, XenbusState::Closed, error);
        }
    }

    /// Gives the device page back; the front end is gone.
    pub(super) fn end<P: Platform<Page = G>>(mut self, platform: &mut P, lent: &mut usize) -> Step {
        let step = self.close(platform, BlockError::None, lent);
        platform.unmap(self.page.into_page());
        step
    }

    /// Notes that requests are answered, all of them with this; true when one waits that may begin now.
    #[inline]
    pub(super) fn done(&mut self, done: &Done, status: BlockStatus) -> bool {
        self.in_flight = self.in_flight.saturating_sub(done.requests);
        self.pages = self.pages.saturating_sub(done.pages);
        if self.in_flight == 0 {
            self.barrier = false;
        }
        if status == BlockStatus::Okay {
            self.wrong = 0;
            self.counters.bytes += done.bytes;
        }
        self.count(done.requests, status);
        self.held.is_some()
    }

    /// Counts answers.
    pub(super) fn count(&mut self, requests: u32, status: BlockStatus) {
        self.counters.requests += u64::from(requests);
        if status != BlockStatus::Okay {
            self.counters.failed += u64::from(requests);
        }
    }

    /// Answers a request; the front end sees it after [`Self::publish`].
    pub(super) fn answer(&mut self, id: u64, operation: u8, status: BlockStatus) {
        if let Some(wire) = self.link.mapped() {
            wire.answer(id, operation, status);
        }
    }

    /// Shows the front end our responses, and tells it if it asked for that.
    pub(super) fn publish<P: Platform<Page = G>>(&mut self, platform: &mut P) {
        let suppress = self.client.suppress;
        let Some(wire) = self.link.mapped() else { return };
        let notify = wire.ring.publish().with(suppress);
        if platform.traces_rings() && wire.ring.has_moved() {
            trace(platform, &mut wire.ring, RingSide::BackBlock, self.client.peer, notify);
        }
        match notify {
            Notify::Nothing => return,
            Notify::Suppressed => self.counters.suppressed += 1,
            Notify::Needed => {
                self.counters.notified += 1;
                platform.notify(wire.port);
            }
        }
        self.page.set_counters(&self.counters);
    }

    fn enter<P: Platform<Page = G>>(&mut self, platform: &mut P, state: XenbusState, error: BlockError) {
        self.error = error;
        self.page.set_error(error);
        self.page.set_counters(&self.counters);
        self.page.set_state(state);
        platform.notify(self.client.state_port);
    }
}
