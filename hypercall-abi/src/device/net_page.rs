//! The page through which both ends of a network device agree, as each side may use it.
//! Offsets stand here alone, so that neither driver writes into the other's half.

use core::mem::offset_of;

use super::{BACK_HALF, FRONT_HALF, NetError, NetHalf, XenbusState};
use crate::ring::SharedPage;
use crate::{GrantRef, Port};

/// One side's access to a device page: it writes its own half and reads the other's.
///
/// States of the other side are read anew at each call and may be anything.
#[derive(Clone, Copy, Debug)]
pub struct NetPage<M> {
    page: M,
    own: usize,
    other: usize,
}

impl<M: SharedPage> NetPage<M> {
    /// The front end's access.
    pub const fn front(page: M) -> Self {
        Self { page, own: FRONT_HALF, other: BACK_HALF }
    }

    /// The back end's access.
    pub const fn back(page: M) -> Self {
        Self { page, own: BACK_HALF, other: FRONT_HALF }
    }

    /// Gives the page back.
    pub fn into_page(self) -> M {
        self.page
    }

    /// The other side's state; [`XenbusState::Unknown`] for a number that is none.
    pub fn other_state(&self) -> XenbusState {
        let raw = self.page.load_acquire(self.other + offset_of!(NetHalf, state));
        XenbusState::from_raw(raw).unwrap_or(XenbusState::Unknown)
    }

    /// Our own state, as it stands in the page.
    pub fn own_state(&self) -> XenbusState {
        let raw = self.page.load(self.own + offset_of!(NetHalf, state));
        XenbusState::from_raw(raw).unwrap_or(XenbusState::Unknown)
    }

    /// Goes to a state; what was written before is seen by who sees the state.
    pub fn set_state(&self, state: XenbusState) {
        self.page.store_release(self.own + offset_of!(NetHalf, state), state.raw());
    }

    /// Offers rings and port (front end).
    pub fn offer(&self, tx_ring: GrantRef, rx_ring: GrantRef, port: Port) {
        self.page.store(self.own + offset_of!(NetHalf, tx_ring), tx_ring.0);
        self.page.store(self.own + offset_of!(NetHalf, rx_ring), rx_ring.0);
        self.page.store(self.own + offset_of!(NetHalf, port), port.0);
    }

    /// What the other side (the front end) offers: transmit ring, receive ring, port.
    pub fn offered(&self) -> (GrantRef, GrantRef, Port) {
        (
            GrantRef(self.page.load(self.other + offset_of!(NetHalf, tx_ring))),
            GrantRef(self.page.load(self.other + offset_of!(NetHalf, rx_ring))),
            Port(self.page.load(self.other + offset_of!(NetHalf, port))),
        )
    }

    /// Says why we close.
    pub fn set_error(&self, error: NetError) {
        self.page.store(self.own + offset_of!(NetHalf, error), error.raw());
    }

    /// Why the other side closed, as it says.
    pub fn other_error(&self) -> u32 {
        self.page.load(self.other + offset_of!(NetHalf, error))
    }

    /// Publishes our counters.
    pub fn set_counters(&self, counters: &NetCounters) {
        for (offset, value) in [
            (offset_of!(NetHalf, notified), counters.notified),
            (offset_of!(NetHalf, suppressed), counters.suppressed),
            (offset_of!(NetHalf, packets), counters.packets),
            (offset_of!(NetHalf, bytes), counters.bytes),
            (offset_of!(NetHalf, dropped), counters.dropped),
        ] {
            self.page.store_wide(self.own + offset, value);
        }
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
