//! How far a front end has come with its back end, and which step the back end's state asks for.
//! Every device takes the same steps; what it shares, and what an ended connection means to it, is its own.

use hypercall_abi::device::XenbusState;

/// The state of a connection, with what is shared in it.
#[derive(Debug)]
pub(crate) enum Link<W> {
    /// Waits for a back end that is ready.
    Waiting,
    /// Rings are offered.
    Offered(W),
    /// In use.
    Connected(W),
    /// Waits for the back end to let go.
    Closing(W),
    /// Nothing shared; stays until the device begins again.
    Closed,
}

/// What a front end is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Stay,
    /// Make rings and offer them.
    Offer,
    /// Use them: the back end has taken them up.
    Connect,
    /// Close: the back end is about to let go.
    Close,
    /// Let go: the back end has ended the connection and says why.
    Ended,
    /// Let go and begin again: the back end did so without us.
    Anew,
    /// Let go: the back end has done so, as we wished.
    Released,
}

impl<W> Link<W> {
    /// The step that follows from the back end's state.
    pub(crate) const fn next(&self, other: XenbusState) -> Next {
        use XenbusState as S;
        match (self, other) {
            (Self::Waiting, S::InitWait) => Next::Offer,
            (Self::Offered(_), S::Connected) => Next::Connect,
            (Self::Offered(_) | Self::Connected(_), S::Closing) => Next::Close,
            (Self::Offered(_) | Self::Connected(_), S::Closed) => Next::Ended,
            (Self::Offered(_), S::Unknown | S::Initialising)
            | (Self::Connected(_), S::Unknown | S::Initialising | S::InitWait) => Next::Anew,
            (Self::Closing(_), S::Closed | S::Unknown | S::Initialising | S::InitWait) => Next::Released,
            _ => Next::Stay,
        }
    }

    /// Whether the device can be used.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Connected(_))
    }

    /// Whether nothing is shared and nothing is awaited.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// What is shared, in whatever state.
    pub(crate) const fn shared(&self) -> Option<&W> {
        match self {
            Self::Offered(wire) | Self::Connected(wire) | Self::Closing(wire) => Some(wire),
            Self::Waiting | Self::Closed => None,
        }
    }

    /// Closed from now on; what was shared is the caller's to take back.
    pub(crate) fn close(&mut self) -> Option<W> {
        match core::mem::replace(self, Self::Closed) {
            Self::Offered(wire) | Self::Connected(wire) | Self::Closing(wire) => Some(wire),
            Self::Waiting | Self::Closed => None,
        }
    }

    /// From offered to connected.
    pub(crate) fn connect(&mut self) {
        if let Self::Offered(wire) = core::mem::replace(self, Self::Closed) {
            *self = Self::Connected(wire);
        }
    }

    /// Waits for the back end to let go from now on.
    pub(crate) fn begin_to_close(&mut self) {
        if let Some(wire) = self.close() {
            *self = Self::Closing(wire);
        }
    }
}
