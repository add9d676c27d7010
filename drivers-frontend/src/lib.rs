//! Front ends of Denizen's split drivers: the half that runs in each guest.
//! It knows no kernel: [`Platform`] stands between, and a guest kernel or a test implements it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod platform;

pub use platform::{Access, Platform, StillInUse};
