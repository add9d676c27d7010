//! Back ends of Denizen's split drivers: the half that serves many guests with one real device.
//! It knows no kernel: [`Platform`] and [`Uplink`] stand between, and a guest kernel or a test implements them.
//!
//! [`NetBack`] is a layer 2 [`Switch`] between front ends and an uplink. Its owner
//! - calls [`NetBack::add`] and [`NetBack::remove`] as the device directory says;
//! - passes each event to [`NetBack::event`] (ports) or [`NetBack::uplink_event`] (the device);
//! - calls [`NetBack::turn`] until it answers [`Turn::Idle`], then sleeps until an event or the time that it names.
//!
//! [`block::BlockBack`] does the same for disks.
//!
//! A guest that hangs, floods or corrupts its rings harms itself alone: it has a budget in each turn, a bounded share
//! of the packet pool, and an error of its own ends its connection with a reason and nobody else's.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod answers;
pub mod block;
mod frame;
mod link;
mod mac;
mod neighbours;
mod netback;
mod platform;
mod pool;
mod queue;
mod rings;
mod route;
mod switch;
#[cfg(test)]
mod switch_tests;
mod traced;
mod uplink;
mod vif;
mod work;

pub use frame::ARP_FRAME_BYTES;
pub use mac::MacAddress;
pub use netback::{AddError, NetBack, SwitchCounters, Turn};
pub use platform::{Buffer, Platform};
pub use switch::{AddressTaken, DropReason, Ingress, Switch, Verdict, VifId};
pub use uplink::{SendError, Unplugged, Uplink};
pub use vif::FrontEnd;
