//! A front end as `embassy-net` wants a device: of IP packets, since [`Link`] makes frames of them.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::task::{Context, Waker};

use embassy_net_driver::{Capabilities, HardwareAddress, LinkState};
use hypercall_abi::netif::FRAME_BYTES_MAX;

use crate::backlog::Backlog;
use crate::link::{HEADER_BYTES, Link};
use crate::machine::front::Attached;
use crate::machine::{clock, ports};

/// A front end that device and tasks share; all of them run on one executor.
pub(super) type Shared = Rc<RefCell<Attached<super::Front>>>;

/// The port on which connections may wait, if the application listens.
pub(super) type SharedBacklog = Rc<RefCell<Option<Backlog>>>;

/// How often the stack looks at what has come.
#[derive(Clone, Default)]
pub(super) struct Pace {
    /// Microseconds between two looks; 0 for at once.
    pub(super) every_us: Rc<Cell<u64>>,
    /// When it looks next.
    next_us: Rc<Cell<u64>>,
}

impl Pace {
    /// Whether it is time to look; otherwise the stack is woken when it is.
    fn is_time(&self, waker: &Waker) -> bool {
        let next_us = self.next_us.get();
        if self.every_us.get() == 0 || clock::now_ns() / 1_000 >= next_us {
            return true;
        }
        // The kernel's ticks are microseconds.
        embassy_time_driver::schedule_wake(next_us, waker);
        false
    }

    /// There is nothing more to see.
    fn rest(&self) {
        if self.every_us.get() > 0 {
            self.next_us.set(clock::now_ns() / 1_000 + self.every_us.get());
        }
    }
}

/// One frame's bytes.
type Frame = Box<[u8; FRAME_BYTES_MAX]>;

/// A front end with room for the frame that the stack looks at, and the one that it writes.
pub(super) struct Device {
    front: Shared,
    backlog: SharedBacklog,
    link: Link,
    received: Frame,
    sent: Frame,
    pace: Pace,
}

impl Device {
    pub(super) fn new(front: Shared, link: Link, backlog: SharedBacklog, pace: Pace) -> Self {
        let frame = || Box::new([0; FRAME_BYTES_MAX]);
        Self { front, backlog, link, received: frame(), sent: frame(), pace }
    }

    /// Takes what ports tell, and has later events wake the stack.
    fn listen(&self, waker: &Waker) {
        let mut attached = self.front.borrow_mut();
        attached.listen(waker);
        if let Some(port) = attached.front.ring_port() {
            ports::wake_on(port, waker);
        }
    }

    /// Receives frames up to one with an IP packet for the stack; returns its bytes. None is taken while there is no
    /// room to send, since an answer may follow at once.
    fn receive_packet(&mut self, waker: &Waker) -> Option<usize> {
        if !self.pace.is_time(waker) {
            return None;
        }
        let front = &mut self.front.borrow_mut().front;
        loop {
            if !front.can_transmit() {
                return None;
            }
            if let Some(bytes) = take_waiting(&self.backlog, self.received.as_mut_slice(), waker) {
                return Some(bytes);
            }
            let Some(bytes) = front.receive(self.received.as_mut_slice()) else {
                self.pace.rest();
                return None;
            };
            let frame = self.received.get(..bytes)?;
            let now_us = clock::now_ns() / 1_000;
            let admitted =
                self.backlog.borrow_mut().as_mut().is_none_or(|backlog| backlog.admits(frame, now_us));
            if admitted && self.link.incoming(frame, now_us) {
                return Some(bytes);
            }
            send_due(&mut self.link, front);
        }
    }
}

/// Takes the SYN of a connection that waited for a listening socket, into `frame`; returns its bytes.
fn take_waiting(backlog: &SharedBacklog, frame: &mut [u8], waker: &Waker) -> Option<usize> {
    let mut backlog = backlog.borrow_mut();
    let backlog = backlog.as_mut().filter(|backlog| backlog.has_waiting())?;
    let waiting = backlog.next_frame(clock::now_ns() / 1_000, waker)?;
    frame.get_mut(..waiting.len())?.copy_from_slice(&waiting);
    Some(waiting.len())
}

/// Sends the frames that the link has made itself.
fn send_due(link: &mut Link, front: &mut super::Front) {
    while let Some(frame) = link.next_frame() {
        // Lost like any other on a wire; it is asked for again.
        let _ = front.transmit(&frame);
    }
}

impl embassy_net_driver::Driver for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(RxToken<'_>, TxToken<'_>)> {
        self.listen(context.waker());
        let bytes = self.receive_packet(context.waker())?;
        let packet = self.received.get_mut(HEADER_BYTES..bytes)?;
        let token = TxToken {
            front: &self.front,
            backlog: &self.backlog,
            link: &mut self.link,
            frame: self.sent.as_mut_slice(),
        };
        Some((RxToken(packet), token))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<TxToken<'_>> {
        self.listen(context.waker());
        if !self.front.borrow_mut().front.can_transmit() {
            return None;
        }
        Some(TxToken {
            front: &self.front,
            backlog: &self.backlog,
            link: &mut self.link,
            frame: self.sent.as_mut_slice(),
        })
    }

    fn link_state(&mut self, context: &mut Context<'_>) -> LinkState {
        self.listen(context.waker());
        if self.front.borrow().front.is_up() { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_BYTES_MAX - HEADER_BYTES;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ip
    }
}

/// A received packet.
pub(super) struct RxToken<'a>(&'a mut [u8]);

impl embassy_net_driver::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Leave to send one packet.
pub(super) struct TxToken<'a> {
    front: &'a Shared,
    backlog: &'a SharedBacklog,
    link: &'a mut Link,
    frame: &'a mut [u8],
}

impl embassy_net_driver::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, write: F) -> R {
        let frame = &mut self.frame[..HEADER_BYTES + bytes];
        let result = write(&mut frame[HEADER_BYTES..]);
        if let Some(backlog) = self.backlog.borrow_mut().as_mut() {
            backlog.sends(&mut frame[HEADER_BYTES..]);
        }
        let front = &mut self.front.borrow_mut().front;
        if self.link.outgoing(frame, clock::now_ns() / 1_000) {
            // The connection may have ended since the token was made; the frame is then lost like any other on a wire.
            let _ = front.transmit(frame);
        }
        send_due(self.link, front);
        result
    }
}
