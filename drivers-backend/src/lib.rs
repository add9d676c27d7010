//! Back ends of Denizen's split drivers: the half that serves many guests with one real device.
//! It knows no kernel: [`Platform`] and [`Uplink`] stand between, and a guest kernel or a test implements them.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod mac;
mod platform;
mod uplink;

pub use mac::MacAddress;
pub use platform::{Buffer, Platform};
pub use uplink::{SendError, Unplugged, Uplink};
