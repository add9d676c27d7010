//! Records that guests make in their shared pages: taken in when a domain leaves the processor, with the times that the
//! guests gave them. It exists because a hypercall for each would cost more than all that is recorded of the rest.
//!
//! They have a stream of their own. One processor's domains leave it one after the other, so in that stream time never
//! goes backwards; what a guest claims otherwise is held to the time since the last record of that stream.

use hypercall_abi::extension::GuestRecord;
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET};

use super::layout::head;
use super::records::Record;
use super::stream::words_of;
use super::{Trace, lose};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::memory::MachineAddress;

/// First words of records by the number that a guest gives them, from 1; 0 for what is no record, or not recorded.
pub(super) type Heads = [u64; 16];

/// Bits of the ring's side in a guest's first word, which are the first field of those records that have one.
const SIDE: u64 = 0xff0;
/// From there to where a record of ours has its first field.
const SIDE_UP: u32 = 28;
/// Bits below the time in a guest's first word.
const BELOW_TICKS: u64 = 0xfff;

/// A record that a guest can make, with the words that follow its first.
const fn of(record: GuestRecord) -> (Record, u8) {
    let (name, value) = (0, 0);
    let (ring, peer, index, count, waiting) = (0, 0, 0, 0, 0);
    match record {
        GuestRecord::SpanBegin => (Record::SpanBegin { name, value }, 2),
        GuestRecord::SpanEnd => (Record::SpanEnd { name, value }, 2),
        GuestRecord::Instant => (Record::Instant { name, value }, 2),
        GuestRecord::Value => (Record::Value { name, value }, 2),
        GuestRecord::RingProduced => (Record::RingProduced { ring, peer, index, count, waiting }, 2),
        GuestRecord::RingConsumed => (Record::RingConsumed { ring, peer, index, count, waiting }, 2),
        GuestRecord::RingNotified => (Record::RingNotified { ring, peer }, 1),
        GuestRecord::RingSuppressed => (Record::RingSuppressed { ring, peer }, 1),
        GuestRecord::HandlerDone => (Record::HandlerDone { ports: 0 }, 1),
    }
}

/// What is recorded of what guests make while these categories are.
pub(super) fn heads(categories: u32) -> Heads {
    let mut heads = [0; 16];
    for known in GuestRecord::ALL {
        let (record, words) = of(*known);
        let slot = usize::try_from(known.raw().wrapping_add(1)).ok().and_then(|at| heads.get_mut(at));
        if let Some(slot) = slot.filter(|_| record.category().bit() & categories != 0) {
            *slot = head(record.kind(), words, 0, 0);
        }
    }
    heads
}

impl Trace {
    /// Takes in a domain's own records. A guest may write there what it likes: what is no record is passed over, and at
    /// most as many are looked at as there is room for.
    #[inline(never)]
    pub(crate) fn take_in<M: Machine>(&mut self, m: &mut M, domain: &mut Domain) {
        let place = |number: usize| {
            let offset = RECORDS_OFFSET.wrapping_add(to_u64(number.wrapping_mul(8 * RECORD_WORDS)));
            MachineAddress::in_frame(domain.shared_info, offset)
        };
        let mut next = domain.next_record & (RECORDS - 1);
        if m.load(place(next)) == 0 {
            return;
        }
        // Whatever was made was made before; and what was taken in before comes before.
        let now = m.ticks().max(self.time_of_guests);
        for _ in 0..RECORDS {
            let at = place(next);
            let first = m.load(at);
            if first == 0 {
                break;
            }
            let [a, b] = [8, 16].map(|offset| m.load(MachineAddress(at.0.wrapping_add(offset))));
            m.store(at, 0);
            next = next.wrapping_add(1) & (RECORDS - 1);
            let number = usize::try_from(first & 0xf).unwrap_or(0);
            let known = self.heads_of_guests.get(number).copied().unwrap_or(0);
            if known != 0 {
                let head = known | head(0, 0, domain.id.0, 0) | ((first & SIDE) << SIDE_UP);
                // How long ago, of which a guest says what it likes: not longer than the record before.
                let ago = (now << 12).wrapping_sub(first & !BELOW_TICKS) >> 12;
                let then = now.wrapping_sub(ago.min(now.wrapping_sub(self.time_of_guests)));
                self.write_of_guest(m, then, head, [a, b]);
            }
        }
        domain.next_record = next;
    }

    /// Writes a record of a guest's at a time that was found for it.
    #[inline(always)]
    fn write_of_guest<M: Machine>(&mut self, m: &M, then: u64, head: u64, fields: [u64; 2]) {
        if self.filtered && !self.choice.passes(head) {
            return;
        }
        self.time_of_guests = then;
        if self.guests.write_some_at_hand(then, head, fields, words_of(head)) {
            self.count(kind_of(head));
        } else {
            self.write_of_guest_slowly(m, then, head, fields);
        }
    }

    /// The same where there is no room yet.
    #[cold]
    #[inline(never)]
    fn write_of_guest_slowly<M: Machine>(&mut self, m: &M, then: u64, head: u64, fields: [u64; 2]) {
        if self.guests.write_some(m, (then, head), fields, words_of(head)) {
            self.count(kind_of(head));
        } else {
            lose(&self.guests, head);
        }
    }
}

/// A record's kind by its first word.
fn kind_of(head: u64) -> u8 {
    u8::try_from(head & 0x7f).unwrap_or(0)
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

const _: () = assert!(RECORDS.is_power_of_two() && GuestRecord::ALL.len() < 16);
