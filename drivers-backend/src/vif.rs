//! One front end as its back end sees it: connection states, rings, queue and counters.
//! Whatever it does wrong ends here, in its own record.

use hypercall_abi::device::{NetCounters, NetError, NetPage, XenbusState};
use hypercall_abi::extension::RingSide;
use hypercall_abi::netif::{Receive, Transmit};
use hypercall_abi::ring::{BackRing, Notify, SharedPage};
use hypercall_abi::{DomId, Port};

use crate::MacAddress;
use crate::link::{Link, Next, Step};
use crate::platform::Platform;
use crate::queue::Queue;
use crate::traced::trace;

/// What the device directory says of a front end.
#[derive(Clone, Copy, Debug)]
pub struct FrontEnd {
    /// Its domain.
    pub peer: DomId,
    /// Our port for changes of state.
    pub state_port: Port,
    /// Its fixed hardware address.
    pub mac: MacAddress,
    /// Its IPv4 address; zeros for none.
    pub ipv4: [u8; 4],
    /// Its gateway; zeros for none.
    pub gateway: [u8; 4],
    /// Whether ring indices may save notifications; false notifies always.
    pub suppress: bool,
}

/// The rings and the port of one connection.
#[derive(Debug)]
pub(crate) struct Rings<G> {
    pub(crate) transmit: BackRing<G, Transmit>,
    pub(crate) receive: BackRing<G, Receive>,
    pub(crate) port: Port,
}

/// One front end.
#[derive(Debug)]
pub(crate) struct Vif<G> {
    pub(crate) front: FrontEnd,
    pub(crate) page: NetPage<G>,
    pub(crate) link: Link<Rings<G>>,
    pub(crate) error: NetError,
    pub(crate) counters: NetCounters,
    /// Packets for it.
    pub(crate) queue: Queue,
    /// Wrong requests since the last right one.
    pub(crate) wrong: u32,
    /// Pieces of work done for it that it has not been charged for.
    pub(crate) work: u32,
}

impl<G: SharedPage> Vif<G> {
    /// Takes up a front end and says that we are ready.
    pub(crate) fn new<P: Platform<Page = G>>(platform: &mut P, front: FrontEnd, page: G) -> Self {
        let mut vif = Self {
            front,
            page: NetPage::back(page),
            link: Link::Waiting,
            error: NetError::None,
            counters: NetCounters::default(),
            queue: Queue::default(),
            wrong: 0,
            work: 0,
        };
        vif.enter(platform, XenbusState::InitWait, NetError::None);
        vif
    }

    /// Looks at the front end's state and takes the step that follows.
    pub(crate) fn step<P: Platform<Page = G>>(&mut self, platform: &mut P) -> Step {
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
            Next::Close => self.close(platform, NetError::None),
            Next::Ready => {
                self.link = Link::Waiting;
                self.enter(platform, XenbusState::InitWait, NetError::None);
                Step::Moved
            }
        }
    }

    fn connect<P: Platform<Page = G>>(&mut self, platform: &mut P) -> Result<Port, NetError> {
        let (transmit, receive, remote) = self.page.offered();
        let peer = self.front.peer;
        let transmit = platform.map(peer, transmit).map_err(|_| NetError::TransmitRing)?;
        let receive = match platform.map(peer, receive) {
            Ok(receive) => receive,
            Err(_) => {
                platform.unmap(transmit);
                return Err(NetError::ReceiveRing);
            }
        };
        let Ok(port) = platform.bind_port(peer, remote) else {
            platform.unmap(transmit);
            platform.unmap(receive);
            return Err(NetError::Port);
        };
        let rings = Rings { transmit: BackRing::attach(transmit), receive: BackRing::attach(receive), port };
        self.link = Link::Connected(rings);
        self.wrong = 0;
        self.enter(platform, XenbusState::Connected, NetError::None);
        Ok(port)
    }

    /// Lets go of everything of the front end's, then says why.
    pub(crate) fn close<P: Platform<Page = G>>(&mut self, platform: &mut P, error: NetError) -> Step {
        let Some(rings) = self.link.close() else { return Step::Same };
        platform.close_port(rings.port);
        platform.unmap(rings.transmit.into_page());
        platform.unmap(rings.receive.into_page());
        self.enter(platform, XenbusState::Closed, error);
        Step::Down(rings.port)
    }

    /// Gives the device page back; the front end is gone.
    pub(crate) fn end<P: Platform<Page = G>>(mut self, platform: &mut P) -> Step {
        let step = self.close(platform, NetError::None);
        platform.unmap(self.page.into_page());
        step
    }

    /// Shows the front end our responses, and tells it if it asked for that: at most one notification for both rings.
    pub(crate) fn publish<P: Platform<Page = G>>(&mut self, platform: &mut P) {
        let suppress = self.front.suppress;
        let Some(rings) = self.link.mapped() else { return };
        let transmit = rings.transmit.publish().with(suppress);
        let receive = rings.receive.publish().with(suppress);
        if platform.traces_rings() {
            let peer = self.front.peer;
            if rings.transmit.has_moved() {
                trace(platform, &mut rings.transmit, RingSide::BackTransmit, peer, transmit);
            }
            if rings.receive.has_moved() {
                trace(platform, &mut rings.receive, RingSide::BackReceive, peer, receive);
            }
        }
        match (transmit, receive) {
            (Notify::Nothing, Notify::Nothing) => return,
            (Notify::Needed, _) | (_, Notify::Needed) => {
                self.counters.notified += 1;
                platform.notify(rings.port);
            }
            _ => self.counters.suppressed += 1,
        }
        self.page.set_counters(&self.counters);
    }

    fn enter<P: Platform<Page = G>>(&mut self, platform: &mut P, state: XenbusState, error: NetError) {
        self.error = error;
        self.page.set_error(error);
        self.page.set_counters(&self.counters);
        self.page.set_state(state);
        platform.notify(self.front.state_port);
    }
}
