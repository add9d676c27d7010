//! A front end as `embassy-net` wants a device.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::task::{Context, Waker};

use embassy_net_driver::{Capabilities, HardwareAddress, LinkState};
use hypercall_abi::netif::FRAME_BYTES_MAX;

use super::Front;
use crate::backlog::Backlog;
use crate::machine::clock;
use crate::machine::ports::{self, EventPort};

/// A front end that device and tasks share; all of them run on one executor.
pub(super) type Shared = Rc<RefCell<Front>>;

/// The port on which connections may wait, if the application listens.
pub(super) type SharedBacklog = Rc<RefCell<Option<Backlog>>>;

/// One frame's bytes.
type Frame = Box<[u8; FRAME_BYTES_MAX]>;

/// A front end with room for the frame that the stack looks at, and the one that it writes.
pub(super) struct Device {
    front: Shared,
    state_port: EventPort,
    mac: [u8; 6],
    backlog: SharedBacklog,
    received: Frame,
    sent: Frame,
}

impl Device {
    pub(super) fn new(front: Shared, state_port: EventPort, mac: [u8; 6], backlog: SharedBacklog) -> Self {
        let frame = || Box::new([0; FRAME_BYTES_MAX]);
        Self { front, state_port, mac, backlog, received: frame(), sent: frame() }
    }

    /// Takes what ports tell, and has later events wake the stack.
    fn listen(&self, waker: &Waker) {
        let mut front = self.front.borrow_mut();
        while self.state_port.poll_wait(&mut Context::from_waker(waker)).is_ready() {
            front.step();
        }
        if let Some(port) = front.ring_port() {
            ports::wake_on(port, waker);
        }
    }
}

impl Device {
    /// Whether the stack should see the frame of `bytes` bytes that was just received.
    fn admits(&self, bytes: usize) -> bool {
        let Some(frame) = self.received.get(..bytes) else { return false };
        match self.backlog.borrow_mut().as_mut() {
            Some(backlog) => backlog.admits(frame, clock::now_ns() / 1_000),
            None => true,
        }
    }
}

impl embassy_net_driver::Driver for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(RxToken<'_>, TxToken<'_>)> {
        self.listen(context.waker());
        let mut front = self.front.borrow_mut();
        // An answer may follow at once, so that there must be room for it.
        if !front.can_transmit() {
            return None;
        }
        let bytes = loop {
            let bytes = front.receive(self.received.as_mut_slice())?;
            if self.admits(bytes) {
                break bytes;
            }
        };
        let frame = self.received.get_mut(..bytes)?;
        Some((RxToken(frame), TxToken { front: &self.front, buffer: self.sent.as_mut_slice() }))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<TxToken<'_>> {
        self.listen(context.waker());
        if !self.front.borrow_mut().can_transmit() {
            return None;
        }
        Some(TxToken { front: &self.front, buffer: self.sent.as_mut_slice() })
    }

    fn link_state(&mut self, context: &mut Context<'_>) -> LinkState {
        self.listen(context.waker());
        if self.front.borrow().is_up() { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac)
    }
}

/// A received frame.
pub(super) struct RxToken<'a>(&'a mut [u8]);

impl embassy_net_driver::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Leave to send one frame.
pub(super) struct TxToken<'a> {
    front: &'a Shared,
    buffer: &'a mut [u8],
}

impl embassy_net_driver::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, write: F) -> R {
        let frame = &mut self.buffer[..bytes];
        let result = write(frame);
        // The connection may have ended since the token was made; the frame is then lost like any other on a wire.
        let _ = self.front.borrow_mut().transmit(frame);
        result
    }
}
