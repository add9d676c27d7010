//! How much of the back end's work one front end gets, and what it owes for it: deficit round robin by what requests cost, so
//! that a long one counts as the many short ones that could be done in its time.
//!
//! A round ends when as many front ends as in the round before have had their credit, or after a few turns. So those who
//! were answered have time to ask again before one with a long queue gets more.

use super::SEGMENTS_MAX;
use super::blockback::BlockBack;
use super::vbd::VbdId;
use crate::platform::Platform;

/// What a request costs beside its pages, in pages.
pub(super) const REQUEST: u32 = 1;
/// What a front end may spend more in each round, unless it is alone.
const QUANTUM: u32 = 16;
/// The most turns of a round.
const TURNS_MAX: u32 = 4;
/// The most that it may save: what the longest request costs.
const SAVED_MAX: u32 = SEGMENTS_MAX as u32 + REQUEST;
/// What work is done for a front end before it is charged: enough that the call is cheap beside it.
const CHARGED: u32 = 256;

/// One front end's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit {
    left: u32,
    /// What the request costs that it could not pay.
    short_of: u32,
    /// Of the round in which it got credit last.
    round: u32,
    /// Work that was done for it and not charged yet.
    pub(super) owed: u32,
}

/// What a request with so many pages costs.
pub(super) fn cost(pages: usize) -> u32 {
    u32::try_from(pages).unwrap_or(u32::MAX).saturating_add(REQUEST)
}

/// Who got credit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    round: u32,
    /// Front ends that got some in the round before, and in this one.
    before: usize,
    now: usize,
    /// Turns of this round.
    turns: u32,
}

impl Rounds {
    /// Another turn begins, perhaps the first of a round.
    pub(super) const fn turn(&mut self) {
        self.turns += 1;
        if self.now >= self.before || self.turns > TURNS_MAX {
            *self = Self { round: self.round.wrapping_add(1), before: self.now, now: 0, turns: 0 };
        }
    }
}

impl Credit {
    /// Its turn begins; `others` are at work. What was saved for a long request is kept until it begins.
    pub(super) const fn begin(&mut self, rounds: &mut Rounds, others: bool) {
        if self.round != rounds.round {
            self.round = rounds.round;
            rounds.now += 1;
            // While it was alone it was given more than it may save.
            let saved = if self.left > SAVED_MAX { SAVED_MAX } else { self.left };
            self.left = saved.saturating_add(QUANTUM);
        }
        if !others && rounds.before <= 1 && rounds.now <= 1 {
            self.left = u32::MAX;
        }
    }

    /// What it may spend now.
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    /// Whether it may spend that much now; if so, it has.
    pub(super) const fn spend(&mut self, cost: u32) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                (self.left, self.short_of) = (left, 0);
                true
            }
            None => {
                self.short_of = cost;
                false
            }
        }
    }

    /// Whether it has enough for what it could not pay before.
    const fn can_go_on(&self) -> bool {
        self.left >= self.short_of
    }

    /// It has nothing more to ask: what it did not spend is gone.
    pub(super) const fn end(&mut self) {
        self.left = 0;
    }

    /// Notes work that was done for it; true when it is time to charge.
    pub(super) const fn owe(&mut self, cost: u32) -> bool {
        self.owed = self.owed.saturating_add(cost);
        self.owed >= CHARGED
    }
}

impl<P: Platform> BlockBack<P> {
    /// Begins a front end's turn; false when it saves for a request and has not enough, so that there is nothing to judge. It
    /// is not alone while the disks work for others.
    pub(super) fn give_credit(&mut self, id: VbdId) -> bool {
        let all = self.jobs.len();
        let Some(vbd) = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut()) else {
            return true;
        };
        vbd.credit.begin(&mut self.rounds, all > vbd.in_flight as usize);
        vbd.held.is_none() || vbd.credit.can_go_on()
    }

    /// Notes that work is done for a front end, and has its domain pay when there is enough of it.
    pub(super) fn note_work(&mut self, id: VbdId, cost: u32) {
        let Some(vbd) = self.slots.get_mut(usize::from(id)).and_then(|slot| slot.vbd.as_mut()) else {
            return;
        };
        self.work = self.work.saturating_add(cost);
        if vbd.credit.owe(cost) {
            let part = core::mem::take(&mut vbd.credit.owed);
            self.platform.charge(vbd.client.peer, part, self.work.max(part));
            self.work = self.work.saturating_sub(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// How many requests of so many pages each front end begins in so many turns, all of them with long queues.
    fn begun<const N: usize>(pages: [usize; N], turns: u32) -> [u32; N] {
        let mut rounds = Rounds::default();
        let mut credits = [Credit::default(); N];
        let mut begun = [0; N];
        for _ in 0..turns {
            rounds.turn();
            for ((credit, pages), begun) in credits.iter_mut().zip(pages).zip(&mut begun) {
                credit.begin(&mut rounds, true);
                while credit.spend(cost(pages)) {
                    *begun += 1;
                }
            }
        }
        begun
    }

    #[test]
    fn long_requests_get_what_short_ones_get_and_no_more() {
        let begun = begun([0, 1, 11, 64], 10_000);
        let got = [0, 1, 11, 64].map(|pages| f64::from(cost(pages))).into_iter().zip(begun);
        let got: Vec<f64> = got.map(|(cost, begun)| cost * f64::from(begun)).collect();
        let fair = got.iter().sum::<f64>() / 4.0;
        assert!(got.iter().all(|got| (0.95..1.05).contains(&(got / fair))), "{got:?}");
    }

    #[test]
    fn who_asks_again_a_little_later_has_not_lost_its_place() {
        let mut rounds = Rounds::default();
        let (mut flood, mut other) = (Credit::default(), Credit::default());
        let (mut long, mut short) = (0, 0);
        for turn in 0..3000 {
            rounds.turn();
            flood.begin(&mut rounds, true);
            while flood.spend(cost(64)) {
                long += cost(64);
            }
            // It is answered, and asks eight times more after the next turn.
            if turn % 3 == 0 {
                other.begin(&mut rounds, true);
                (0..8).for_each(|_| short += if other.spend(cost(1)) { cost(1) } else { 0 });
                other.end();
            }
        }
        assert!(long <= short + short / 10, "{long} for long requests, {short} for short ones");
    }

    #[test]
    fn who_is_alone_is_held_back_by_nothing_and_saves_nothing() {
        let (mut rounds, mut credit, mut other) = (Rounds::default(), Credit::default(), Credit::default());
        for _ in 0..3 {
            rounds.turn();
            credit.begin(&mut rounds, false);
            assert!((0..1000).all(|_| credit.spend(cost(64))));
        }
        rounds.turn();
        other.begin(&mut rounds, true);
        credit.begin(&mut rounds, true);
        assert!(credit.spend(cost(64)), "what it may save is left to it");
        assert!(!credit.spend(cost(64)), "and beside others it waits");
        assert!(!credit.can_go_on() && credit.spend(cost(11)) && credit.can_go_on());
        (0..3 * TURNS_MAX).for_each(|_| {
            rounds.turn();
            credit.begin(&mut rounds, false);
        });
        assert!((0..1000).all(|_| credit.spend(cost(64))), "the other is gone");
    }
}
