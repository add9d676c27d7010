//! Memory that is asked for: up to the limit and past it, and given back.

use core::ptr;

use program_runtime::{Error, calls, layout};

const PAGE: u64 = layout::PAGE;

fn touch(page: *mut u8, value: u8) {
    // SAFETY: the caller got the page from the kernel.
    unsafe { page.write_volatile(value) };
}

fn look(page: *const u8) -> u8 {
    // SAFETY: the caller got the page from the kernel.
    unsafe { page.read_volatile() }
}

/// Writes page after page until there are no more.
pub(crate) fn exhaust() -> u32 {
    loop {
        let Ok(pages) = calls::map(64) else { return 1 };
        for page in 0..64 {
            touch(pages.wrapping_add(page * PAGE as usize), 1);
        }
    }
}

/// A heap that grows, pages that come as zeros and go.
pub(crate) fn grow_and_give_back() -> u32 {
    let Ok(heap) = calls::grow(3 * PAGE) else { return 1 };
    let Ok(after) = calls::grow(0) else { return 2 };
    if after as u64 - heap as u64 != 3 * PAGE {
        return 3;
    }
    for page in 0..3 {
        touch(heap.wrapping_add(page * PAGE as usize), 9);
    }
    // More in all than the process may have at once.
    for _ in 0..64 {
        let Ok(pages) = calls::map(32) else { return 4 };
        for page in 0..32 {
            let page = pages.wrapping_add(page * PAGE as usize);
            if look(page) != 0 {
                return 5;
            }
            touch(page, 7);
        }
        // SAFETY: nobody uses them any more.
        if unsafe { calls::unmap(pages, 32) }.is_err() {
            return 6;
        }
    }
    // SAFETY: nothing is there.
    if unsafe { calls::unmap(ptr::without_provenance_mut(1), 1) } != Err(Error::Invalid) {
        return 7;
    }
    u32::from((0..3).any(|page| look(heap.wrapping_add(page * PAGE as usize)) != 9))
}
