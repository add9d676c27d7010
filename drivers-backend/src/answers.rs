//! ARP answers that are owed to the wire, given out a few at a time.
//! A host may have room for few neighbours: QEMU's user network has 16 and replaces them in turn. Answers to a burst of
//! its questions would push each other out before it has sent what it asked for, and its packets would wait for seconds.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::MacAddress;
use crate::frame::ARP_FRAME_BYTES;
use crate::switch::VifId;

/// Answers under way at once: half of the smallest table known, so that a window may pass unheard.
const WINDOW: usize = 8;
/// ns after which an answer is taken for used although no packet came of it.
const PATIENCE_NS: u64 = 50_000_000;
/// Answers that wait at most; the asker asks again for more.
const WAITING_MAX: usize = 4096;

/// An answer about a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The guest.
    pub(crate) about: VifId,
    /// Who asked.
    pub(crate) asker: MacAddress,
    /// The answer.
    pub(crate) frame: [u8; ARP_FRAME_BYTES],
}

/// Answers that wait, and those that were given and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    waiting: VecDeque<Answer>,
    known: BTreeSet<(VifId, MacAddress)>,
    /// Guests that answers under way are about, and until when they are waited for.
    under_way: Vec<(VifId, u64)>,
}

impl Answers {
    /// Owes an answer; one that is owed already is owed once.
    pub(crate) fn owe(&mut self, answer: Answer) {
        if self.waiting.len() < WAITING_MAX && self.known.insert((answer.about, answer.asker)) {
            self.waiting.push_back(answer);
        }
    }

    /// Notes a packet from the wire for a guest: an answer about it has been used.
    pub(crate) fn used(&mut self, about: VifId) {
        self.under_way.retain(|(other, _)| *other != about);
    }

    /// Takes the next answer that may be given now.
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<Answer> {
        self.under_way.retain(|(_, until)| *until > now_ns);
        if self.under_way.len() >= WINDOW {
            return None;
        }
        let answer = self.waiting.pop_front()?;
        self.known.remove(&(answer.about, answer.asker));
        self.under_way.push((answer.about, now_ns.saturating_add(PATIENCE_NS)));
        Some(answer)
    }

    /// When the next answer may be given if nothing comes in between; `None` when none waits.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        self.under_way.iter().map(|(_, until)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(about: u16) -> Answer {
        Answer { about: VifId(about), asker: MacAddress([2; 6]), frame: [about as u8; ARP_FRAME_BYTES] }
    }

    fn given(answers: &mut Answers, now_ns: u64) -> Vec<u16> {
        core::iter::from_fn(|| answers.next(now_ns)).map(|answer| answer.about.0).collect()
    }

    #[test]
    fn a_burst_of_questions_is_answered_as_the_answers_are_used() {
        let mut answers = Answers::default();
        (0..20).for_each(|about| answers.owe(answer(about)));
        assert_eq!(given(&mut answers, 0), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(given(&mut answers, 1), []);
        answers.used(VifId(3));
        answers.used(VifId(5));
        answers.used(VifId(99));
        assert_eq!(given(&mut answers, 2), [8, 9]);
    }

    #[test]
    fn answers_that_are_never_used_delay_the_others_by_a_moment_only() {
        let mut answers = Answers::default();
        (0..10).for_each(|about| answers.owe(answer(about)));
        assert_eq!(given(&mut answers, 5).len(), WINDOW);
        assert_eq!(answers.due_ns(), Some(5 + PATIENCE_NS));
        assert_eq!(given(&mut answers, 5 + PATIENCE_NS), [8, 9]);
        assert_eq!(answers.due_ns(), None);
    }

    #[test]
    fn the_same_question_is_owed_one_answer() {
        let mut answers = Answers::default();
        (0..5).for_each(|_| answers.owe(answer(1)));
        assert_eq!(given(&mut answers, 0), [1]);
        answers.owe(answer(1));
        assert_eq!(given(&mut answers, 0), [1], "after it was answered it may be asked again");
    }
}
