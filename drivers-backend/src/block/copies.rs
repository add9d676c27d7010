//! Copies between pages of ours and of front ends', gathered over many requests so that a hypercall carries as many as it can.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypercall_abi::GrantRef;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus};

use super::blockback::BlockBack;
use super::data::Data;
use super::disk::Work;
use crate::platform::Platform;

/// Copies in one hypercall.
const BATCH: usize = 64;

/// Work that needs copies, and how many.
pub(super) type Copied<P> = Vec<(Box<Work<Data<P>>>, usize)>;

impl<P: Platform> BlockBack<P> {
    /// Notes work that needs copies in a list, which has no room of its own before the first.
    pub(super) fn note_copied(&mut self, list: &mut Copied<P>, work: Box<Work<Data<P>>>, copies: usize) {
        if list.capacity() == 0 {
            *list = core::mem::take(&mut self.copied);
        }
        list.push((work, copies));
    }

    /// Carries out the copies that were gathered.
    pub(super) fn copy(&mut self) {
        for batch in self.copies.chunks_mut(BATCH) {
            self.totals.copies += batch.len() as u64;
            self.totals.batches += 1;
            self.platform.copy(batch);
        }
    }

    /// Takes lists of what was copied, and for whom, for the next copies.
    pub(super) fn reuse(&mut self, mut copies: Vec<CopyGrant>, copied: Copied<P>) {
        if self.copied.capacity() == 0 {
            self.copied = copied;
        }
        if self.copies.is_empty() {
            copies.clear();
            self.copies = copies;
        }
    }
}

/// A place in a front end's page, as a copy names it.
pub(super) const fn theirs_at(peer: u16, reference: GrantRef, offset: u16) -> CopySide {
    CopySide { frame_or_ref: reference.0 as u64, domid: peer, offset, pad: 0 }
}

/// A copy that has not been made.
pub(super) const fn copy_of(source: CopySide, dest: CopySide, len: u16, flags: u16) -> CopyGrant {
    CopyGrant { source, dest, len, flags, status: GrantStatus::GeneralError.raw(), pad: 0 }
}
