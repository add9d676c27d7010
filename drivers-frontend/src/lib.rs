//! Front ends of Denizen's split drivers: the half that runs in each guest.
//! It knows no kernel: [`Platform`] stands between, and a guest kernel or a test implements it.
//!
//! [`NetFront`] is a network card of raw Ethernet frames. Its owner calls
//! - [`NetFront::step`] after each event on the device's state port, and [`NetFront::set_peer`] when the directory changes;
//! - [`NetFront::receive`] until it returns `None`: from then on the back end notifies the next frame;
//! - [`NetFront::transmit`], then [`NetFront::flush`] once for all frames of a turn;
//! - [`NetFront::ring_port`] to know on which port frames are told, which changes with each connection.
//!
//! [`block::BlockFront`] is a disk.
//!
//! Whatever a back end writes, the worst that happens is that this device closes ([`NetFront::reason`]).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod block;
#[cfg(any(test, feature = "fake"))]
mod fake;
mod link;
mod net;
mod platform;
mod receive;
mod rings;
mod traced;
mod transmit;

#[cfg(any(test, feature = "fake"))]
pub use fake::{FakeGrant, FakePlatform, FakeState};
pub use net::{FrontConfig, NetFront, TransmitError};
pub use platform::{Access, Platform, StillInUse};

/// The most pages that a front end posts for receiving.
pub const RECEIVE_PAGES_MAX: u16 = 32;
