//! HTTP/1.1 with keep-alive over the guest kernel's network, for guests that serve.
//! It exists so that each of them says only what it answers: connections, their memory and their ends are cared for here.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod server;
mod socket;

pub use server::{CONNECTIONS_MAX, Connections, run};
pub use socket::Hangup;
