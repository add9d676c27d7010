//! What the guest kernel and its programs share: system calls, addresses, how processes end.
//! It is a crate of its own so that a program links nothing of the kernel, and the kernel nothing of a program.
//!
//! A system call is a call of [`layout::GATE`], where the kernel maps a page with whichever instruction leads to it in
//! the ring that it was given. Number in RAX, arguments in RDI RSI RDX, result in RAX; RCX and R11 are lost, all else
//! is kept. A result from -4095 up to -1 is an [`Error`].

#![no_std]
#![forbid(unsafe_code)]

pub mod call;
pub mod error;
pub mod exit;
pub mod layout;

pub use call::Call;
pub use error::Error;
pub use exit::Exit;
