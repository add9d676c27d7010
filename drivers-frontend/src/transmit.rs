//! The pages that a front end sends from, and the ring that offers them.
//! Each page holds two frames; pages are granted once and used again and again.

use alloc::vec::Vec;

use hypercall_abi::netif::{Transmit, TxRequest};
use hypercall_abi::ring::{FrontRing, Notify, SharedPage};
use hypercall_abi::{GrantRef, PAGE_SIZE};

use crate::receive::Fault;

/// Frames in one page.
const FRAMES_PER_PAGE: usize = 2;
/// Bytes for each of them.
const FRAME_ROOM: usize = PAGE_SIZE / FRAMES_PER_PAGE;

/// The sending side of a connection.
#[derive(Debug)]
pub(crate) struct Transmitter<G> {
    ring: FrontRing<G, Transmit>,
    pages: Vec<(G, GrantRef)>,
    /// Per frame: whether the back end has it.
    in_flight: Vec<bool>,
    /// Frames that are free.
    free: Vec<u16>,
}

impl<G: SharedPage> Transmitter<G> {
    pub(crate) fn new(ring_page: G, pages: Vec<(G, GrantRef)>) -> Self {
        let frames = u16::try_from(pages.len() * FRAMES_PER_PAGE).unwrap_or(u16::MAX);
        Self {
            ring: FrontRing::new(ring_page),
            pages,
            in_flight: (0..frames).map(|_| false).collect(),
            free: (0..frames).rev().collect(),
        }
    }

    /// Takes back the frames that the back end has done with; returns how many of them it says it dropped.
    pub(crate) fn reap(&mut self) -> Result<u64, Fault> {
        let mut dropped = 0;
        while let Some(response) = self.ring.pop()? {
            let in_flight = self.in_flight.get_mut(usize::from(response.id)).filter(|flag| **flag);
            *in_flight.ok_or(Fault::Unasked(response.id))? = false;
            self.free.push(response.id);
            dropped += u64::from(response.status < 0);
        }
        Ok(dropped)
    }

    /// Whether a frame can be queued now.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty() && self.ring.free() > 0
    }

    /// Asks to be told when a frame has been taken; true when one has been already.
    pub(crate) fn arm(&mut self) -> Result<bool, Fault> {
        Ok(self.ring.arm(1)?)
    }

    /// Copies a frame into a free place and queues it; false when there is none.
    pub(crate) fn queue(&mut self, frame: &[u8]) -> bool {
        let Ok(size) = u16::try_from(frame.len()) else { return false };
        if !self.has_room() || frame.len() > FRAME_ROOM {
            return false;
        }
        let Some(id) = self.free.pop() else { return false };
        let place = usize::from(id);
        let offset = place % FRAMES_PER_PAGE * FRAME_ROOM;
        let (Some((page, reference)), Some(in_flight), Ok(start)) =
            (self.pages.get(place / FRAMES_PER_PAGE), self.in_flight.get_mut(place), u16::try_from(offset))
        else {
            return false;
        };
        page.copy_in(offset, frame);
        let request = TxRequest { gref: reference.0, offset: start, flags: 0, id, size };
        *in_flight = self.ring.push(&request).is_ok();
        *in_flight
    }

    /// The ring, for records of how far it has come.
    #[inline(always)]
    pub(crate) const fn ring(&mut self) -> &mut FrontRing<G, Transmit> {
        &mut self.ring
    }

    /// Shows the queued frames to the back end.
    pub(crate) fn publish(&mut self) -> Notify {
        self.ring.publish()
    }

    /// Gives up the ring's page and all others.
    pub(crate) fn into_pages(self) -> (G, impl Iterator<Item = (G, GrantRef)>) {
        (self.ring.into_page(), self.pages.into_iter())
    }
}
