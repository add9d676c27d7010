//! The network front end: connection states, frames in and out.
//! It is the one object that a guest's network stack talks to.

use alloc::vec::Vec;

use hypercall_abi::device::{NetCounters, NetError, NetPage, XenbusState};
use hypercall_abi::extension::RingSide;
use hypercall_abi::netif::{ETHERNET_HEADER_BYTES, FRAME_BYTES_MAX};
use hypercall_abi::ring::{Notify, SharedPage};
use hypercall_abi::{DomId, Port};

use crate::RECEIVE_PAGES_MAX;
use crate::link::{Link, Next};
use crate::platform::Platform;
use crate::receive::{Fault, Received};
use crate::rings::{Rings, Shared, take_back};
use crate::traced::trace;

/// What a front end is told by its directory entry and its owner.
#[derive(Clone, Copy, Debug)]
pub struct FrontConfig {
    /// Domain of the back end; `None` while it is gone.
    pub peer: Option<DomId>,
    /// Our port for changes of state.
    pub state_port: Port,
    /// Whether ring indices may save notifications; false notifies always.
    pub suppress: bool,
    /// Pages posted for receiving, one frame each; 1 to [`RECEIVE_PAGES_MAX`].
    pub receive_pages: u16,
    /// Pages for sending, two frames each; 1 to 128.
    pub transmit_pages: u16,
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitError {
    /// No connection.
    Down,
    /// Every place is taken; the back end notifies when one is free.
    Full,
    /// Shorter than an Ethernet header or longer than a frame may be: this many bytes.
    Length(usize),
}

/// A network card of raw Ethernet frames over a back end.
#[derive(Debug)]
pub struct NetFront<P: Platform, M> {
    platform: P,
    device: NetPage<M>,
    config: FrontConfig,
    link: Link<Rings<P::Page>>,
    reason: u32,
    counters: NetCounters,
    quarantine: Shared<P::Page>,
    starved: bool,
}

/// Pages that a back end may hold back before this front end connects no more.
const QUARANTINE_MAX: usize = 64;

impl<P: Platform, M: SharedPage> NetFront<P, M> {
    /// Begins to connect. `device_page` is the page that the directory entry names.
    pub fn new(platform: P, device_page: M, mut config: FrontConfig) -> Self {
        config.receive_pages = config.receive_pages.clamp(1, RECEIVE_PAGES_MAX);
        config.transmit_pages = config.transmit_pages.clamp(1, 128);
        let mut front = Self {
            platform,
            device: NetPage::front(device_page),
            config,
            link: Link::Waiting,
            reason: NetError::None.raw(),
            counters: NetCounters::default(),
            quarantine: Vec::new(),
            starved: false,
        };
        front.enter(XenbusState::Initialising);
        front.step();
        front
    }

    /// Whether frames can be exchanged.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Whether nothing is shared and [`Self::reconnect`] is needed to begin again.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Why the last connection ended: a [`NetError`], or whatever the back end wrote.
    #[must_use]
    pub const fn reason(&self) -> u32 {
        self.reason
    }

    /// The port on which the back end tells of frames; another one after each connection.
    #[must_use]
    pub const fn ring_port(&self) -> Option<Port> {
        match self.link.shared() {
            Some(rings) => Some(rings.port),
            None => None,
        }
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn counters(&self) -> &NetCounters {
        &self.counters
    }

    /// Whether there was too little memory to connect, since this was asked last. It is tried again when the back end changes.
    pub const fn take_starved(&mut self) -> bool {
        core::mem::replace(&mut self.starved, false)
    }

    /// The platform, for its owner.
    pub const fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    /// Looks at the back end's state and takes the steps that follow. To be called after each event on the state port.
    /// True when something changed.
    pub fn step(&mut self) -> bool {
        let mut changed = false;
        // Each round takes one step of a finite path; the bound is for a back end that writes states as we go.
        for _ in 0..8 {
            if !self.step_once() {
                break;
            }
            changed = true;
        }
        changed
    }

    fn step_once(&mut self) -> bool {
        match self.link.next(self.device.other_state()) {
            Next::Stay => return false,
            Next::Offer => return self.offer(),
            Next::Connect => {
                self.link.connect();
                self.enter(XenbusState::Connected);
            }
            Next::Close => {
                self.link.begin_to_close();
                self.enter(XenbusState::Closing);
            }
            Next::Ended => {
                self.reason = self.device.other_error();
                self.let_go();
                self.enter(XenbusState::Closed);
                if self.reason == NetError::None.raw() {
                    self.begin_again();
                }
            }
            Next::Anew => {
                self.let_go();
                self.begin_again();
            }
            Next::Released => {
                self.let_go();
                self.enter(XenbusState::Closed);
            }
        }
        true
    }

    /// Takes the directory's word on who the back end is; a change ends the connection and begins another. If the state port
    /// has changed as well, [`Self::set_state_port`] comes first.
    pub fn set_peer(&mut self, peer: Option<DomId>) {
        if peer == self.config.peer {
            return;
        }
        self.config.peer = peer;
        let closed = self.is_closed();
        self.let_go();
        if !closed {
            self.begin_again();
            self.step();
        }
    }

    /// Takes the directory's word on our port for changes of state, which is another one for each back end.
    pub const fn set_state_port(&mut self, port: Port) {
        self.config.state_port = port;
    }

    /// Ends the connection in good order; [`Self::is_closed`] when the back end has let go.
    pub fn close(&mut self) {
        self.close_for(NetError::None);
        self.step();
    }

    /// Begins to connect again from the closed state.
    pub fn reconnect(&mut self) {
        self.begin_again();
        // A back end that is ready already tells us nothing.
        self.step();
    }

    fn begin_again(&mut self) {
        if self.is_closed() {
            self.link = Link::Waiting;
            self.device.set_error(NetError::None);
            self.enter(XenbusState::Initialising);
        }
    }

    /// Copies the next frame into `into` and returns its bytes. `None` means that none waits and that the
    /// back end will notify the next one. `into` should have room for [`FRAME_BYTES_MAX`] bytes.
    pub fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        loop {
            let Link::Connected(rings) = &mut self.link else { return None };
            match rings.receive.take(into) {
                Ok(Some(Received::Frame(bytes))) => return Some(bytes),
                Ok(Some(Received::Nothing)) => self.counters.dropped += 1,
                Ok(None) => {
                    // Emptied pages go back before we sleep, else the back end could run out of them.
                    self.publish_receive();
                    let Link::Connected(rings) = &mut self.link else { return None };
                    match rings.receive.arm() {
                        Ok(true) => {}
                        Ok(false) => return None,
                        Err(fault) => return self.fault(fault),
                    }
                }
                Err(fault) => return self.fault(fault),
            }
        }
    }

    /// Whether [`Self::transmit`] has room; when it has not, the back end notifies the first place that becomes free.
    pub fn can_transmit(&mut self) -> bool {
        loop {
            let Link::Connected(rings) = &mut self.link else { return false };
            let taken = rings.transmit.reap();
            match taken {
                Ok(dropped) => self.counters.dropped += dropped,
                Err(fault) => return self.fault::<()>(fault).is_some(),
            }
            if rings.transmit.has_room() {
                return true;
            }
            // A full ring that was never shown would stay full.
            self.flush();
            let Link::Connected(rings) = &mut self.link else { return false };
            match rings.transmit.arm() {
                Ok(true) => {}
                Ok(false) => return false,
                Err(fault) => return self.fault::<()>(fault).is_some(),
            }
        }
    }

    /// Queues a copy of a frame; the back end sees it after [`Self::flush`].
    ///
    /// # Errors
    /// As [`TransmitError`] says; nothing is queued.
    pub fn transmit(&mut self, frame: &[u8]) -> Result<(), TransmitError> {
        if !(ETHERNET_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&frame.len()) {
            return Err(TransmitError::Length(frame.len()));
        }
        if !self.can_transmit() {
            return Err(if self.is_up() { TransmitError::Full } else { TransmitError::Down });
        }
        let Link::Connected(rings) = &mut self.link else { return Err(TransmitError::Down) };
        if !rings.transmit.queue(frame) {
            return Err(TransmitError::Full);
        }
        self.counters.packets += 1;
        self.counters.bytes += frame.len() as u64;
        Ok(())
    }

    /// Shows the back end what was queued, and notifies it if it asked for that.
    pub fn flush(&mut self) {
        if let Link::Connected(rings) = &mut self.link {
            let (notify, port) = (rings.transmit.publish().with(self.config.suppress), rings.port);
            if self.platform.traces_rings() && rings.transmit.ring().has_moved() {
                let peer = self.config.peer;
                trace(&mut self.platform, rings.transmit.ring(), RingSide::FrontTransmit, peer, notify);
            }
            self.tell(notify, port);
        }
    }

    fn publish_receive(&mut self) {
        if let Link::Connected(rings) = &mut self.link {
            rings.receive.post();
            let (notify, port) = (rings.receive.publish().with(self.config.suppress), rings.port);
            if self.platform.traces_rings() && rings.receive.ring().has_moved() {
                let peer = self.config.peer;
                trace(&mut self.platform, rings.receive.ring(), RingSide::FrontReceive, peer, notify);
            }
            self.tell(notify, port);
        }
    }

    fn tell(&mut self, notify: Notify, port: Port) {
        match notify {
            Notify::Nothing => return,
            Notify::Suppressed => self.counters.suppressed += 1,
            Notify::Needed => {
                self.counters.notified += 1;
                self.platform.notify(port);
            }
        }
        self.device.set_counters(&self.counters);
    }

    /// Closes because of what the back end did.
    fn fault<T>(&mut self, fault: Fault) -> Option<T> {
        self.close_for(match fault {
            Fault::Overrun(_) => NetError::Overrun,
            Fault::Unasked(_) => NetError::Unasked,
        });
        None
    }

    fn close_for(&mut self, error: NetError) {
        match self.link {
            Link::Offered(_) | Link::Connected(_) => {
                self.link.begin_to_close();
                self.reason = error.raw();
                self.device.set_error(error);
                self.enter(XenbusState::Closing);
            }
            Link::Waiting => {
                self.link = Link::Closed;
                self.enter(XenbusState::Closed);
            }
            Link::Closing(_) | Link::Closed => {}
        }
    }

    /// Makes rings and offers them; stays waiting when that is not possible now.
    fn offer(&mut self) -> bool {
        self.link = Link::Waiting;
        let held = core::mem::take(&mut self.quarantine);
        take_back(&mut self.platform, held, &mut self.quarantine);
        let Some(peer) = self.config.peer.filter(|_| self.quarantine.len() <= QUARANTINE_MAX) else {
            return false;
        };
        let (receive, transmit) = (self.config.receive_pages, self.config.transmit_pages);
        let opened = Rings::open(&mut self.platform, peer, receive, transmit, &mut self.quarantine);
        let Ok(mut rings) = opened else {
            self.starved = true;
            return false;
        };
        // The back end looks at the rings when it connects: nobody waits for a notification yet.
        let _unheard = rings.receive.publish();
        self.device.offer(rings.transmit_ring, rings.receive_ring, rings.port);
        self.link = Link::Offered(rings);
        self.enter(XenbusState::Initialised);
        true
    }

    fn let_go(&mut self) {
        if let Some(rings) = self.link.close() {
            rings.close(&mut self.platform, &mut self.quarantine);
        }
    }

    /// Writes our state and tells the back end.
    fn enter(&mut self, state: XenbusState) {
        self.device.set_counters(&self.counters);
        self.device.set_state(state);
        self.platform.notify(self.config.state_port);
    }
}
