//! A machine for tests: domains with grants and event channels, network drivers and TCP stacks, in one process.
//! It joins the parts as the real machine does, so that most of what QEMU would show is shown by `cargo test`.
//!
//! [`World`] plays the hypervisor: grants and event channels. [`Net`] is a driver domain with its guests; a [`Guest`] is a
//! front end with smoltcp on it; a [`Wire`] is the network outside, with a host on it, that may lose frames. In [`joined`]
//! the real hypervisor core takes the place of [`World`]. [`Disks`] is a driver domain with disks.

mod disks;
mod fickle;
mod guest;
pub mod joined;
mod medium;
mod net;
mod platforms;
mod wire;
mod world;

pub use disks::{BACK_PAGES, Disks, Front};
pub use fickle::FicklePage;
pub use guest::{Guest, Stack};
pub use medium::{Medium, Sector, TestDisk};
pub use net::Net;
pub use platforms::{BackPlatform, FrontPlatform, PacketPage};
pub use wire::{HOST_IP, HOST_MAC, Host, UPLINK_MAC, Wire};
pub use world::{Device, World};

/// The driver domain's number.
pub const DRIVER: hypercall_abi::DomId = hypercall_abi::DomId(1);
