//! Our grant table: leave for others to use frames of ours.
//! Its frames are the hypervisor's; they are mapped here as they are needed, 512 references at a time.

use alloc::vec::Vec;
use core::cell::RefCell;

use critical_section::Mutex;
use hypercall_abi::event_channel::Status;
use hypercall_abi::grant_table::{DEVICE_FIRST, ENTRIES_PER_FRAME, RESERVED_ENTRIES};
use hypercall_abi::{DomId, Errno, GrantRef, Mfn};

use super::devices;
use super::hypercall::{self, event, grant as calls};
use super::window::{self, Range};
use crate::grant_entry::{Entry, InUse};

/// The most frames that the table may grow to.
const FRAMES_MAX: usize = 32;

/// The table as far as it is mapped.
struct Table {
    frames: Vec<Range>,
    free: Vec<u32>,
}

static TABLE: Mutex<RefCell<Table>> =
    Mutex::new(RefCell::new(Table { frames: Vec::new(), free: Vec::new() }));

impl Table {
    fn entry(&self, reference: GrantRef) -> Option<&Entry> {
        let frame = self.frames.get((reference.0 / ENTRIES_PER_FRAME) as usize)?;
        let index = reference.0 % ENTRIES_PER_FRAME;
        let entries = frame.address() as *const [Entry; ENTRIES_PER_FRAME as usize];
        // SAFETY: the frame is mapped for the domain's life and holds this many entries; all of an entry is atomic.
        unsafe { &*entries }.get(index as usize)
    }

    /// Asks for one more frame and maps it.
    fn grow(&mut self) -> hypercall::Result {
        let count = self.frames.len();
        if count == FRAMES_MAX {
            return Err(Errno::NoSpc);
        }
        if count == 0 {
            // A hypervisor that knows only version 1 may refuse the question.
            let _ = calls::set_version(1);
        }
        let mut list = [Mfn(0); FRAMES_MAX];
        let list = list.get_mut(..=count).ok_or(Errno::NoSpc)?;
        calls::setup_table(list)?;
        let range = Range::new(1)?;
        range.map(0, list.last().copied().ok_or(Errno::NoSpc)?, window::DATA)?;
        self.frames.push(range);
        let first = count as u32 * ENTRIES_PER_FRAME;
        let reserved = RESERVED_ENTRIES.max(DEVICE_FIRST + devices::fronts());
        self.free.extend((first.max(reserved)..first + ENTRIES_PER_FRAME).rev());
        Ok(())
    }
}

/// Lets `peer` use one of our frames until [`end`].
///
/// # Errors
/// [`Errno::NoSpc`] when the table is full, otherwise as the hypervisor says of its growth.
pub fn allow(peer: DomId, frame: Mfn, read_only: bool) -> hypercall::Result<GrantRef> {
    critical_section::with(|token| {
        let mut table = TABLE.borrow_ref_mut(token);
        // Device pages may have all references of the first frame.
        while table.free.is_empty() {
            table.grow()?;
        }
        let reference = GrantRef(table.free.pop().ok_or(Errno::NoSpc)?);
        table.entry(reference).ok_or(Errno::NoSpc)?.allow(peer, frame, read_only);
        Ok(reference)
    })
}

/// Takes leave back and frees the reference. A reference that was never given is left alone.
///
/// # Errors
/// [`InUse`] while the peer uses the frame; the reference stays given.
pub fn end(reference: GrantRef) -> Result<(), InUse> {
    critical_section::with(|token| {
        let mut table = TABLE.borrow_ref_mut(token);
        let Some(entry) = table.entry(reference) else { return Ok(()) };
        entry.end()?;
        table.free.push(reference.0);
        Ok(())
    })
}

/// Our own domain number, which the hypervisor tells as the peer of a port that we leave for ourselves.
///
/// # Errors
/// As the hypervisor says.
pub fn own_domain() -> hypercall::Result<DomId> {
    let port = event::alloc_unbound(DomId::SELF)?;
    let mut status =
        Status { dom: DomId::SELF.0, pad: 0, port: port.0, status: 0, vcpu: 0, peer: 0, peer_port: 0 };
    let answer = event::status(&mut status);
    event::close(port)?;
    answer.map(|()| DomId(status.peer as u16))
}
