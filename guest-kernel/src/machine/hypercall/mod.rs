//! Hypercalls with typed arguments and results, one function each.
//! Nothing above this module knows numbers or registers.

pub mod domain;
pub mod event;
pub mod extension;
pub mod grant;
pub mod memory;
pub mod raw;
pub mod time;

use hypercall_abi::{Errno, Hypercall};

/// What a hypercall answers.
pub type Result<T = ()> = core::result::Result<T, Errno>;

/// The address of an argument structure as a hypercall wants it.
pub(crate) fn address<T: ?Sized>(argument: &mut T) -> u64 {
    (&raw mut *argument).cast::<u8>() as u64
}

/// Reads a result that carries no value.
pub(crate) fn done(rax: u64) -> Result {
    Errno::from_rax(rax).map(drop)
}

/// The number of a hypercall, as the raw calls want it.
pub(crate) const fn number(call: Hypercall) -> u32 {
    call.raw()
}
