//! Tables whose last use has gone, waiting for their entries to be released.
//! There is a queue because a tree built over many calls may fall in one, and no call works without bound.

use hypercall_abi::Mfn;

use super::{ENTRIES, Tables, entry};
use crate::effects::Todo;
use crate::frames::{FrameType, Level};
use crate::memory::MachineMemory;

/// Tables in the order in which they are released; each names the next in its frame record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    ends: Option<(Mfn, Mfn)>,
    /// Entries of the first table that are released already.
    released: u64,
}

impl Queue {
    /// Nothing waits.
    pub(super) const EMPTY: Self = Self { ends: None, released: 0 };

    /// Whether nothing waits.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    /// The table being released and how many of its entries are.
    pub(super) fn progress(&self) -> Option<(Mfn, u64)> {
        self.ends.map(|(first, _)| (first, self.released))
    }
}

impl<M: MachineMemory> Tables<'_, M> {
    /// Gives back a use of a table of this domain, with its reference.
    pub(crate) fn put_table(&mut self, mfn: Mfn) {
        self.space.remembered().forget();
        if !self.frames.put_table_use(mfn) {
            self.frames.put(mfn);
            return;
        }
        // The processor may remember that it was a table.
        self.todo |= Todo::FLUSH_TLB;
        let first = match self.space.queue.ends {
            Some((first, last)) => {
                self.frames.set_link(last, mfn);
                first
            }
            None => mfn,
        };
        self.space.queue.ends = Some((first, mfn));
    }

    /// Releases waiting tables as far as this call's work goes. Returns whether none are left.
    pub(crate) fn drain(&mut self) -> bool {
        while let Some((first, last)) = self.space.queue.ends {
            let FrameType::Table(level) = self.frames.last_type(first) else {
                // Cannot be: only tables are queued. Dropping the queue leaks frames, which the audit reports.
                self.space.queue = Queue::EMPTY;
                return true;
            };
            while self.space.queue.released < ENTRIES {
                let Some(work) = self.work.checked_sub(1) else { return false };
                self.work = work;
                let at = entry::place(first, self.space.queue.released);
                self.space.queue.released = self.space.queue.released.saturating_add(1);
                self.release_entry(level, at);
            }
            if level == Level::L4 {
                self.set_hypervisor_slots(first, [0; 16]);
            }
            // Entries above may have made the queue longer.
            let last = self.space.queue.ends.map_or(last, |(_, last)| last);
            let next = if first == last { None } else { self.frames.link(first) };
            self.space.queue = Queue { ends: next.map(|next| (next, last)), released: 0 };
            self.frames.forget_table(first);
            self.space.tables = self.space.tables.wrapping_sub(1);
            self.frames.put(first);
        }
        true
    }
}
