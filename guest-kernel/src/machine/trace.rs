//! Records of our own in the hypervisor's trace: spans of an application, numbers, rings.
//! While nobody records them, each costs one look at the shared page; on Xen it is never more. A hypercall is made only
//! when the places in the shared page are full.

use core::sync::atomic::{AtomicU64, Ordering};

use hypercall_abi::DomId;
use hypercall_abi::extension::{GuestRecord, RingSide};
use hypercall_abi::ring::{Notify, Progress, RingRecord, RingTold, RingTurn, Step};
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET, TRACE_GUEST, TRACE_OFFSET};

use super::clock;
use super::hypercall::extension;
use super::window::SHARED_INFO;

/// Whether records of a category are made now: one of [`hypercall_abi::shared_info`]'s `TRACE_...`.
#[inline]
#[must_use]
pub fn wants(category: u64) -> bool {
    // SAFETY: the shared page is mapped there for the domain's life, and its last word is an atomic for all.
    let categories = unsafe { &*((SHARED_INFO as u64 + TRACE_OFFSET) as *const AtomicU64) };
    categories.load(Ordering::Relaxed) & category != 0
}

/// A name as records have it: its first eight bytes.
#[must_use]
pub const fn name(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut name = [0; 8];
    let mut at = 0;
    while at < name.len() && at < bytes.len() {
        name[at] = bytes[at];
        at += 1;
    }
    u64::from_le_bytes(name)
}

/// A place for a record in the shared page.
type Place = [AtomicU64; RECORD_WORDS];

/// Records that were made so far.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Makes a record: in the shared page, from where the hypervisor takes it. An upcall may come at any moment and make
/// records too, so the place is taken first, and the word that makes it a record is written last.
#[cold]
fn record(record: GuestRecord, a: u64, b: u64) {
    let what = record.raw() as u64 + 1;
    match reserved() {
        Some(place) => put(place, what, a, b),
        None => flushed(record, a, b),
    }
}

/// Where a record's first word has the time.
const TICKS: u32 = 12;

/// Takes the next place, if that is free.
#[inline(always)]
fn reserved() -> Option<&'static Place> {
    // SAFETY: the shared page is mapped there for the domain's life, and these words are atomics for all.
    let places = unsafe { &*((SHARED_INFO as u64 + RECORDS_OFFSET) as *const [Place; RECORDS]) };
    let made = MADE.load(Ordering::Relaxed);
    let place = &places[made as usize % RECORDS];
    let [first, ..] = place;
    let free = first.load(Ordering::Relaxed) == 0;
    if !free || MADE.compare_exchange(made, made + 1, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return None;
    }
    Some(place)
}

/// Writes a record in a place that was taken: its first word without the time, and the others.
#[inline(always)]
fn put([first, second, third]: &Place, what: u64, a: u64, b: u64) {
    second.store(a, Ordering::Relaxed);
    third.store(b, Ordering::Relaxed);
    first.store((clock::tsc() << TICKS) | what, Ordering::Release);
}

/// The same after the hypervisor was asked to take the oldest. If it cannot, because we have interrupted ourselves while that
/// was made, there is another way.
#[cold]
#[inline(never)]
fn flushed(record: GuestRecord, a: u64, b: u64) {
    if !put_after_flush(record.raw() as u64 + 1, a, b) {
        let _ = extension::trace_record(record, a, b);
    }
}

/// Asks the hypervisor to take the oldest, and writes a record. Returns whether there was room then.
fn put_after_flush(what: u64, a: u64, b: u64) -> bool {
    let place = extension::trace_flush().ok().and_then(|_| reserved());
    place.inspect(|place| put(place, what, a, b)).is_some()
}

/// A span of an application's work: it ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Span {
    name: u64,
    value: u64,
}

impl Span {
    /// Begins a span. The value tells it from others of its name that are open at the same time.
    #[inline]
    pub fn new(text: &'static str, value: u64) -> Self {
        let name = name(text);
        if wants(TRACE_GUEST) {
            record(GuestRecord::SpanBegin, name, value);
        }
        Self { name, value }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if wants(TRACE_GUEST) {
            record(GuestRecord::SpanEnd, self.name, self.value);
        }
    }
}

/// Something happened.
#[inline]
pub fn instant(text: &'static str, value: u64) {
    if wants(TRACE_GUEST) {
        record(GuestRecord::Instant, name(text), value);
    }
}

/// A number is this now.
#[inline]
pub fn value(text: &'static str, value: u64) {
    if wants(TRACE_GUEST) {
        record(GuestRecord::Value, name(text), value);
    }
}

/// A driver tells of a ring: all of it in one place.
#[inline(always)]
pub fn ring(told: RingTold) {
    match told.place() {
        Some([what, indices, counts]) => match reserved() {
            Some(place) => put(place, what, indices, counts),
            None => ring_flushed(what, indices, counts),
        },
        // More than a ring holds: nobody has asked for long.
        None => {
            let RingTold { side, peer, progress: Progress { produced, consumed }, notify } = told;
            let indices = both(produced.index, consumed.index);
            let [produced, consumed] = [produced, consumed].map(|step| both(step.count, step.waiting));
            ring_far(side, peer, notify, indices, produced, consumed);
        }
    }
}

/// Two halves of a word.
const fn both(low: u32, high: u32) -> u64 {
    low as u64 | ((high as u64) << 32)
}

/// The same, of what has no room in a place. All of it is in registers, so that what is usual needs no memory for it.
#[cold]
#[inline(never)]
fn ring_far(side: RingSide, peer: DomId, notify: Notify, indices: u64, produced: u64, consumed: u64) {
    let step = |index: u64, counts: u64| Step {
        index: index as u32,
        count: counts as u32,
        waiting: (counts >> 32) as u32,
    };
    let progress = Progress { produced: step(indices, produced), consumed: step(indices >> 32, consumed) };
    RingTold { side, peer, progress, notify }.records().for_each(ring_by_call);
}

/// The same where there is no place.
#[cold]
#[inline(never)]
fn ring_flushed(what: u64, indices: u64, counts: u64) {
    if !put_after_flush(what, indices, counts) {
        let records = RingTurn::read([what, indices, counts]).records();
        records.into_iter().flatten().for_each(ring_by_call);
    }
}

#[cold]
#[inline(never)]
fn ring_by_call(record: RingRecord) {
    let [ring, counts] = record.words();
    let _ = extension::trace_record(record.record, ring, counts);
}

/// The upcall handler has served so many ports.
pub(super) fn handler_done(ports: u64) {
    record(GuestRecord::HandlerDone, ports, 0);
}
