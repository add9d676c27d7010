//! Room for packets on their way through the back end: half pages of our own memory.
//! One pool for all front ends, shared so that a guest that takes nothing cannot hold more than a part of what is free.

use alloc::vec::Vec;

use hypercall_abi::grant_table::CopySide;
use hypercall_abi::netif::FRAME_BYTES_MAX;
use hypercall_abi::{Errno, PAGE_SIZE};

use crate::platform::{Buffer, Platform};

/// Packets in one page.
const PER_PAGE: usize = 2;
/// Bytes for each of them.
const ROOM: usize = PAGE_SIZE / PER_PAGE;

const _: () = assert!(ROOM >= FRAME_BYTES_MAX, "a frame fits");

/// A place in the pool that holds a frame. It must be given back or queued: whoever drops it loses the place.
#[must_use = "a place that is not given back is lost"]
#[derive(Debug)]
pub(crate) struct Packet {
    place: u16,
    /// Bytes of the frame.
    pub(crate) bytes: u16,
}

#[cfg(test)]
impl Packet {
    /// A packet without a pool.
    pub(crate) const fn fake(bytes: u16) -> Self {
        Self { place: 0, bytes }
    }
}

/// All places, and those that are free.
#[derive(Debug)]
pub(crate) struct Pool<B> {
    pages: Vec<B>,
    free: Vec<u16>,
    /// Places that wait in front ends' queues.
    queued: usize,
    /// Places that queues may never take, so that a turn can always work.
    reserve: usize,
}

impl<B: Buffer> Pool<B> {
    /// Allocates so many pages, of which `reserve` places are kept for the work of a turn.
    pub(crate) fn new<P: Platform<Buffer = B>>(
        platform: &mut P,
        pages: u16,
        reserve: usize,
    ) -> Result<Self, Errno> {
        let pages =
            (0..pages.min(u16::MAX / 2)).map(|_| platform.allocate()).collect::<Result<Vec<_>, _>>()?;
        let places = u16::try_from(pages.len() * PER_PAGE).map_err(|_| Errno::TooBig)?;
        if usize::from(places) <= reserve {
            return Err(Errno::NoMem);
        }
        Ok(Self { pages, free: (0..places).rev().collect(), queued: 0, reserve })
    }

    pub(crate) fn take(&mut self) -> Option<Packet> {
        self.free.pop().map(|place| Packet { place, bytes: 0 })
    }

    pub(crate) fn give_back(&mut self, packet: Packet) {
        self.free.push(packet.place);
    }

    /// How many packets one queue may hold now: a quarter of what all queues leave free.
    pub(crate) fn queue_limit(&self) -> usize {
        let room = self.pages.len() * PER_PAGE - self.reserve;
        room.saturating_sub(self.queued).div_ceil(4)
    }

    /// Counts a packet that goes into a queue.
    pub(crate) const fn note_queued(&mut self) {
        self.queued += 1;
    }

    /// Counts a packet that leaves a queue.
    pub(crate) const fn note_unqueued(&mut self) {
        self.queued -= 1;
    }

    /// How a copy names the packet's place.
    pub(crate) fn side(&self, packet: &Packet) -> Option<CopySide> {
        let mut side = self.pages.get(usize::from(packet.place) / PER_PAGE)?.side();
        side.offset = u16::try_from(start(packet)).ok()?;
        Some(side)
    }

    /// Reads the frame.
    pub(crate) fn read<R>(&self, packet: &Packet, reader: impl FnOnce(&[u8]) -> R) -> R {
        let (start, bytes) = (start(packet), usize::from(packet.bytes));
        match self.pages.get(usize::from(packet.place) / PER_PAGE) {
            Some(page) => {
                page.read(|all| reader(all.get(start..).and_then(|rest| rest.get(..bytes)).unwrap_or(&[])))
            }
            None => reader(&[]),
        }
    }

    /// Writes the packet's whole place.
    pub(crate) fn write<R>(&mut self, packet: &Packet, writer: impl FnOnce(&mut [u8]) -> R) -> R {
        let start = start(packet);
        match self.pages.get_mut(usize::from(packet.place) / PER_PAGE) {
            Some(page) => page.write(|all| {
                writer(all.get_mut(start..).and_then(|rest| rest.get_mut(..ROOM)).unwrap_or(&mut []))
            }),
            None => writer(&mut []),
        }
    }
}

/// Bytes into the page of the packet's place.
const fn start(packet: &Packet) -> usize {
    packet.place as usize % PER_PAGE * ROOM
}
