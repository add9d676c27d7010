//! Calls that change nothing: what it costs to enter the hypervisor and return.

use guest_kernel::hypercall::{domain, raw};
use hypercall_abi::Hypercall;
use hypercall_abi::multicall::MulticallEntry;

use crate::measure::{N, measure};

/// A number that neither Xen nor Denizen gives a meaning.
const UNKNOWN: u32 = 63;
const BATCH: usize = 32;

pub(crate) fn run() {
    measure("null_hypercall", N, 1, || {
        // SAFETY: the number is unknown, so that nothing happens.
        let _ = unsafe { raw::call0::<UNKNOWN>() };
    });
    measure("xen_version", N, 1, || {
        let _ = domain::version();
    });
    let mut call = MulticallEntry::zeroed();
    call.op = Hypercall::XenVersion.raw().into();
    let mut calls = [call; BATCH];
    measure("multicall_32_xen_version", N / 10, BATCH as u64, || {
        // SAFETY: the array is read and its results are written; each call in it asks for the version.
        let _ =
            unsafe { raw::call2::<{ Hypercall::Multicall as u32 }>(calls.as_mut_ptr() as u64, BATCH as u64) };
    });
    measure("yield", N, 1, domain::yield_now);
}
