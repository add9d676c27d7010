//! Whether our own code and constants still are what they were.
//! A guest whose image somebody wrote to misjudges every answer after that; and nobody may write to it.

use core::ops::Range;

use hypercall_abi::PAGE_SIZE;

unsafe extern "C" {
    /// Limits of what nobody writes, by the linker script.
    static guest_text_start: [u8; 0];
    static guest_read_only_end: [u8; 0];
}

/// Addresses of its pages.
pub(super) fn pages() -> impl Iterator<Item = u64> {
    let Range { start, end } = (&raw const guest_text_start).addr()..(&raw const guest_read_only_end).addr();
    (start as u64 & !(PAGE_SIZE as u64 - 1)..end as u64).step_by(PAGE_SIZE)
}

/// The image as it was at the start, in one number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Image(u64);

impl Image {
    /// Sums up the image.
    pub(super) fn now() -> Self {
        let Range { start, end } =
            (&raw const guest_text_start).addr()..(&raw const guest_read_only_end).addr();
        Self((start.next_multiple_of(8)..end & !7).step_by(8).fold(0, |sum: u64, at| {
            // SAFETY: the linker script puts both limits around memory that is mapped for reading.
            let word = unsafe { (at as *const u64).read_volatile() };
            (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }))
    }
}
