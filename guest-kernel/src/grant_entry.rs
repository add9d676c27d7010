//! One entry of a grant table: how leave to use a frame is given and safely taken back.
//! It works on atomics, so that the handshake with the hypervisor is tested on the host.

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use hypercall_abi::grant_table::{GrantEntry, entry_flags};
use hypercall_abi::{DomId, Mfn};

/// An entry of a version 1 table, as atomics: the hypervisor writes its in-use bits at any time.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Entry {
    flags: AtomicU16,
    domid: AtomicU16,
    frame: AtomicU32,
}

const _: () = assert!(size_of::<Entry>() == size_of::<GrantEntry>());

/// The peer uses the frame right now, so that leave cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

impl Entry {
    /// Lets `peer` use a frame. The flags come last, since with them the entry is valid.
    pub fn allow(&self, peer: DomId, frame: Mfn, read_only: bool) {
        self.domid.store(peer.0, Ordering::Relaxed);
        self.frame.store(frame.0 as u32, Ordering::Relaxed);
        let read_only = if read_only { entry_flags::READ_ONLY } else { 0 };
        self.flags.store(entry_flags::PERMIT_ACCESS | read_only, Ordering::Release);
    }

    /// Takes the leave back.
    ///
    /// # Errors
    /// [`InUse`] while the peer has the frame mapped or copies it; the entry is then as it was.
    pub fn end(&self) -> Result<(), InUse> {
        let mut flags = self.flags.load(Ordering::Acquire);
        loop {
            if flags & (entry_flags::READING | entry_flags::WRITING) != 0 {
                return Err(InUse);
            }
            match self.flags.compare_exchange_weak(
                flags,
                entry_flags::INVALID,
                Ordering::SeqCst,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => flags = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_is_given_with_all_that_the_hypervisor_reads() {
        let entry = Entry::default();
        entry.allow(DomId(3), Mfn(0x1234), true);
        assert_eq!(entry.domid.load(Ordering::SeqCst), 3);
        assert_eq!(entry.frame.load(Ordering::SeqCst), 0x1234);
        assert_eq!(entry.flags.load(Ordering::SeqCst), entry_flags::PERMIT_ACCESS | entry_flags::READ_ONLY);
        assert_eq!(entry.end(), Ok(()));
        assert_eq!(entry.flags.load(Ordering::SeqCst), entry_flags::INVALID);
    }

    #[test]
    fn leave_stays_while_the_peer_uses_the_frame() {
        let entry = Entry::default();
        for bit in [entry_flags::READING, entry_flags::WRITING] {
            entry.allow(DomId(3), Mfn(1), false);
            entry.flags.fetch_or(bit, Ordering::SeqCst);
            assert_eq!(entry.end(), Err(InUse));
            entry.flags.fetch_and(!bit, Ordering::SeqCst);
            assert_eq!(entry.end(), Ok(()));
        }
    }
}
