//! How records get into the stream. What is known where a record is made, its kind and how many words it has, is folded
//! there, so that a look for room, the time and the words themselves are left.
//!
//! Each way has a short one, which calls nothing in the usual case, and behind it [`Trace::write_slowly`], which looks at
//! what is left out and asks for another block.

use hypercall_abi::DomId;

use super::layout::{LOST_START, head};
use super::pack::Packed;
use super::stream::{Stream, words_of};
use super::{Record, Trace, records};
use crate::machine::Machine;

/// A record about a domain as `N` words, as many as it has with its first one, which lacks the time.
#[inline(always)]
pub(crate) fn laid_out<const N: usize>(DomId(domain): DomId, record: &Record) -> [u64; N] {
    let Packed { small, words, .. } = record.pack();
    let head = head(record.kind(), 0, domain, small) | (to_u64(N.wrapping_sub(1)) << 7);
    core::array::from_fn(|at| match at.checked_sub(1) {
        None => head,
        Some(field) => words.get(field).copied().unwrap_or(0),
    })
}

/// The first word of a record whose first field is another byte; it was 0.
#[inline(always)]
pub(crate) fn with_first(word: u64, field: u8) -> u64 {
    word | head(0, 0, 0, field.into())
}

impl Trace {
    /// Writes a record about a domain, if its category is recorded.
    #[inline(always)]
    pub fn put<M: Machine>(&mut self, m: &M, domain: DomId, record: &Record) {
        if self.wants(record.category()) {
            self.put_wanted(m, domain, record);
        }
    }

    /// The same for a category that is known to be recorded: a call with the record's words in registers.
    #[inline(always)]
    pub(crate) fn put_wanted<M: Machine>(&mut self, m: &M, domain: DomId, record: &Record) {
        let Packed { small, words: [a, b, c, d, e, f], .. } = record.pack();
        let kind = record.kind();
        let head = |words| head(kind, words, domain.0, small);
        self.count(kind);
        match record.pack().count() {
            0 => self.write(m, head(0), []),
            1 if a == 0 => self.write(m, head(0), []),
            1 => self.write(m, head(1), [a]),
            2 if b == 0 => self.write(m, head(1), [a]),
            2 => self.write(m, head(2), [a, b]),
            3 if c == 0 => self.write(m, head(2), [a, b]),
            3 => self.write(m, head(3), [a, b, c]),
            4 if d == 0 => self.write(m, head(3), [a, b, c]),
            4 => self.write(m, head(4), [a, b, c, d]),
            5 if e == 0 => self.write(m, head(4), [a, b, c, d]),
            5 => self.write(m, head(5), [a, b, c, d, e]),
            _ => self.write(m, head(6), [a, b, c, d, e, f]),
        }
    }

    /// The same with a reading of the clock, for what was measured then.
    pub(super) fn put_at<M: Machine>(&mut self, m: &M, ticks: u64, domain: DomId, record: &Record) {
        if self.wants(record.category()) {
            let (kind, packed) = (record.kind(), record.pack());
            self.count(kind);
            let words = u8::try_from(packed.count()).unwrap_or(u8::MAX);
            self.write_at(m, (ticks, head(kind, words, domain.0, packed.small)), packed.words);
        }
    }

    /// Writes records as one row of words with one time: in it a bit of `HEADS` for each first word, as [`laid_out`] makes
    /// them. Returns whether there was room at hand; if not, none is written.
    #[inline(always)]
    pub(crate) fn put_row<M: Machine, const N: usize, const HEADS: u32>(
        &mut self,
        m: &M,
        row: [u64; N],
    ) -> bool {
        if !self.stream.write_row_at_hand::<N, HEADS>(m.ticks(), row) {
            return false;
        }
        for (word, at) in row.iter().zip(0_u32..) {
            if HEADS.wrapping_shr(at) & 1 != 0 {
                self.count(kind_of(*word));
            }
        }
        true
    }

    /// Writes a record of one word and its first one, as [`laid_out`] makes them, of a category that is recorded.
    #[inline(always)]
    pub(crate) fn put_words<M: Machine>(&mut self, m: &M, [head, field]: [u64; 2]) {
        if !self.put_row::<M, 2, 1>(m, [head, field]) {
            self.put_slowly(m, head, [field]);
        }
    }

    /// Writes a record that is not counted yet, where there is something to look at, or no room.
    #[cold]
    #[inline(never)]
    fn put_slowly<M: Machine, const N: usize>(&mut self, m: &M, head: u64, fields: [u64; N]) {
        self.count(kind_of(head));
        self.write_slowly(m, head, fields);
    }

    /// Writes records about a domain one by one, those that are to be recorded.
    #[cold]
    #[inline(never)]
    pub(crate) fn put_each<M: Machine, const N: usize>(
        &mut self,
        m: &M,
        domain: DomId,
        records: [Record; N],
    ) {
        records.iter().for_each(|record| self.put(m, domain, record));
    }

    /// Writes a record that is counted: its first word without the time, and its fields.
    #[inline(never)]
    fn write<M: Machine, const N: usize>(&mut self, m: &M, head: u64, fields: [u64; N]) {
        self.write_here(m, head, fields);
    }

    /// The same as part of its caller.
    #[inline(always)]
    pub(super) fn write_here<M: Machine, const N: usize>(&mut self, m: &M, head: u64, fields: [u64; N]) {
        if !self.stream.write_at_hand(m.ticks(), head, fields) {
            // At the end, so that the short way above need not keep anything over it.
            self.write_slowly(m, head, fields);
        }
    }

    /// The same if there is room, with as many of the fields as the first word says.
    #[inline(always)]
    pub(super) fn write_some_at_hand<M: Machine, const N: usize>(
        &mut self,
        m: &M,
        head: u64,
        fields: [u64; N],
    ) -> bool {
        self.stream.write_some_at_hand(m.ticks(), head, fields, words_of(head))
    }

    /// The same where there is something to look at, or no room.
    #[cold]
    #[inline(never)]
    pub(super) fn write_slowly<M: Machine, const N: usize>(&mut self, m: &M, head: u64, fields: [u64; N]) {
        self.write_at(m, (m.ticks(), head), fields);
    }

    /// The same with a reading of the clock.
    fn write_at<M: Machine, const N: usize>(&mut self, m: &M, (now, head): (u64, u64), fields: [u64; N]) {
        if self.filtered {
            if !self.choice.passes(head) {
                return self.uncount(head);
            }
            self.stream.window.release();
        }
        if !self.stream.write_some(m, (now, head), fields, words_of(head)) {
            self.uncount(head);
            lose(&self.stream, kind_of(head));
        }
        if self.filtered {
            self.stream.window.hold();
        }
    }

    /// Counts a record of a kind.
    #[inline(always)]
    pub(super) fn count(&mut self, kind: u8) {
        if let Some(count) = self.written.get_mut(usize::from(kind)) {
            *count = count.wrapping_add(1);
        }
    }

    /// Takes it back: the record was not written.
    fn uncount(&mut self, head: u64) {
        if let Some(count) = self.written.get_mut(usize::from(kind_of(head))) {
            *count = count.wrapping_sub(1);
        }
    }
}

/// A record's kind by its first word.
#[inline(always)]
#[expect(clippy::as_conversions, reason = "the low bits are what is wanted")]
const fn kind_of(head: u64) -> u8 {
    (head & 0x7f) as u8
}

/// Counts a record for which there was no room.
#[cold]
#[inline(never)]
pub(super) fn lose(stream: &Stream, kind: u8) {
    let Some(description) = records::description(kind) else { return };
    let at = LOST_START.saturating_add(usize::from(description.category.raw()));
    stream.store(at, stream.load(at).saturating_add(1));
}

#[inline(always)]
fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
