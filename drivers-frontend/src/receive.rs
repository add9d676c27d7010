//! The pages that a front end receives into, and the ring that posts them.
//! Pages are granted once and posted again and again: a packet costs no grant.

use alloc::vec::Vec;

use hypercall_abi::netif::{FRAME_BYTES_MAX, Receive, RxRequest, RxResponse};
use hypercall_abi::ring::{FrontRing, Notify, Overrun, SharedPage};
use hypercall_abi::{GrantRef, PAGE_SIZE};

/// What the back end did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its index ran past ours.
    Overrun(Overrun),
    /// It answered a request that is not outstanding.
    Unasked(u16),
}

impl From<Overrun> for Fault {
    fn from(overrun: Overrun) -> Self {
        Self::Overrun(overrun)
    }
}

/// What one response brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A frame of this many bytes, copied out.
    Frame(usize),
    /// A response without a usable frame.
    Nothing,
}

#[derive(Debug)]
struct Slot<G> {
    page: G,
    reference: GrantRef,
    posted: bool,
}

/// The receiving side of a connection.
#[derive(Debug)]
pub(crate) struct Receiver<G> {
    ring: FrontRing<G, Receive>,
    slots: Vec<Slot<G>>,
}

impl<G: SharedPage> Receiver<G> {
    pub(crate) fn new(ring_page: G, pages: Vec<(G, GrantRef)>) -> Self {
        let slots =
            pages.into_iter().map(|(page, reference)| Slot { page, reference, posted: false }).collect();
        let mut receiver = Self { ring: FrontRing::new(ring_page), slots };
        receiver.post();
        receiver
    }

    /// Posts each page that is not posted.
    pub(crate) fn post(&mut self) {
        for (id, slot) in (0_u16..).zip(self.slots.iter_mut()) {
            if !slot.posted {
                slot.posted = self.ring.push(&RxRequest { id, pad: 0, gref: slot.reference.0 }).is_ok();
            }
        }
    }

    /// The ring, for records of how far it has come.
    #[inline(always)]
    pub(crate) const fn ring(&mut self) -> &mut FrontRing<G, Receive> {
        &mut self.ring
    }

    /// Shows the posted pages to the back end.
    pub(crate) fn publish(&mut self) -> Notify {
        self.ring.publish()
    }

    /// Takes one response and copies its frame out; `None` when there is none.
    pub(crate) fn take(&mut self, into: &mut [u8]) -> Result<Option<Received>, Fault> {
        let Some(response) = self.ring.pop()? else { return Ok(None) };
        let slot = self.slots.get_mut(usize::from(response.id)).filter(|slot| slot.posted);
        let slot = slot.ok_or(Fault::Unasked(response.id))?;
        slot.posted = false;
        let received = match extent(&response).filter(|(_, bytes)| *bytes <= into.len()) {
            Some((offset, bytes)) => {
                slot.page.copy_out(offset, &mut into[..bytes]);
                Received::Frame(bytes)
            }
            None => Received::Nothing,
        };
        let request = RxRequest { id: response.id, pad: 0, gref: slot.reference.0 };
        slot.posted = self.ring.push(&request).is_ok();
        Ok(Some(received))
    }

    /// Asks to be told of the next frame; true when one waits already.
    pub(crate) fn arm(&mut self) -> Result<bool, Fault> {
        Ok(self.ring.arm(1)?)
    }

    /// Gives up the ring's page and all others.
    pub(crate) fn into_pages(self) -> (G, impl Iterator<Item = (G, GrantRef)>) {
        (self.ring.into_page(), self.slots.into_iter().map(|slot| (slot.page, slot.reference)))
    }
}

/// Where in its page the frame of a response lies; `None` when it carries none, or lies about it.
fn extent(response: &RxResponse) -> Option<(usize, usize)> {
    let bytes = usize::try_from(response.status).ok()?;
    let offset = usize::from(response.offset);
    let fits =
        bytes > 0 && bytes <= FRAME_BYTES_MAX && offset + bytes <= PAGE_SIZE && response.flags & MORE == 0;
    fits.then_some((offset, bytes))
}

/// Flags that announce what this front end did not say it can take.
const MORE: u16 = hypercall_abi::netif::rx_flags::MORE_DATA | hypercall_abi::netif::rx_flags::EXTRA_INFO;
