//! Records of our own in the hypervisor's trace: spans of an application, numbers, rings.
//! While nobody records them, each costs one look at the shared page; on Xen it is never more. A hypercall is made only
//! when the places in the shared page are full.

use core::sync::atomic::{AtomicU64, Ordering};

use hypercall_abi::extension::GuestRecord;
use hypercall_abi::ring::{RingRecord, RingTold};
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
    let what = what(record, 0);
    match reserved(1) {
        Some(made) => put(made, now() | what, a, b),
        None => flushed(what, a, b),
    }
}

/// The first word of a record of a ring's side, or of no ring, without the time.
const fn what(record: GuestRecord, side: u8) -> u64 {
    ((side as u64) << SIDE) | (record.raw() as u64 + 1)
}

/// The time as the first word has it.
#[inline(always)]
fn now() -> u64 {
    clock::tsc() << TICKS
}

/// Where a record's first word has the ring's side.
const SIDE: u32 = 4;
/// And where it has the time.
const TICKS: u32 = 12;

/// The place of the record that is made after so many.
#[inline(always)]
fn place(made: u64) -> &'static Place {
    // SAFETY: the shared page is mapped there for the domain's life, and these words are atomics for all.
    let places = unsafe { &*((SHARED_INFO as u64 + RECORDS_OFFSET) as *const [Place; RECORDS]) };
    &places[made as usize % RECORDS]
}

/// Takes places for so many records, if the last of them is free; then those before it are. How many were made before.
#[inline(always)]
fn reserved(count: u64) -> Option<u64> {
    let made = MADE.load(Ordering::Relaxed);
    let [first, ..] = place((made + count).wrapping_sub(1));
    let free = first.load(Ordering::Relaxed) == 0;
    if !free || MADE.compare_exchange(made, made + count, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return None;
    }
    Some(made)
}

/// Writes a record in a place that was taken.
#[inline(always)]
fn put(made: u64, first_word: u64, a: u64, b: u64) {
    let [first, second, third] = place(made);
    second.store(a, Ordering::Relaxed);
    third.store(b, Ordering::Relaxed);
    first.store(first_word, Ordering::Release);
}

/// The same after the hypervisor was asked to take the oldest. If it cannot, because we have interrupted ourselves while that
/// was made, there is another way.
#[cold]
#[inline(never)]
fn flushed(what: u64, a: u64, b: u64) {
    if extension::trace_flush().is_ok()
        && let Some(made) = reserved(1)
    {
        return put(made, now() | what, a, b);
    }
    let Some(record) = GuestRecord::from_raw((what as u32 & 0xf) - 1) else { return };
    let is_of_ring =
        (GuestRecord::RingProduced.raw()..=GuestRecord::RingSuppressed.raw()).contains(&record.raw());
    let a = if is_of_ring { (what >> SIDE) | ((a & 0xffff) << 16) | (a >> 32 << 32) } else { a };
    let _ = extension::trace_record(record, a, b);
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

/// A driver tells of a ring: with one look for places, and one time.
#[inline(always)]
pub fn ring(told: RingTold) {
    // One after the other, as a loop would have them in memory first.
    let (produced, consumed, notified) = (told.produced(), told.consumed(), told.notified());
    let [first, second, third] = [&produced, &consumed, &notified].map(|one| u64::from(one.is_some()));
    let Some(mut made) = reserved(first + second + third) else { return ring_flushed(told) };
    let time = now();
    if let Some(record) = produced {
        put_of_ring(made, time, record);
        made += 1;
    }
    if let Some(record) = consumed {
        put_of_ring(made, time, record);
        made += 1;
    }
    if let Some(record) = notified {
        put_of_ring(made, time, record);
    }
}

#[inline(always)]
fn put_of_ring(made: u64, time: u64, RingRecord { record, side, place, counts }: RingRecord) {
    put(made, time | what(record, side.raw()), place, counts);
}

/// The same where there are not so many places.
#[cold]
#[inline(never)]
fn ring_flushed(told: RingTold) {
    for record in told.records() {
        match reserved(1) {
            Some(made) => put_of_ring(made, now(), record),
            None => flushed(what(record.record, record.side.raw()), record.place, record.counts),
        }
    }
}

/// The upcall handler has served so many ports.
pub(super) fn handler_done(ports: u64) {
    record(GuestRecord::HandlerDone, ports, 0);
}
