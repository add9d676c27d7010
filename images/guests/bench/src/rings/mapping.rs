//! Mapping and unmapping 4,096 pages of the kernel's: one by one and many in a call.

use alloc::vec::Vec;

use guest_kernel::clock;
use guest_kernel::hypercall::memory::mmu_update;
use guest_kernel::memory::Page;
use guest_kernel::window::{self, Range};
use hypercall_abi::mmu::MmuUpdate;
use hypercall_abi::{Errno, PAGE_SIZE};

use super::{entries, report};
use crate::measure::failed;

const PAGES: usize = 4096;

pub(super) fn run() {
    if let Err(error) = try_run() {
        failed("map_1", format_args!("{error:?}"));
    }
}

fn try_run() -> Result<(), Errno> {
    let pages: Option<Vec<Page>> = (0..PAGES).map(|_| Page::new()).collect();
    let pages = pages.ok_or(Errno::NoMem)?;
    let range = Range::new(PAGES as u64)?;
    let mut map = Vec::with_capacity(PAGES);
    for (index, page) in pages.iter().enumerate() {
        let address = range.address() + (index * PAGE_SIZE) as u64;
        let ptr = window::entry_machine_address(address).ok_or(Errno::Fault)?;
        map.push(MmuUpdate { ptr, val: page.machine_frame().address() | window::DATA });
    }
    let mut unmap: Vec<MmuUpdate> =
        map.iter().map(|request| MmuUpdate { ptr: request.ptr, val: 0 }).collect();
    for batch in [1, 32, 128] {
        for (what, requests) in [("map", &mut map), ("unmap", &mut unmap)] {
            let before = entries();
            let start = clock::tsc();
            for part in requests.chunks_mut(batch) {
                // SAFETY: these addresses are reserved by the range and nobody uses them.
                unsafe { mmu_update(part) }?;
            }
            let ticks = clock::tsc() - start;
            let entered = entries().zip(before).map(|(after, before)| (after - before - 1, PAGES as u64));
            let name = alloc::format!("{what}_{batch}");
            report(&name, ticks / PAGES as u64, PAGES as u64, entered);
        }
    }
    Ok(())
}
