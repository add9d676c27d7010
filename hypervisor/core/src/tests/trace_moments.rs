//! The recorder at every moment: what a reader finds between any two stores, and what a non-maskable interrupt leaves behind
//! that comes there. Nothing is drawn by chance; each moment is looked at.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::Ordering;

use hypercall_abi::DomId;
use hypercall_abi::extension::GuestRecord;

use crate::testing::{Store, Word, watched};
use crate::trace::layout::{
    BLOCKS_START, KIND_TAKEN_IN, MAGIC, STREAM_CONSUMED, STREAM_OF_HYPERVISOR, STREAM_OF_NMI, STREAM_WORDS,
    STREAMS_START, TICK_BITS, VERSION, WORD_MAGIC, WORD_SCALE, WORD_STREAMS, WORD_VERSION, head,
};
use crate::trace::places::A_PLACE;
use crate::trace::reader::{Reader, Source};
use crate::trace::{Mode, Record, Stream};

const BLOCKS: usize = 3;
const BLOCK_WORDS: usize = 64;
const KIND: u8 = Record::Guest { a: 0, b: 0, c: 0 }.kind();
/// A hypercall's beginning with two words, and its end with one.
const ENTRY: u8 = Record::HypercallEntry { number: 0, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }.kind();
const EXIT: u8 = Record::HypercallExit { number: 0, result: 0 }.kind();

/// The third word of a record of ours, by which it is known to be whole.
const fn check(a: u64, b: u64) -> u64 {
    a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.rotate_left(17)
}

/// Storage with a stream of the hypervisor's and one of interrupts.
fn storage(mode: Mode) -> (&'static [Word], Stream, Stream) {
    let words: &'static [Word] =
        (0..BLOCKS_START + 2 * BLOCKS * BLOCK_WORDS).map(|_| Word::default()).collect::<Vec<_>>().leak();
    let streams =
        [(WORD_VERSION, VERSION), (WORD_STREAMS, 2), (WORD_SCALE, 1 << 31 | 1 << 32), (WORD_MAGIC, MAGIC)];
    for (index, word) in streams {
        words[index].store(word, Ordering::Relaxed);
    }
    let ours = Stream::new(words, 0, (BLOCKS_START, BLOCKS, BLOCK_WORDS), mode);
    let first = BLOCKS_START + BLOCKS * BLOCK_WORDS;
    let theirs = Stream::new(words, 1, (first, BLOCKS, BLOCK_WORDS), Mode::Flight);
    ours.begin(STREAM_OF_HYPERVISOR);
    theirs.begin(STREAM_OF_NMI);
    (words, ours, theirs)
}

fn values(words: &[Word]) -> Vec<u64> {
    words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

/// Writes the record of this number: now one, now a pair, now one long after that before. Returns how many it wrote.
fn write(stream: &mut Stream, words: &'static [Word], number: u64, now: &mut u64) -> u64 {
    *now += if number % 7 == 6 { 2 << TICK_BITS } else { 40 };
    if number % 5 == 3 {
        let (entry, exit) = (head(ENTRY, 2, 1, 17), head(EXIT, 1, 1, 17));
        let fields = |at| [number, check(number, 0), 0, 0, 0][at];
        if stream.write_pair_at_hand::<5>((*now, entry, fields), (*now + 9, exit, check(number, 1))) {
            return 2;
        }
    }
    if number % 11 == 4 {
        return taken_in(stream, words, number, *now);
    }
    let fields = [number, number ^ 0xff, check(number, number ^ 0xff)];
    u64::from(stream.write(&words, *now, head(KIND, 3, 1, 0), fields))
}

/// Takes in a span's begin and end under one head.
fn taken_in(stream: &mut Stream, words: &'static [Word], number: u64, now: u64) -> u64 {
    let has_room = |stream: &Stream| {
        (0..2).try_fold(stream.batch(), |mut batch, _| batch.place(1).map(|_| batch)).is_some()
    };
    if !has_room(stream) && !stream.next_block(&words, now) {
        return 0;
    }
    let mut batch = stream.batch();
    for kind in [GuestRecord::SpanBegin, GuestRecord::SpanEnd] {
        let Some([one, two, three]) = batch.place(A_PLACE | 1) else { break };
        one.store((now << 12) | (u64::from(kind.raw()) + 1), Ordering::Relaxed);
        two.store(number, Ordering::Relaxed);
        three.store(check(number, kind.raw().into()), Ordering::Relaxed);
    }
    stream.take_in(head(KIND_TAKEN_IN, 1, 1, 0), now, batch);
    2
}

/// Memory as it is at one moment, and from the word on that is read at a second moment as it is then.
struct Moments<'a> {
    first: &'a [u64],
    second: &'a [u64],
    /// Words that are still read at the first.
    left: usize,
}

impl Source for Moments<'_> {
    fn read(&mut self, first: usize, into: &mut [u64]) -> usize {
        let mut count = 0;
        for (to, index) in into.iter_mut().zip(first..) {
            let from = if self.left > 0 { self.first } else { self.second };
            // The header's words are read at the first moment, together.
            if first >= BLOCKS_START {
                self.left = self.left.saturating_sub(1);
            }
            let Some(word) = from.get(index) else { break };
            *to = *word;
            count += 1;
        }
        count
    }
}

/// Reads what lies there: records by number, and how many are missing before the last. Whatever is found must be whole and
/// in order.
fn read(first: &[u64], second: &[u64], left: usize) -> (u64, u64) {
    let mut reader = Reader::new(Moments { first, second, left }).unwrap();
    let (mut last, mut begun) = (None, None);
    let mut found = 0;
    for entry in reader.by_ref().filter(|entry| entry.domain == DomId(1)) {
        found += 1;
        let number = match entry.record {
            Record::Guest { a, b, c } => {
                assert_eq!((b, c), (a ^ 0xff, check(a, b)), "a torn record");
                a
            }
            Record::HypercallEntry { number: 17, arg0, arg1, .. } => {
                assert_eq!(arg1, check(arg0, 0), "a torn record");
                begun = Some(arg0);
                arg0
            }
            Record::HypercallExit { number: 17, result } => {
                let number = begun.take().expect("the pair becomes visible together");
                assert_eq!(result, check(number, 1), "a torn record");
                continue;
            }
            Record::SpanBegin { name, value } => {
                assert_eq!(value, check(name, 0), "a torn record");
                begun = Some(name);
                name
            }
            Record::SpanEnd { name, value } => {
                assert_eq!(begun.take(), Some(name), "what is taken in becomes visible together");
                assert_eq!(value, check(name, 1), "a torn record");
                continue;
            }
            other => panic!("{other:?} was never written"),
        };
        assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
        last = Some(number);
    }
    assert_eq!(begun, None, "the pair becomes visible together");
    let tally = reader.tally();
    assert_eq!((tally.damaged_blocks, tally.unknown), (0, 0));
    (found, tally.lost)
}

/// Memory before a run; its stores, by index; and after how many of them so many records were there.
type Run = (Vec<u64>, Vec<Store>, Vec<(usize, u64)>);

/// A run of so many records.
fn stores(mode: Mode, records: u64) -> Run {
    let (words, mut ours, _) = storage(mode);
    let before = values(words);
    let base = words.as_ptr().addr();
    let made = Rc::new(RefCell::new((0, Vec::new())));
    let (seen, told) = (made.clone(), made.clone());
    let log: Vec<Store> = watched(
        move |count| seen.borrow_mut().0 = count,
        || {
            let (mut now, mut written) = (1000, 0);
            for number in 0..records {
                written += write(&mut ours, words, number, &mut now);
                let mut told = told.borrow_mut();
                let at = told.0;
                told.1.push((at, written));
            }
        },
    );
    let log = log.into_iter().map(|(at, word, order)| ((at - base) / 8, word, order)).collect();
    let made = made.borrow().1.clone();
    (before, log, made)
}

/// Records that were committed after so many stores, at least; those under way may be there or not.
fn committed(made: &[(usize, u64)], stores: usize) -> (u64, u64) {
    let whole = made.iter().take_while(|(at, _)| *at <= stores).last().map_or(0, |(_, written)| *written);
    let next = made.iter().find(|(at, _)| *at > stores).map_or(whole, |(_, written)| *written);
    (whole, next)
}

#[test]
fn whoever_looks_between_two_stores_finds_whole_records_and_knows_what_is_missing() {
    for mode in [Mode::Flight, Mode::Live] {
        let (before, log, made) = stores(mode, 90);
        let mut now = before;
        for (count, (at, word, _)) in (1..).zip(&log) {
            now[*at] = *word;
            let (found, lost) = read(&now, &now, usize::MAX);
            let (least, most) = committed(&made, count);
            assert!((least..=most).contains(&(found + lost)), "{found} and {lost} of {least} to {most}");
        }
    }
}

#[test]
fn stores_that_need_no_order_may_become_visible_in_any() {
    let (before, log, _) = stores(Mode::Flight, 60);
    let mut now = before;
    let mut rest = log.as_slice();
    let mut looks = 0;
    while !rest.is_empty() {
        let free = rest.iter().take_while(|(_, _, order)| *order == Ordering::Relaxed).count();
        let (loose, others) = rest.split_at(free);
        // All sets of them, as none of them waits for another.
        for set in 0..1_u32 << free {
            let mut some = now.clone();
            let chosen = loose.iter().enumerate().filter(|(index, _)| set >> index & 1 != 0);
            chosen.for_each(|(_, (at, word, _))| some[*at] = *word);
            let _ = read(&some, &some, usize::MAX);
            looks += 1;
        }
        for (at, word, _) in loose.iter().chain(others.first()) {
            now[*at] = *word;
        }
        rest = others.get(1..).unwrap_or_default();
    }
    assert!(looks > 1000, "{looks} looks");
}

#[test]
fn a_reader_that_is_overtaken_while_it_reads_finds_whole_records() {
    let (before, log, _) = stores(Mode::Flight, 70);
    let mut first = before;
    for (count, (at, word, _)) in (1..).zip(&log) {
        first[*at] = *word;
        // From where blocks begin anew on.
        if count < log.len() / 2 || count % 3 != 0 {
            continue;
        }
        for more in [1, 4, 9, 16] {
            let mut second = first.clone();
            log.iter().skip(count).take(more).for_each(|(at, word, _)| second[*at] = *word);
            for left in (0..BLOCKS * (BLOCK_WORDS + 2)).step_by(3) {
                let _ = read(&first, &second, left);
            }
        }
    }
}

#[test]
fn an_interrupt_between_any_two_stores_spoils_nothing_and_is_not_lost() {
    let whole = stores(Mode::Flight, 60).1.len();
    for strike in 1..=whole {
        let (words, mut ours, theirs) = storage(Mode::Flight);
        let theirs = RefCell::new(theirs);
        let between = move |count| {
            if count == strike {
                // Four of them, the last of which finds the block full, or not.
                for rip in 0..4 {
                    let kind = Record::Nmi { rip: 0 }.kind();
                    theirs.borrow_mut().write(&words, 5000 + rip, head(kind, 1, DomId::IDLE.0, 0), [rip]);
                }
            }
        };
        let mut written = 0;
        watched(between, || {
            let mut now = 1000;
            (0..60).for_each(|number| written += write(&mut ours, words, number, &mut now));
        });
        let now = values(words);
        let (found, lost) = read(&now, &now, usize::MAX);
        assert_eq!(found + lost, written, "struck after store {strike}");
        let entries = Reader::new(Moments { first: &now, second: &now, left: usize::MAX }).unwrap();
        let strikes = entries.filter(|entry| matches!(entry.record, Record::Nmi { .. })).count();
        assert_eq!(strikes, 4, "struck after store {strike}");
    }
}

#[test]
fn a_live_stream_waits_for_its_reader_at_whatever_moment_that_says_what_it_has_read() {
    let whole = stores(Mode::Live, 120).1.len();
    for moment in 1..=whole {
        let (words, mut ours, _) = storage(Mode::Live);
        let between = move |count| {
            if count == moment {
                words[STREAMS_START + STREAM_CONSUMED].store(1, Ordering::Release);
            }
        };
        let (mut written, mut tried) = (0, 0);
        watched(between, || {
            let mut now = 1000;
            for number in 0..120 {
                let made = write(&mut ours, words, number, &mut now);
                written += made;
                tried += made.max(1);
            }
        });
        let now = values(words);
        let (found, lost) = read(&now, &now, usize::MAX);
        // The block that was said to be read may have been used again; nothing else is missing.
        assert_eq!(found + lost, written, "after store {moment}");
        assert_eq!(tried, written + ours.dropped(), "after store {moment}");
    }
    const { assert!(STREAM_WORDS > STREAM_CONSUMED) };
}
