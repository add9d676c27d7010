//! Event channels: a port table per domain, bits in the shared page, and the eleven operations on them.
//! An event is a bit and nothing more, so it can merge with itself but never be lost or made up.

mod connect;
mod operations;
mod ports;
mod raise;
mod short;

pub use connect::{close, close_all, connect_pair};
pub use operations::event_channel_op;
pub(crate) use operations::{SEND, send};
pub use ports::{Channel, Ports, VIRQS};
pub(crate) use raise::Told;
pub use raise::{is_pending, raise, raise_virq};
pub(crate) use short::{receiver_at_hand, send as send_short, send_recorded};
