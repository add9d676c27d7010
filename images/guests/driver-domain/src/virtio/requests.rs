//! A queue of requests to a virtio disk: descriptors, both rings, and a head and a status for each request.
//! Nothing is allocated for a request, and the device hears of many at once; pages of data are given by their machine
//! addresses, so that they may be anybody's.

use alloc::vec;
use alloc::vec::Vec;

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
const ENVELOPES_PER_PAGE: usize = PAGE_SIZE / ENVELOPE;

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
    envelopes: Vec<Page>,
    /// What follows each descriptor, in a request or among the free ones. The device cannot change it.
    next: Vec<u16>,
    /// The last descriptor of each request, by its first.
    last: Vec<Option<u16>>,
    free: u16,
    free_count: u16,
    /// The entries of the available ring.
    ring: Vec<u16>,
    /// Requests made, of them shown to the device, and those that it gave back.
    made: u16,
    shown: u16,
    taken: u16,
    event_index: bool,
}

impl RequestQueue {
    /// Makes queue 0 of a device, which is being set up. `event_index` if that was agreed upon. `None` if the device has no
    /// queue so long, or there is no memory.
    pub(crate) fn new(transport: &mut impl Transport, event_index: bool) -> Option<Self> {
        if transport.max_queue_size(0) < ENTRIES.into() {
            return None;
        }
        let pages = usize::from(ENTRIES) / ENVELOPES_PER_PAGE;
        let envelopes = (0..pages).map(|_| Page::new()).collect::<Option<Vec<_>>>()?;
        let (table, available, used) = (Page::new()?, Page::new()?, Page::new()?);
        let [at_table, at_available, at_used] =
            [&table, &available, &used].map(|page| page.machine_frame().address());
        transport.queue_set(0, ENTRIES.into(), at_table, at_available, at_used);
        Some(Self {
            table,
            available,
            used,
            envelopes,
            next: (1..=ENTRIES).collect(),
            last: vec![None; ENTRIES.into()],
            free: 0,
            free_count: ENTRIES,
            ring: vec![0; ENTRIES.into()],
            made: 0,
            shown: 0,
            taken: 0,
            event_index,
        })
    }

    fn envelope(&self, token: u16) -> Option<(Mapped, usize, u64)> {
        let page = self.envelopes.get(usize::from(token) / ENVELOPES_PER_PAGE)?;
        let offset = usize::from(token) % ENVELOPES_PER_PAGE * ENVELOPE;
        Some((page.shared(), offset, page.machine_frame().address() + offset as u64))
    }

    /// Writes the next free descriptor and returns it.
    fn describe(&mut self, table: Mapped, run: Run, flags: u64) -> u16 {
        let at = self.free;
        let next = self.next.get(usize::from(at)).copied().unwrap_or(0);
        let offset = usize::from(at) * DESCRIPTOR;
        table.store_wide(offset, run.address);
        table.store_wide(offset + 8, u64::from(run.bytes) | flags << 32 | u64::from(next) << 48);
        self.free = next;
        self.free_count -= 1;
        at
    }

    /// Makes a request of `count` runs of data. Returns the token that it comes back with; `None` when there is no room.
    /// The device hears of it after [`Self::show`]. What the runs describe must not be used otherwise until then.
    pub(crate) fn add(&mut self, head: Head, count: usize, runs: impl Iterator<Item = Run>) -> Option<u16> {
        if count + 3 > usize::from(self.free_count) {
            return None;
        }
        let token = self.free;
        let (envelope, offset, address) = self.envelope(token)?;
        let table = self.table.shared();
        envelope.store_wide(offset, head.kind.into());
        envelope.store_wide(offset + 8, head.sector);
        envelope.store(offset + STATUS, u8::MAX.into());
        let of = |at: usize, bytes: u32| Run { address: address + at as u64, bytes };
        self.describe(table, of(0, HEAD_BYTES as u32), NEXT);
        if let Some((sector, sectors)) = head.discard {
            envelope.store_wide(offset + HEAD_BYTES, sector);
            envelope.store_wide(offset + HEAD_BYTES + 8, sectors.into());
            self.describe(table, of(HEAD_BYTES, 16), NEXT);
        }
        let flags = if head.reads { NEXT | WRITE } else { NEXT };
        for run in runs.take(count) {
            self.describe(table, run, flags);
        }
        let last = self.describe(table, of(STATUS, 1), WRITE);
        *self.last.get_mut(usize::from(token))? = Some(last);
        let slot = usize::from(self.made % ENTRIES);
        *self.ring.get_mut(slot)? = token;
        if let Some([low, high]) = self.ring.get(slot & !1..(slot & !1) + 2) {
            // Two entries in a word; the other is written as it is.
            let word = u32::from(*low) | u32::from(*high) << 16;
            self.available.shared().store(AVAILABLE_RING + (slot & !1) * 2, word);
        }
        self.made = self.made.wrapping_add(1);
        Some(token)
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
        let used = self.used.shared();
        if self.event_index {
            let wanted = used.load(WANTED_DOORBELL) as u16;
            new.wrapping_sub(wanted).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            used.load(0) & 1 == 0
        }
    }

    fn is_done(&self) -> bool {
        (self.used.shared().load_acquire(0) >> 16) as u16 != self.taken
    }

    /// Takes back a request that is done: its token, and what the device says of it. After `None` an interrupt tells of the
    /// next. `Err` for what was never asked.
    pub(crate) fn take(&mut self) -> Option<Result<(u16, u8), u32>> {
        if !self.is_done() {
            let available = self.available.shared();
            available.store(WANTED_INTERRUPT, self.taken.into());
            // Our look must not be earlier than the device's at what we asked.
            available.fence();
            if !self.is_done() {
                return None;
            }
        }
        let id = self.used.shared().load(USED_RING + usize::from(self.taken % ENTRIES) * 8);
        self.taken = self.taken.wrapping_add(1);
        let last = self.last.get_mut(id as usize).and_then(Option::take);
        let (Some(last), Ok(token)) = (last, u16::try_from(id)) else { return Some(Err(id)) };
        let mut count = 1;
        let mut at = token;
        while at != last && count < ENTRIES {
            at = self.next.get(usize::from(at)).copied().unwrap_or(last);
            count += 1;
        }
        if let Some(place) = self.next.get_mut(usize::from(last)) {
            *place = self.free;
        }
        self.free = token;
        self.free_count += count;
        let (envelope, offset, _) = self.envelope(token)?;
        Some(Ok((token, envelope.load(offset + STATUS) as u8)))
    }
}
