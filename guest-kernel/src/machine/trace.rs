//! Records of our own in the hypervisor's trace: spans of an application, numbers, rings.
//! While nobody records them, each costs one look at the shared page; on Xen it is never more. A hypercall is made only
//! when the places in the shared page are full.

use core::sync::atomic::{AtomicU64, Ordering};

use hypercall_abi::extension::GuestRecord;
use hypercall_abi::ring::RingRecord;
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
fn record(record: GuestRecord, side: u64, a: u64, b: u64) {
    let what = (side << SIDE) | (u64::from(record.raw()) + 1);
    if !in_page(what, a, b) {
        flushed(what, a, b);
    }
}

/// Where a record's first word has the ring's side.
const SIDE: u32 = 4;
/// And where it has the time.
const TICKS: u32 = 12;

/// Makes it if there is a place.
#[inline(always)]
fn in_page(what: u64, a: u64, b: u64) -> bool {
    // SAFETY: the shared page is mapped there for the domain's life, and these words are atomics for all.
    let places = unsafe { &*((SHARED_INFO as u64 + RECORDS_OFFSET) as *const [Place; RECORDS]) };
    let made = MADE.load(Ordering::Relaxed);
    let [first, second, third] = &places[made as usize % RECORDS];
    let free = first.load(Ordering::Relaxed) == 0;
    if !free || MADE.compare_exchange(made, made + 1, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return false;
    }
    second.store(a, Ordering::Relaxed);
    third.store(b, Ordering::Relaxed);
    first.store((clock::tsc() << TICKS) | what, Ordering::Release);
    true
}

/// The same after the hypervisor was asked to take the oldest. If it cannot, because we have interrupted ourselves while that
/// was made, there is another way.
#[cold]
#[inline(never)]
fn flushed(what: u64, a: u64, b: u64) {
    if extension::trace_flush().is_ok() && in_page(what, a, b) {
        return;
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
            record(GuestRecord::SpanBegin, 0, name, value);
        }
        Self { name, value }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if wants(TRACE_GUEST) {
            record(GuestRecord::SpanEnd, 0, self.name, self.value);
        }
    }
}

/// Something happened.
#[inline]
pub fn instant(text: &'static str, value: u64) {
    if wants(TRACE_GUEST) {
        record(GuestRecord::Instant, 0, name(text), value);
    }
}

/// A number is this now.
#[inline]
pub fn value(text: &'static str, value: u64) {
    if wants(TRACE_GUEST) {
        record(GuestRecord::Value, 0, name(text), value);
    }
}

/// A driver tells of a ring.
pub fn ring(told: RingRecord) {
    record(told.record, told.side.raw().into(), told.place, told.counts);
}

/// The upcall handler has served so many ports.
pub(super) fn handler_done(ports: u64) {
    record(GuestRecord::HandlerDone, 0, ports, 0);
}
