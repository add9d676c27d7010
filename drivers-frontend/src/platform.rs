//! What a front end needs from the kernel that it runs in.
//! A small trait, so that the driver knows no kernel and tests can be one, hostile or not.

use hypercall_abi::ring::{RingTold, SharedPage};
use hypercall_abi::{DomId, Errno, GrantRef, Port};

/// What a peer may do with a granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    ReadOnly,
    /// Read and write it.
    ReadWrite,
}

/// The peer still has the page mapped, so it cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillInUse;

/// Memory sharing and events, as a guest kernel gives them.
pub trait Platform {
    /// A page of our own memory that can be granted. Its memory is given back when it is dropped.
    type Page: SharedPage;

    /// A page of zeros.
    ///
    /// # Errors
    /// [`Errno::NoMem`].
    fn allocate(&mut self) -> Result<Self::Page, Errno>;

    /// Lets `peer` use the page until [`Self::revoke`].
    ///
    /// # Errors
    /// [`Errno::NoSpc`] when no reference is free.
    fn grant(&mut self, page: &Self::Page, peer: DomId, access: Access) -> Result<GrantRef, Errno>;

    /// Takes the leave back. After that the peer can neither map nor copy the page.
    ///
    /// # Errors
    /// [`StillInUse`] when the peer has it mapped; the leave stands, and the driver keeps the page away from every
    /// other use until a later try succeeds.
    fn revoke(&mut self, reference: GrantRef) -> Result<(), StillInUse>;

    /// Makes a port that `peer` may connect to, and whose events reach the owner of the front end.
    ///
    /// # Errors
    /// [`Errno::NoSpc`] when no port is free.
    fn open_port(&mut self, peer: DomId) -> Result<Port, Errno>;

    /// Closes a port from [`Self::open_port`].
    fn close_port(&mut self, port: Port);

    /// Raises the event at the other end of a port.
    fn notify(&mut self, port: Port);

    /// Whether somebody wants records of rings.
    fn traces_rings(&self) -> bool {
        false
    }

    /// Puts records of a ring into the trace.
    fn trace_ring(&mut self, told: RingTold) {
        let _ = told;
    }
}
