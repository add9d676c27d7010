//! Records that guests make in their shared pages: taken in as they lie there when a domain leaves the processor, many
//! under one head, of which the reader makes records. It exists because a hypercall for each would cost more than all that
//! is recorded of the rest.
//!
//! They have a stream of their own. One processor's domains leave it one after the other, so in that stream time never
//! goes backwards; what a guest claims otherwise is held by the reader to the time since the record before.

use core::sync::atomic::Ordering::Relaxed;

use hypercall_abi::Mfn;
use hypercall_abi::extension::GuestRecord;
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET};

use super::Trace;
use super::layout::{KIND_TAKEN_IN, head};
use super::put::lose;
use super::records::Record;
use crate::domain::Domain;
use crate::machine::Machine;
use crate::memory::MachineAddress;

/// Numbers that a guest's first word can have; 0 is none.
pub(super) const NUMBERS: usize = 16;
/// Of the first word, the bits that hold it.
const NUMBER: u64 = 0xf;
/// Bits of the first word that are below its time.
const BELOW_TICKS: u64 = 0xfff;
/// Bytes from one place to the next.
const STRIDE: u64 = 8 * to_u64(RECORD_WORDS);

/// The record that a guest makes of the side of a ring, if it is about one, and of two words.
pub(super) fn made(record: GuestRecord, ring: u8, a: u64, b: u64) -> Record {
    let [low, high, ..] = a.to_le_bytes();
    let peer = u16::from_le_bytes([low, high]);
    let [index, count, waiting] = [a >> 32, b, b >> 32].map(lower_half);
    match record {
        GuestRecord::SpanBegin => Record::SpanBegin { name: a, value: b },
        GuestRecord::SpanEnd => Record::SpanEnd { name: a, value: b },
        GuestRecord::Instant => Record::Instant { name: a, value: b },
        GuestRecord::Value => Record::Value { name: a, value: b },
        GuestRecord::RingProduced => Record::RingProduced { ring, peer, index, count, waiting },
        GuestRecord::RingConsumed => Record::RingConsumed { ring, peer, index, count, waiting },
        GuestRecord::RingNotified => Record::RingNotified { ring, peer },
        GuestRecord::RingSuppressed => Record::RingSuppressed { ring, peer },
        GuestRecord::HandlerDone => Record::HandlerDone { ports: lower_half(a) },
    }
}

/// The record in a place of a guest's page.
pub(super) fn at_place([first, a, b]: [u64; RECORD_WORDS]) -> Option<Record> {
    let number = u32::try_from(first & NUMBER).ok()?.checked_sub(1)?;
    let ring = u8::try_from((first >> 4) & 0xff).ok()?;
    Some(made(GuestRecord::from_raw(number)?, ring, a, b))
}

/// The time of a record whose place was taken in at `now`: as the guest has it, but not before that of the record `before`.
pub(super) const fn time_of(first: u64, now: u64, before: u64) -> u64 {
    let ago = (now << 12).wrapping_sub(first & !BELOW_TICKS) >> 12;
    let most = now.saturating_sub(before);
    now.wrapping_sub(if ago < most { ago } else { most })
}

/// Numbers that are recorded while these categories are, a bit each.
pub(super) fn wanted(categories: u32) -> u32 {
    let is_wanted = |record: Record| record.category().bit() & categories != 0;
    (0..NUMBERS).fold(0, |bits, number| {
        let known = at_place([to_u64(number), 0, 0]).is_some_and(is_wanted);
        bits | (u32::from(known) << (number & 31))
    })
}

/// The place of this number in a domain's page; the one past the last is the end.
const fn place(page: Mfn, number: usize) -> MachineAddress {
    MachineAddress::in_frame(page, RECORDS_OFFSET.wrapping_add(to_u64(number).wrapping_mul(STRIDE)))
}

impl Trace {
    /// Takes in a domain's own records. A guest may write there what it likes: what is no record is passed over, and at
    /// most as many are looked at as there is room for.
    #[inline(always)]
    pub(crate) fn take_in<M: Machine>(&mut self, m: &mut M, domain: &mut Domain) {
        let next = domain.next_record & (RECORDS - 1);
        if m.load(place(domain.shared_info, next)) != 0 {
            self.take_in_from(m, domain, next);
        }
    }

    /// The same from a place on that is taken.
    #[inline(never)]
    fn take_in_from<M: Machine>(&mut self, m: &mut M, domain: &mut Domain, next: usize) {
        let page = domain.shared_info;
        let is_meant = !self.filtered || self.choice.means(domain.id);
        let wanted = if is_meant { self.wanted_of_guests } else { 0 };
        // Whatever was made was made before; and what was taken in before comes before.
        let now = m.ticks().max(self.time_of_guests);
        let under = (head(KIND_TAKEN_IN, 1, domain.id.0, 0), now);
        let [first, from, end] = [0, next, RECORDS].map(|number| place(page, number));
        let mut at = self.take_in_between(m, (from, end), wanted, under);
        if at == end {
            at = self.take_in_between(m, (first, from), wanted, under);
        }
        self.time_of_guests = now;
        let next = at.0.wrapping_sub(first.0).checked_div(STRIDE).map(usize::try_from);
        domain.next_record = next.and_then(Result::ok).unwrap_or(0);
    }

    /// Takes in what is between two places, up to the first that is empty. Returns where that is, or the end.
    #[inline(always)]
    fn take_in_between<M: Machine>(
        &mut self,
        m: &mut M,
        (mut at, end): (MachineAddress, MachineAddress),
        wanted: u32,
        (head, now): (u64, u64),
    ) -> MachineAddress {
        loop {
            let places = self.guests.places();
            let mut free = places.iter();
            let left_over = loop {
                if at == end {
                    break None;
                }
                let first = m.load(at);
                if first == 0 {
                    break None;
                }
                let number = first & NUMBER;
                if (wanted >> number) & 1 != 0 {
                    let Some([one, two, three]) = free.next() else { break Some(number) };
                    one.store(first, Relaxed);
                    two.store(m.load(MachineAddress(at.0.wrapping_add(8))), Relaxed);
                    three.store(m.load(MachineAddress(at.0.wrapping_add(16))), Relaxed);
                    self.count_taken_in(number);
                }
                m.store(at, 0);
                at = MachineAddress(at.0.wrapping_add(STRIDE));
            };
            self.guests.take_in(head, now, places.len().wrapping_sub(free.len()));
            let Some(number) = left_over else { return at };
            if !self.guests.next_block(m, self.time_of_guests) {
                lose(&self.guests, kind_of(number));
                m.store(at, 0);
                at = MachineAddress(at.0.wrapping_add(STRIDE));
            }
        }
    }

    /// Counts a record by the number that its guest gave it.
    #[inline(always)]
    fn count_taken_in(&mut self, number: u64) {
        let number = usize::try_from(number).unwrap_or(0);
        if let Some(count) = self.taken_in.get_mut(number) {
            *count = count.wrapping_add(1);
        }
    }

    /// What was taken in, by kind.
    pub(super) fn taken_in(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..).zip(self.taken_in).map(|(number, count)| (usize::from(kind_of(number)), count))
    }
}

/// The kind of the records with this number; 0 if there are none.
fn kind_of(number: u64) -> u8 {
    at_place([number, 0, 0]).map_or(0, |record| record.kind())
}

/// The lower half.
fn lower_half(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0)
}

#[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
const fn to_u64(number: usize) -> u64 {
    number as u64
}

const _: () = assert!(RECORDS.is_power_of_two() && RECORDS < 256 && GuestRecord::ALL.len() < NUMBERS);
