//! A queue of requests to a virtio disk: descriptors, both rings, and a head and a status for each request.
//! Nothing is allocated for a request, and the device hears of many at once; pages of data are given by their machine
//! addresses, so that they may be anybody's.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::array;

use guest_kernel::memory::Page;
use guest_kernel::shared_page::Mapped;
use hypercall_abi::PAGE_SIZE;
use hypercall_abi::ring::SharedPage;
use virtio_drivers::transport::Transport;

/// Entries of the queue. A request takes one for each run of data and two more, or three.
pub(crate) const ENTRIES: u16 = 256;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;
/// In a descriptor: another follows.
const NEXT: u64 = 1;
/// In a descriptor: the device writes.
const WRITE: u64 = 2;
/// Offsets in the ring of what is available: flags and index, its entries, from which index on we want an interrupt.
const AVAILABLE_RING: usize = 4;
const WANTED_INTERRUPT: usize = AVAILABLE_RING + 2 * ENTRIES as usize;
/// Offsets in the ring of what was used: flags and index, its entries, from which index on the device wants to be told.
const USED_RING: usize = 4;
const WANTED_DOORBELL: usize = USED_RING + 8 * ENTRIES as usize;
/// Bytes for what surrounds the data of a request: its head, the data of a discard, its status.
const ENVELOPE: usize = 64;
const HEAD_BYTES: usize = 16;
const STATUS: usize = 32;
/// Descriptors of a request with one run of data.
const SHORT: u16 = 3;
/// What a request takes at most beside its runs of data: its head, the data of a discard, its status.
pub(crate) const ENVELOPE_RUNS: usize = 3;
const ENVELOPES_PER_PAGE: usize = PAGE_SIZE / ENVELOPE;
const ENVELOPE_PAGES: usize = ENTRIES as usize / ENVELOPES_PER_PAGE;

/// A number for each entry.
type PerEntry = Box<[u16; ENTRIES as usize]>;

/// The place of an entry in a table of all, or of an index in a ring.
const fn place(at: u16) -> usize {
    (at % ENTRIES) as usize
}

/// A run of bytes as the device sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Its machine address.
    pub(crate) address: u64,
    /// Its length.
    pub(crate) bytes: u32,
}

/// What a request says before its data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// What to do.
    pub(crate) kind: u32,
    /// First sector.
    pub(crate) sector: u64,
    /// For a discard: first sector and count, which the device reads as its data.
    pub(crate) discard: Option<(u64, u32)>,
    /// Whether the device writes the data.
    pub(crate) reads: bool,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct RequestQueue {
    table: Page,
    available: Page,
    used: Page,
    /// Pages of envelopes, and where the device sees them.
    envelopes: [(Page, u64); ENVELOPE_PAGES],
    /// What follows each descriptor, in a request or among the free ones. The device cannot change it.
    next: PerEntry,
    /// How many descriptors each request has, by its first; 0 for what is not under way.
    length: PerEntry,
    /// Chains of three as most requests have them: head and status are described for good, and only the data between is
    /// exchanged. By their first descriptors.
    ready: Vec<u16>,
    free: u16,
    free_count: u16,
    /// The entries of the available ring.
    ring: PerEntry,
    /// Requests made, of them shown to the device, and those that it gave back.
    made: u16,
    shown: u16,
    taken: u16,
    /// The index from which on the device was shown requests without a doorbell.
    quiet: Option<u16>,
    event_index: bool,
}

impl RequestQueue {
    /// Makes queue 0 of a device, which is being set up. `event_index` if that was agreed upon. `None` if the device has no
    /// queue so long, or there is no memory.
    pub(crate) fn new(transport: &mut impl Transport, event_index: bool) -> Option<Self> {
        if transport.max_queue_size(0) < ENTRIES.into() {
            return None;
        }
        let pages = (0..ENVELOPE_PAGES).map(|_| Page::new()).collect::<Option<Vec<_>>>()?;
        let pages: [Page; ENVELOPE_PAGES] = pages.try_into().ok()?;
        let envelopes = pages.map(|page| {
            let address = page.machine_frame().address();
            (page, address)
        });
        let (table, available, used) = (Page::new()?, Page::new()?, Page::new()?);
        let [at_table, at_available, at_used] =
            [&table, &available, &used].map(|page| page.machine_frame().address());
        transport.queue_set(0, ENTRIES.into(), at_table, at_available, at_used);
        Some(Self {
            table,
            available,
            used,
            envelopes,
            next: Box::new(array::from_fn(|at| at as u16 + 1)),
            length: Box::new([0; ENTRIES as usize]),
            ready: Vec::with_capacity(ENTRIES.into()),
            free: 0,
            free_count: ENTRIES,
            ring: Box::new([0; ENTRIES as usize]),
            made: 0,
            shown: 0,
            taken: 0,
            quiet: None,
            event_index,
        })
    }

    #[inline]
    fn envelope(&self, token: u16) -> (Mapped, usize, u64) {
        let (page, address) = &self.envelopes[place(token) / ENVELOPES_PER_PAGE];
        let offset = place(token) % ENVELOPES_PER_PAGE * ENVELOPE;
        (page.shared(), offset, address + offset as u64)
    }

    #[inline]
    fn after(&self, at: u16) -> u16 {
        self.next[place(at)]
    }

    /// Writes a descriptor, before that which follows it.
    #[inline]
    fn describe(table: Mapped, at: u16, run: Run, flags: u64, next: u16) {
        let offset = place(at) * DESCRIPTOR;
        table.store_wide(offset, run.address);
        table.store_wide(offset + 8, u64::from(run.bytes) | flags << 32 | u64::from(next) << 48);
    }

    /// Writes the next free descriptor.
    fn take_free(&mut self, table: Mapped, run: Run, flags: u64) {
        let at = self.free;
        self.free = self.after(at);
        self.free_count -= 1;
        Self::describe(table, at, run, flags, self.free);
    }

    /// Puts a chain of descriptors to those that are free.
    fn free_chain(&mut self, token: u16, length: u16) {
        let last = (1..length).fold(token, |at, _| self.after(at));
        self.next[place(last)] = self.free;
        self.free = token;
        self.free_count += length;
    }

    /// Runs of data for which there is room, if each request counts [`ENVELOPE_RUNS`] more.
    pub(crate) fn room(&self) -> usize {
        usize::from(self.free_count) + self.ready.len() * usize::from(SHORT)
    }

    /// Makes a request of `count` runs of data, for which there must be room. Returns the token that it comes back with.
    /// The device hears of it after [`Self::show`]. What the runs describe must not be used otherwise until then.
    #[inline(always)]
    pub(crate) fn add(&mut self, head: Head, count: usize, mut runs: impl Iterator<Item = Run>) -> u16 {
        let flags = if head.reads { NEXT | WRITE } else { NEXT };
        let table = self.table.shared();
        if count == 1
            && let Some(token) = self.ready.pop()
            && let Some(run) = runs.next()
        {
            let data = self.after(token);
            Self::describe(table, data, run, flags, self.after(data));
            self.begin(token, head, SHORT);
            return token;
        }
        self.add_long(head, flags, count, runs)
    }

    /// As [`Self::add`], with descriptors of its own.
    #[inline(never)]
    fn add_long(&mut self, head: Head, flags: u64, count: usize, runs: impl Iterator<Item = Run>) -> u16 {
        let table = self.table.shared();
        while count + ENVELOPE_RUNS > usize::from(self.free_count)
            && let Some(token) = self.ready.pop()
        {
            self.free_chain(token, SHORT);
        }
        assert!(count + ENVELOPE_RUNS <= usize::from(self.free_count), "{count} runs have no room");
        let (token, before) = (self.free, self.free_count);
        let (envelope, offset, address) = self.envelope(token);
        let of = |at: usize, bytes: u32| Run { address: address + at as u64, bytes };
        self.take_free(table, of(0, HEAD_BYTES as u32), NEXT);
        if let Some((sector, sectors)) = head.discard {
            envelope.store_wide(offset + HEAD_BYTES, sector);
            envelope.store_wide(offset + HEAD_BYTES + 8, sectors.into());
            self.take_free(table, of(HEAD_BYTES, 16), NEXT);
        }
        for run in runs.take(count) {
            self.take_free(table, run, flags);
        }
        self.take_free(table, of(STATUS, 1), WRITE);
        self.begin(token, head, before - self.free_count);
        token
    }

    /// Makes a chain of descriptors available that describes a request.
    #[inline]
    fn begin(&mut self, token: u16, head: Head, length: u16) {
        let (envelope, offset, _) = self.envelope(token);
        envelope.store_wide(offset, head.kind.into());
        envelope.store_wide(offset + 8, head.sector);
        envelope.store(offset + STATUS, u8::MAX.into());
        self.length[place(token)] = length;
        let slot = place(self.made);
        self.ring[slot] = token;
        // Two entries in a word; the other is written as it is.
        let (low, high) = (self.ring[slot & !1], self.ring[slot | 1]);
        let word = u32::from(low) | u32::from(high) << 16;
        self.available.shared().store(AVAILABLE_RING + (slot & !1) * 2, word);
        self.made = self.made.wrapping_add(1);
    }

    /// Shows the device all requests that were made. True when it wants to be told.
    pub(crate) fn show(&mut self) -> bool {
        let (old, new) = (self.shown, self.made);
        if old == new {
            return false;
        }
        let available = self.available.shared();
        // The flags stand beside the index, and are zeros.
        available.store_release(0, u32::from(new) << 16);
        self.shown = new;
        available.fence();
        let wants = self.wants_doorbell(old);
        // What was not told before is still not told.
        self.quiet = if wants { None } else { self.quiet.or(Some(old)) };
        wants
    }

    /// Whether the device wants to be told of the requests from this index on. One that cannot say is always told.
    fn wants_doorbell(&self, old: u16) -> bool {
        let wanted = self.used.shared().load(WANTED_DOORBELL) as u16;
        !self.event_index || self.shown.wrapping_sub(wanted).wrapping_sub(1) < self.shown.wrapping_sub(old)
    }

    /// A second look a while after [`Self::show`]: true when the device wants to be told nevertheless. A processor keeps the
    /// fence there; QEMU's emulation of a single one leaves fences out (7.2), so that device and driver could miss each other.
    pub(crate) fn wants_late_doorbell(&mut self) -> bool {
        self.quiet.take().is_some_and(|old| self.wants_doorbell(old))
    }

    /// Whether the device gave something back.
    pub(crate) fn is_done(&self) -> bool {
        (self.used.shared().load_acquire(0) >> 16) as u16 != self.taken
    }

    /// Asks for an interrupt when the device gives the next one back; true when it did already. Only who is about to sleep
    /// asks: a device that is done before that spares both sides the interrupt.
    pub(crate) fn ask_interrupt(&mut self) -> bool {
        if self.taken != self.shown {
            let available = self.available.shared();
            available.store(WANTED_INTERRUPT, self.taken.into());
            // Our look must not be earlier than the device's at what we asked.
            available.fence();
        }
        self.is_done()
    }

    /// Takes back a request that is done: its token, and what the device says of it. `Err` for what was never asked.
    pub(crate) fn take(&mut self) -> Option<Result<(u16, u8), u32>> {
        if !self.is_done() {
            return None;
        }
        let id = self.used.shared().load(USED_RING + place(self.taken) * 8);
        self.taken = self.taken.wrapping_add(1);
        let length = self.length.get_mut(id as usize).map_or(0, core::mem::take);
        let (1.., Ok(token)) = (length, u16::try_from(id)) else { return Some(Err(id)) };
        if length == SHORT {
            self.ready.push(token);
        } else {
            self.free_chain(token, length);
        }
        let (envelope, offset, _) = self.envelope(token);
        Some(Ok((token, envelope.load(offset + STATUS) as u8)))
    }
}
