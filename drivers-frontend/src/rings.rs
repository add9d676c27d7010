//! Everything that one connection shares with its back end, made and taken back as a whole.
//! Half-made connections do not exist outside this file.

use alloc::vec::Vec;

use hypercall_abi::{DomId, Errno, GrantRef, Port};

use crate::platform::{Access, Platform};
use crate::receive::Receiver;
use crate::transmit::Transmitter;

/// The pages and the port of one connection.
#[derive(Debug)]
pub(crate) struct Rings<G> {
    pub(crate) transmit: Transmitter<G>,
    pub(crate) receive: Receiver<G>,
    pub(crate) transmit_ring: GrantRef,
    pub(crate) receive_ring: GrantRef,
    pub(crate) port: Port,
}

/// Granted pages on their way in or out.
pub(crate) type Shared<G> = Vec<(G, GrantRef)>;

impl<G: hypercall_abi::ring::SharedPage> Rings<G> {
    /// Allocates and grants everything for `peer`, or nothing.
    pub(crate) fn open<P: Platform<Page = G>>(
        platform: &mut P,
        peer: DomId,
        receive_pages: u16,
        transmit_pages: u16,
        quarantine: &mut Shared<G>,
    ) -> Result<Self, Errno> {
        let mut made = Vec::new();
        match Self::try_open(platform, peer, receive_pages, transmit_pages, &mut made) {
            Ok(rings) => Ok(rings),
            Err(errno) => {
                take_back(platform, made, quarantine);
                Err(errno)
            }
        }
    }

    fn try_open<P: Platform<Page = G>>(
        platform: &mut P,
        peer: DomId,
        receive_pages: u16,
        transmit_pages: u16,
        made: &mut Shared<G>,
    ) -> Result<Self, Errno> {
        let count = 2 + usize::from(receive_pages) + usize::from(transmit_pages);
        for at in 0..count {
            let read_only = at >= 2 + usize::from(receive_pages);
            let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
            let page = platform.allocate()?;
            let reference = platform.grant(&page, peer, access)?;
            made.push((page, reference));
        }
        let port = platform.open_port(peer)?;
        let mut pages = made.drain(..);
        let (Some((tx_page, transmit_ring)), Some((rx_page, receive_ring))) = (pages.next(), pages.next())
        else {
            return Err(Errno::NoMem);
        };
        let receive = pages.by_ref().take(usize::from(receive_pages)).collect();
        let transmit = pages.collect();
        Ok(Self {
            transmit: Transmitter::new(tx_page, transmit),
            receive: Receiver::new(rx_page, receive),
            transmit_ring,
            receive_ring,
            port,
        })
    }

    /// Takes everything back. What the back end still holds goes into quarantine.
    pub(crate) fn close<P: Platform<Page = G>>(self, platform: &mut P, quarantine: &mut Shared<G>) {
        platform.close_port(self.port);
        let (tx_page, tx_pages) = self.transmit.into_pages();
        let (rx_page, rx_pages) = self.receive.into_pages();
        let rings = [(tx_page, self.transmit_ring), (rx_page, self.receive_ring)];
        take_back(platform, rings.into_iter().chain(tx_pages).chain(rx_pages), quarantine);
    }
}

/// Revokes pages and frees them; those still in use are kept, for a later try.
pub(crate) fn take_back<P: Platform>(
    platform: &mut P,
    pages: impl IntoIterator<Item = (P::Page, GrantRef)>,
    quarantine: &mut Shared<P::Page>,
) {
    for (page, reference) in pages {
        if platform.revoke(reference).is_err() {
            quarantine.push((page, reference));
        }
    }
}
