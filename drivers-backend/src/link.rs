//! How far a back end has come with one front end, and which step the front end's state asks for.
//! Every device takes the same steps; what it maps for a connection is its own.

use hypercall_abi::Port;
use hypercall_abi::device::XenbusState;

/// The state of a connection, with what is mapped for it.
#[derive(Debug)]
pub(crate) enum Link<W> {
    /// Ready for a front end's offer.
    Waiting,
    /// In use.
    Connected(W),
    /// Has let go; waits for the front end to begin again.
    Closed,
}

/// What a back end is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Stay,
    /// Map what is offered.
    Connect,
    /// Let go: the front end uses the connection no more.
    Close,
    /// Say that we are ready: the front end begins again.
    Ready,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Same,
    /// It is connected; its ring's port is this.
    Up(Port),
    /// It is connected no more; its ring's port was this.
    Down(Port),
    /// States moved without a connection.
    Moved,
}

impl<W> Link<W> {
    /// The step that follows from the front end's state.
    pub(crate) const fn next(&self, other: XenbusState) -> Next {
        use XenbusState as S;
        match (self, other) {
            (Self::Waiting, S::Initialised) => Next::Connect,
            (Self::Connected(_), S::Initialised | S::Connected) => Next::Stay,
            (Self::Connected(_), _) => Next::Close,
            (Self::Closed, S::Initialising) => Next::Ready,
            (Self::Waiting | Self::Closed, _) => Next::Stay,
        }
    }

    /// Whether the device can be used.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Connected(_))
    }

    /// What is mapped.
    pub(crate) const fn mapped(&mut self) -> Option<&mut W> {
        match self {
            Self::Connected(wire) => Some(wire),
            Self::Waiting | Self::Closed => None,
        }
    }

    /// Closed from now on, if it was connected; what was mapped is the caller's to unmap.
    pub(crate) fn close(&mut self) -> Option<W> {
        match core::mem::replace(self, Self::Closed) {
            Self::Connected(wire) => Some(wire),
            other => {
                *self = other;
                None
            }
        }
    }
}
