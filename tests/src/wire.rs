//! The network outside: a wire that may lose and repeat frames, with a host on its other end.
//! It stands where the virtio device and QEMU's user network are on the real machine.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use drivers_backend::{MacAddress, SendError, Uplink};
use hypercall_abi::netif::FRAME_BYTES_MAX;
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::Stack;

/// The hardware address of the driver domain's card.
pub const UPLINK_MAC: [u8; 6] = [0x02, 0xde, 0xff, 0, 0, 1];
/// The hardware address of the host.
pub const HOST_MAC: [u8; 6] = [0x52, 0x55, 10, 16, 0, 2];
/// The host's IPv4 address.
pub const HOST_IP: [u8; 4] = [10, 16, 0, 2];

#[derive(Debug)]
struct Frames {
    to_host: VecDeque<Vec<u8>>,
    to_uplink: VecDeque<Vec<u8>>,
    random: fastrand::Rng,
    /// How many of a thousand frames are lost, in each direction.
    loss: u32,
}

/// The driver domain's end of the wire; clones are the same wire.
#[derive(Clone, Debug)]
pub struct Wire(Rc<RefCell<Frames>>);

/// What is on the other end.
pub struct Host {
    wire: Wire,
    /// Its stack.
    pub stack: Stack,
}

impl Wire {
    /// A wire that loses so many of a thousand frames in each direction.
    #[must_use]
    pub fn new(seed: u64, loss: u32) -> Self {
        Self(Rc::new(RefCell::new(Frames {
            to_host: VecDeque::new(),
            to_uplink: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            loss,
        })))
    }

    /// Puts a frame on the wire towards the driver domain, as anybody out there can.
    pub fn inject(&self, frame: &[u8]) {
        self.0.borrow_mut().to_uplink.push_back(frame.to_vec());
    }

    /// Takes a frame that the driver domain has sent.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.0.borrow_mut().to_host.pop_front()
    }

    /// Whether frames wait for the driver domain.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.0.borrow().to_uplink.is_empty()
    }
}

impl Uplink for Wire {
    fn mac(&self) -> MacAddress {
        MacAddress(UPLINK_MAC)
    }

    fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        let frame = self.0.borrow_mut().to_uplink.pop_front()?;
        into.get_mut(..frame.len())?.copy_from_slice(&frame);
        Some(frame.len())
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), SendError> {
        let mut frames = self.0.borrow_mut();
        let loss = frames.loss;
        if frames.random.u32(0..1000) >= loss {
            frames.to_host.push_back(frame.to_vec());
        }
        Ok(())
    }

    fn flush(&mut self) {}

    fn arm(&mut self) -> bool {
        self.waits()
    }
}

impl Host {
    /// A host at 10.16.0.2.
    #[must_use]
    pub fn new(wire: &Wire) -> Self {
        let mut end = HostEnd(wire.clone());
        let stack = Stack::new(&mut end, HOST_MAC, HOST_IP, 99);
        Self { wire: wire.clone(), stack }
    }

    /// Lets the host work.
    pub fn run(&mut self, now: Instant) {
        self.stack.poll(now, &mut HostEnd(self.wire.clone()));
    }
}

/// The host's end as smoltcp sees a network card.
struct HostEnd(Wire);
struct Arrived(Vec<u8>);
struct Leave(Wire);

impl phy::Device for HostEnd {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leave;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Leave)> {
        Some((Arrived(self.0.take()?), Leave(self.0.clone())))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Leave> {
        Some(Leave(self.0.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }
}

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, consumer: F) -> R {
        consumer(&self.0)
    }
}

impl phy::TxToken for Leave {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, producer: F) -> R {
        let mut frame = vec![0; len];
        let result = producer(&mut frame);
        let mut frames = self.0.0.borrow_mut();
        let loss = frames.loss;
        if frames.random.u32(0..1000) >= loss {
            frames.to_uplink.push_back(frame);
        }
        result
    }
}
