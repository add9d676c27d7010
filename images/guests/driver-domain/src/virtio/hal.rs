//! Memory as the device sees it: machine addresses, queues in machine-contiguous pages, mapped registers.
//! A paravirtual domain's own frame numbers mean nothing to a device, so each address is looked up.

use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr::NonNull;

use guest_kernel::memory;
use guest_kernel::window::{self, Range};
use hypercall_abi::{Errno, Mfn, PAGE_SIZE};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// How many blocks are tried before contiguous memory is given up.
const TRIES: usize = 64;

/// Mapped registers: where they are in machine memory, and their addresses here. One task uses them.
struct Registers(RefCell<Vec<(u64, Range)>>);

// SAFETY: the domain has one vCPU, and upcalls do not use the device.
unsafe impl Sync for Registers {}

static REGISTERS: Registers = Registers(RefCell::new(Vec::new()));

/// Maps a BAR's registers for good.
pub(crate) fn map_registers(machine_address: u64, bytes: u64) -> Result<(), Errno> {
    let first = Mfn::containing(machine_address);
    let pages = (machine_address + bytes).div_ceil(PAGE_SIZE as u64) - first.0;
    let range = Range::new(pages)?;
    for page in 0..pages {
        range.map(page, Mfn(first.0 + page), window::DEVICE)?;
    }
    REGISTERS.0.borrow_mut().push((first.address(), range));
    Ok(())
}

/// The machine address of an address of our memory.
pub(crate) fn machine_address(address: u64) -> u64 {
    let frame = memory::machine_frame_at(address).expect("device memory is our own memory");
    frame.address() + (address & (PAGE_SIZE as u64 - 1))
}

/// The memory of this domain, as the virtio driver sees it.
#[derive(Debug)]
pub(crate) enum DomainMemory {}

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a few pages")
}

/// Whether pages that follow each other here do so in machine memory.
fn is_contiguous(address: u64, pages: usize) -> bool {
    let first = machine_address(address);
    (1..pages as u64).all(|page| {
        let offset = page * PAGE_SIZE as u64;
        machine_address(address + offset) == first + offset
    })
}

// SAFETY: memory for the device is page-aligned, zeroed, owned by the allocation until it is freed, and contiguous in
// machine memory; registers are mapped once and never unmapped.
unsafe impl Hal for DomainMemory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let mut unfit = Vec::new();
        let mut found = (0, NonNull::dangling());
        for _ in 0..TRIES {
            // SAFETY: the layout's size is not 0: a queue has at least one page.
            let Some(block) = NonNull::new(unsafe { alloc_zeroed(layout(pages)) }) else { break };
            if is_contiguous(block.as_ptr() as u64, pages) {
                found = (machine_address(block.as_ptr() as u64), block);
                break;
            }
            unfit.push(block);
        }
        for block in unfit {
            // SAFETY: it was allocated above with this layout.
            unsafe { dealloc(block.as_ptr(), layout(pages)) };
        }
        found
    }

    unsafe fn dma_dealloc(_: PhysAddr, block: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller gives back what `dma_alloc` made with this layout.
        unsafe { dealloc(block.as_ptr(), layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(machine_address: PhysAddr, bytes: usize) -> NonNull<u8> {
        let registers = REGISTERS.0.borrow();
        let mapped = registers.iter().find_map(|(first, range)| {
            let offset = machine_address.checked_sub(*first)?;
            let fits = offset + bytes as u64 <= range.pages() * PAGE_SIZE as u64;
            NonNull::new((range.address() + offset) as *mut u8).filter(|_| fits)
        });
        mapped.expect("each BAR of the device was mapped before")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        let address = buffer.cast::<u8>().as_ptr() as u64;
        assert!(is_contiguous(address, 1 + (address as usize % PAGE_SIZE + buffer.len() - 1) / PAGE_SIZE));
        machine_address(address)
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {
        // Device and processor see the same memory.
    }
}
