//! What a back end needs from the kernel that it runs in.
//! A small trait, so that the driver knows no kernel and tests can be one, hostile or not.

use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus};
use hypercall_abi::ring::{RingTold, SharedPage};
use hypercall_abi::{DomId, Errno, GrantRef, Port};

/// Memory of other domains and events, as a guest kernel gives them.
pub trait Platform {
    /// A page of a front end's that is mapped here, for reading and writing. It is given back by [`Self::unmap`];
    /// dropping it alone leaves it mapped.
    type Page: SharedPage;

    /// One page of our own memory that packets pass through. The hypervisor alone writes it beside us, and only
    /// during [`Self::copy`]. Its memory is given back when it is dropped.
    type Buffer: Buffer;

    /// Maps a page that `peer` granted us.
    ///
    /// # Errors
    /// Why the hypervisor refused, or [`GrantStatus::NoDeviceSpace`] when no address is left to map it at.
    fn map(&mut self, peer: DomId, reference: GrantRef) -> Result<Self::Page, GrantStatus>;

    /// Gives a mapped page back.
    fn unmap(&mut self, page: Self::Page);

    /// Connects to a port that `peer` left unbound for us.
    ///
    /// # Errors
    /// Why the hypervisor refused.
    fn bind_port(&mut self, peer: DomId, remote: Port) -> Result<Port, Errno>;

    /// Closes a port from [`Self::bind_port`].
    fn close_port(&mut self, port: Port);

    /// Raises the event at the other end of a port.
    fn notify(&mut self, port: Port);

    /// `part` of `of` pieces of our work were done for `peer`, since this was last called for whomever. Nothing where
    /// nobody keeps such accounts.
    fn charge(&mut self, peer: DomId, part: u32, of: u32) {
        let _ = (peer, part, of);
    }

    /// Whether somebody wants records of rings.
    fn traces_rings(&self) -> bool {
        false
    }

    /// Puts records of a ring into the trace.
    fn trace_ring(&mut self, told: RingTold) {
        let _ = told;
    }

    /// Carries out copies in order, in as few hypercalls as it can, and leaves a [`GrantStatus`] in each.
    fn copy(&mut self, batch: &mut [CopyGrant]);

    /// A page for packets.
    ///
    /// # Errors
    /// [`Errno::NoMem`].
    fn allocate(&mut self) -> Result<Self::Buffer, Errno>;
}

/// One page of our own memory.
pub trait Buffer {
    /// How a copy names this page as its source or destination, with offset 0.
    fn side(&self) -> CopySide;

    /// Reads its bytes.
    fn read<R>(&self, reader: impl FnOnce(&[u8]) -> R) -> R;

    /// Writes its bytes.
    fn write<R>(&mut self, writer: impl FnOnce(&mut [u8]) -> R) -> R;
}
