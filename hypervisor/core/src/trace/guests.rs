//! Records that guests make in their shared pages: taken in when a domain leaves the processor, with the times that the
//! guests gave them. It exists because a hypercall for each would cost more than all that is recorded of the rest.
//!
//! They have a stream of their own. One processor's domains leave it one after the other, so in that stream time never
//! goes backwards; what a guest claims otherwise is held to the time since the last record of that stream.

use hypercall_abi::extension::GuestRecord;
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET};

use super::category::Category;
use super::layout::head;
use super::records::Record;
use super::stream::words_of;
use super::{Trace, lose};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::memory::MachineAddress;

/// How a record lies in its two words.
#[derive(Clone, Copy)]
enum Shape {
    /// As the fields' words.
    Plain,
    /// The first half of the first word is the field.
    Half,
    /// The first word is ring, peer and index.
    Ring,
}

/// What becomes of a guest's record.
#[derive(Clone, Copy)]
struct Kind {
    /// First word without domain, time and a first field.
    head: u64,
    category: u32,
    shape: Shape,
}

impl Kind {
    const fn new(record: &Record, words: u8, shape: Shape) -> Self {
        Self { head: head(record.kind(), words, 0, 0), category: record.category().bit(), shape }
    }

    const fn of(record: GuestRecord) -> Self {
        const RING: (u8, u16, u32) = (0, 0, 0);
        let (ring, peer, index) = RING;
        let (name, value, count, waiting) = (0, 0, 0, 0);
        match record {
            GuestRecord::SpanBegin => Self::new(&Record::SpanBegin { name, value }, 2, Shape::Plain),
            GuestRecord::SpanEnd => Self::new(&Record::SpanEnd { name, value }, 2, Shape::Plain),
            GuestRecord::Instant => Self::new(&Record::Instant { name, value }, 2, Shape::Plain),
            GuestRecord::Value => Self::new(&Record::Value { name, value }, 2, Shape::Plain),
            GuestRecord::RingProduced => {
                Self::new(&Record::RingProduced { ring, peer, index, count, waiting }, 2, Shape::Ring)
            }
            GuestRecord::RingConsumed => {
                Self::new(&Record::RingConsumed { ring, peer, index, count, waiting }, 2, Shape::Ring)
            }
            GuestRecord::RingNotified => Self::new(&Record::RingNotified { ring, peer }, 1, Shape::Ring),
            GuestRecord::RingSuppressed => Self::new(&Record::RingSuppressed { ring, peer }, 1, Shape::Ring),
            GuestRecord::HandlerDone => Self::new(&Record::HandlerDone { ports: 0 }, 1, Shape::Half),
        }
    }
}

/// By number.
const KINDS: [Kind; GuestRecord::ALL.len()] = {
    let mut kinds = [Kind::of(GuestRecord::SpanBegin); GuestRecord::ALL.len()];
    let mut left = GuestRecord::ALL;
    while let [first, rest @ ..] = left {
        #[expect(
            clippy::as_conversions,
            clippy::indexing_slicing,
            reason = "a constant, checked by the compiler"
        )]
        {
            kinds[first.raw() as usize] = Kind::of(*first);
        }
        left = rest;
    }
    kinds
};

impl Trace {
    /// Takes in a domain's own records. A guest may write there what it likes: what is no record is passed over, and at
    /// most as many are looked at as there is room for.
    #[inline(never)]
    pub(crate) fn take_in<M: Machine>(&mut self, m: &mut M, domain: &mut Domain) {
        for _ in 0..RECORDS {
            let offset =
                RECORDS_OFFSET.wrapping_add(to_u64(domain.next_record.wrapping_mul(8 * RECORD_WORDS)));
            let place = MachineAddress::in_frame(domain.shared_info, offset);
            let first = m.load(place);
            if first == 0 {
                return;
            }
            let [a, b] = [8, 16].map(|offset| m.load(MachineAddress(place.0.wrapping_add(offset))));
            m.store(place, 0);
            domain.next_record = domain.next_record.wrapping_add(1) & (RECORDS - 1);
            let number = usize::try_from((first & 0xff).wrapping_sub(1)).unwrap_or(usize::MAX);
            let Some(kind) = KINDS.get(number).filter(|kind| kind.category & self.mask != 0) else {
                continue;
            };
            let mut head = kind.head | super::layout::head(0, 0, domain.id.0, 0);
            let a = match kind.shape {
                Shape::Plain => a,
                Shape::Half => a & 0xffff_ffff,
                Shape::Ring => {
                    head |= (a & 0xff) << 32;
                    (a & !0xffff_ffff) | ((a >> 16) & 0xffff)
                }
            };
            self.write_of_guest(m, first >> 8, head, [a, b]);
        }
    }

    /// Writes a record for which its guest gives the time.
    #[inline(always)]
    fn write_of_guest<M: Machine>(&mut self, m: &M, ticks: u64, head: u64, fields: [u64; 2]) {
        if self.filtered && !self.choice.passes(head) {
            return;
        }
        self.time_of_guests = ticks.clamp(self.time_of_guests, m.ticks().max(self.time_of_guests));
        if self.guests.write_some(m, (self.time_of_guests, head), fields, words_of(head)) {
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

const _: () = assert!(RECORDS.is_power_of_two() && Category::Guest.bit() != 0);
