//! Whose turn it is among parts that go on beside each other.
//! It exists because a run has a folder of its own, so that of those that make the same run one goes on at a time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Parts by their numbers, each with the run that it makes.
#[derive(Debug)]
pub(super) struct Turns {
    runs: Vec<Option<&'static str>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// In the order in which they are to begin.
    waiting: Vec<usize>,
    going: Vec<usize>,
}

impl Turns {
    /// None has begun.
    pub(super) fn new(runs: Vec<Option<&'static str>>) -> Self {
        let state = Mutex::new(State { waiting: (0..runs.len()).collect(), going: Vec::new() });
        Self { runs, state, changed: Condvar::new() }
    }

    /// The first that may begin, once there is one; `None` when all have begun.
    pub(super) fn next(&self) -> Option<usize> {
        let free = |state: &State| {
            let taken = |at: usize| state.going.iter().any(|other| self.runs[*other] == self.runs[at]);
            state.waiting.iter().position(|at| !taken(*at))
        };
        let blocked = |state: &mut State| !state.waiting.is_empty() && free(state).is_none();
        let mut state = self.changed.wait_while(self.lock(), blocked).unwrap_or_else(PoisonError::into_inner);
        let at = free(&state).map(|place| state.waiting.remove(place))?;
        state.going.push(at);
        Some(at)
    }

    /// One has ended.
    pub(super) fn done(&self, at: usize) {
        self.lock().going.retain(|other| *other != at);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_that_make_the_same_run_one_goes_on() {
        let turns = Turns::new(vec![Some("a"), Some("a"), Some("b")]);
        assert_eq!(turns.next(), Some(0));
        assert_eq!(turns.next(), Some(2), "the second makes the first one's run");
        turns.done(0);
        assert_eq!(turns.next(), Some(1));
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn who_finds_all_runs_taken_waits_for_one() {
        let turns = Turns::new(vec![Some("a"), Some("a")]);
        assert_eq!(turns.next(), Some(0));
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.next());
            turns.done(0);
            assert_eq!(second.join().unwrap(), Some(1));
        });
    }
}
