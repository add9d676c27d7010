//! What the two sides of a network device say in its page.

use core::mem::offset_of;

use super::page::{DevicePage, Kind};
use super::{NetError, NetHalf};
use crate::ring::SharedPage;
use crate::{GrantRef, Port};

/// A network device.
#[derive(Clone, Copy, Debug)]
pub struct Net;

/// One side's access to the page of a network device.
pub type NetPage<M> = DevicePage<M, Net>;

impl Kind for Net {
    type Error = NetError;

    fn number(error: NetError) -> u32 {
        error.raw()
    }
}

impl<M: SharedPage> NetPage<M> {
    /// Offers rings and port (front end).
    pub fn offer(&self, tx_ring: GrantRef, rx_ring: GrantRef, port: Port) {
        self.say(offset_of!(NetHalf, tx_ring), tx_ring.0);
        self.say(offset_of!(NetHalf, rx_ring), rx_ring.0);
        self.say(offset_of!(NetHalf, port), port.0);
    }

    /// What the other side (the front end) offers: transmit ring, receive ring, port.
    pub fn offered(&self) -> (GrantRef, GrantRef, Port) {
        (
            GrantRef(self.hear(offset_of!(NetHalf, tx_ring))),
            GrantRef(self.hear(offset_of!(NetHalf, rx_ring))),
            Port(self.hear(offset_of!(NetHalf, port))),
        )
    }

    /// Publishes our counters.
    pub fn set_counters(&self, counters: &NetCounters) {
        let NetCounters { notified, suppressed, packets, bytes, dropped } = *counters;
        self.count([notified, suppressed, packets, bytes, dropped]);
    }
}

/// What one side of a network device counts; see the fields of [`NetHalf`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Notifications sent to the other side.
    pub notified: u64,
    /// Notifications that ring indices made unnecessary.
    pub suppressed: u64,
    /// Packets handed to the other side.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Packets dropped for want of room or for errors of the other side.
    pub dropped: u64,
}
