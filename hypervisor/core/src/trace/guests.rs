//! Records that guests make in their shared pages: taken in as they lie there when a domain leaves the processor, many
//! under one head, of which the reader makes records. It exists because a hypercall for each would cost more than all that
//! is recorded of the rest.
//!
//! They have a stream of their own. One processor's domains leave it one after the other, so in that stream time never
//! goes backwards; what a guest claims otherwise is held by the reader to the time since the record before.

use core::sync::atomic::Ordering::Relaxed;

use hypercall_abi::Mfn;
use hypercall_abi::extension::GuestRecord;
use hypercall_abi::ring::{RingRecord, RingTurn};
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET, RING_TURN};

use super::Trace;
use super::layout::{KIND_TAKEN_IN, head};
use super::places::A_PLACE;
use super::put::lose;
use super::records::Record;
use super::stream::Stream;
use crate::domain::Domain;
use crate::machine::Machine;
use crate::memory::MachineAddress;

/// A number for each lowest byte that a place's first word can have: that byte says which records lie there.
pub(super) type ByLowest<T> = [T; 256];
/// Of it, the bits that hold the number of a record; 0 is none.
const NUMBER: u64 = 0xf;
/// The most records that lie in one place.
pub(super) const IN_PLACE: usize = 4;
/// Bits of the first word that are below its time.
const BELOW_TICKS: u64 = 0xfff;
/// Bytes from one place to the next.
const STRIDE: u64 = 8 * to_u64(RECORD_WORDS);
/// Bytes from the first place to the end of the last.
const LAST: u64 = STRIDE * to_u64(RECORDS);

/// The record that a guest makes of two words.
pub(super) fn made(record: GuestRecord, a: u64, b: u64) -> Record {
    let [ring, _, low, high, ..] = a.to_le_bytes();
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

/// The record of a turn at a ring, as a hypercall makes it.
fn of_turn(record: RingRecord) -> Record {
    let [a, b] = record.words();
    made(record.record, a, b)
}

/// The records in a place of a guest's page, in order.
pub(super) fn at_place(place: [u64; RECORD_WORDS]) -> [Option<Record>; IN_PLACE] {
    let [first, a, b] = place;
    if first & NUMBER == RING_TURN {
        return RingTurn::read(place).records().map(|record| record.map(of_turn));
    }
    let number = u32::try_from(first & NUMBER).ok().and_then(|number| number.checked_sub(1));
    let record = number.and_then(GuestRecord::from_raw).filter(|record| !record.is_of_ring());
    [record.map(|record| made(record, a, b)), None, None, None]
}

/// The time of a record whose place was taken in at `now`: as the guest has it, but not before that of the record `before`.
pub(super) const fn time_of(first: u64, now: u64, before: u64) -> u64 {
    let ago = (now << 12).wrapping_sub(first & !BELOW_TICKS) >> 12;
    let most = now.saturating_sub(before);
    now.wrapping_sub(if ago < most { ago } else { most })
}

/// How many records lie in a place, with the place itself as [`Batch`](super::places::Batch) counts it; 0 if there is none that is recorded while
/// these categories are.
pub(super) fn wanted(categories: u32) -> ByLowest<u64> {
    core::array::from_fn(|lowest| {
        let records = at_place([to_u64(lowest), 0, 0]);
        let is_wanted = |record: &&Record| record.category().bit() & categories != 0;
        match to_u64(records.iter().flatten().filter(is_wanted).count()) {
            0 => 0,
            records => A_PLACE | records,
        }
    })
}

/// The place that begins so many bytes behind the first one in a domain's page.
const fn place(page: Mfn, offset: u64) -> MachineAddress {
    MachineAddress(page.address().wrapping_add(RECORDS_OFFSET).wrapping_add(offset))
}

/// The place that follows.
const fn after(MachineAddress(at): MachineAddress) -> MachineAddress {
    MachineAddress(at.wrapping_add(STRIDE))
}

impl Trace {
    /// Takes in a domain's own records. A guest may write there what it likes: what is no record is passed over, and at
    /// most as many are looked at as there is room for.
    #[inline(always)]
    pub(crate) fn take_in<M: Machine>(&mut self, m: &mut M, domain: &mut Domain) {
        let from = place(domain.shared_info, domain.next_record);
        if m.load(from) != 0 {
            self.take_in_from(m, domain, from);
        }
    }

    /// The same from a place on that is taken.
    #[inline(never)]
    fn take_in_from<M: Machine>(&mut self, m: &mut M, domain: &mut Domain, from: MachineAddress) {
        if self.filtered && !self.choice.means(domain.id) {
            return pass_over(m, domain);
        }
        // Whatever was made was made before; and what was taken in before comes before.
        let now = m.ticks().max(self.time_of_guests);
        let head = head(KIND_TAKEN_IN, 1, domain.id.0, 0);
        let [first, last] = [0, LAST].map(|offset| place(domain.shared_info, offset));
        let (mut at, mut end) = (from, last);
        loop {
            let mut batch = self.guests.batch();
            let no_room_for = loop {
                if at == end {
                    if end == from {
                        break None;
                    }
                    // Once round.
                    (at, end) = (first, from);
                    continue;
                }
                let word = m.load(at);
                if word == 0 {
                    break None;
                }
                let lowest = lowest(word);
                let count = self.wanted_of_guests.get(lowest).copied().unwrap_or(0);
                if count != 0 {
                    let Some([one, two, three]) = batch.place(count) else { break Some(lowest) };
                    one.store(word, Relaxed);
                    two.store(m.load(MachineAddress(at.0.wrapping_add(8))), Relaxed);
                    three.store(m.load(MachineAddress(at.0.wrapping_add(16))), Relaxed);
                    if let Some(count) = self.taken_in.get_mut(lowest) {
                        *count = count.wrapping_add(1);
                    }
                }
                m.store(at, 0);
                at = after(at);
            };
            self.guests.take_in(head, now, batch);
            let Some(lowest) = no_room_for else { break };
            if !self.guests.next_block(m, self.time_of_guests) {
                lose_place(&mut self.guests, lowest);
                m.store(at, 0);
                at = after(at);
            }
        }
        self.time_of_guests = now;
        domain.next_record = at.0.wrapping_sub(first.0);
    }

    /// What was taken in, by kind.
    pub(super) fn taken_in(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = (0..).zip(self.taken_in);
        counts.flat_map(|(lowest, count)| kinds(lowest).map(move |kind| (usize::from(kind), count)))
    }
}

/// Empties the places of a domain of which nothing is recorded.
#[cold]
fn pass_over<M: Machine>(m: &mut M, domain: &mut Domain) {
    for _ in 0..RECORDS {
        let at = place(domain.shared_info, domain.next_record);
        if m.load(at) == 0 {
            return;
        }
        m.store(at, 0);
        let next = domain.next_record.wrapping_add(STRIDE);
        domain.next_record = if next == LAST { 0 } else { next };
    }
}

/// Counts what lay in a place for which no block could be had; one record of it is counted as dropped already.
#[cold]
fn lose_place(guests: &mut Stream, lowest: usize) {
    for (at, kind) in (0..).zip(kinds(to_u64(lowest))) {
        lose(guests, kind);
        guests.drop_more(u64::from(at > 0));
    }
}

/// The kinds of records that lie in a place, by the lowest byte of its first word.
fn kinds(lowest: u64) -> impl Iterator<Item = u8> {
    at_place([lowest, 0, 0]).into_iter().flatten().map(|record| record.kind())
}

/// The lowest byte.
fn lowest(word: u64) -> usize {
    let [lowest, ..] = word.to_le_bytes();
    usize::from(lowest)
}

/// The lower half.
fn lower_half(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0)
}

#[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
const fn to_u64(number: usize) -> u64 {
    number as u64
}

const _: () =
    assert!(RECORDS.is_power_of_two() && RECORDS < 256 && to_u64(GuestRecord::ALL.len()) < RING_TURN);
