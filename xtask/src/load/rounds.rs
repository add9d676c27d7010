//! Which connection loads which guest at what time.
//! It exists because QEMU's user network remembers sixteen neighbours: with more guests under load at once it loses
//! packets, which says nothing about the guests.

use std::time::{Duration, Instant};

use super::Target;
use super::door::Door;

/// Guests that are loaded at a time; some of the sixteen are left for guests that are being taken leave of.
const ACTIVE: usize = 12;

/// The guests in rounds: in each, so many that the network bears are loaded by all connections.
#[derive(Debug)]
pub(super) struct Rounds {
    targets: Vec<(Target, Door)>,
    start: Instant,
    length: Duration,
    round: Duration,
    rounds: usize,
    active: usize,
}

/// Where a connection is to be.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The guest.
    pub(super) target: &'a Target,
    /// The way in.
    pub(super) door: &'a Door,
    /// Until when.
    pub(super) until: Instant,
}

impl Rounds {
    /// Of a load of this length that begins at `start`.
    pub(super) fn new(targets: Vec<Target>, start: Instant, length: Duration) -> Self {
        let rounds = targets.len().div_ceil(ACTIVE).max(1);
        let active = targets.len().div_ceil(rounds);
        let round = length / u32::try_from(rounds).unwrap_or(u32::MAX);
        let targets = targets.into_iter().map(|target| (target, Door::default())).collect();
        Self { targets, start, length, round, rounds, active }
    }

    /// Where a connection is to be at this moment; `None` when the load is over.
    pub(super) fn now(&self, connection: usize) -> Option<Place<'_>> {
        self.at(connection, Instant::now())
    }

    fn at(&self, connection: usize, now: Instant) -> Option<Place<'_>> {
        let lane = connection.checked_rem(self.active)?;
        let passed = now.duration_since(self.start);
        if passed >= self.length {
            return None;
        }
        // One lane after the other goes on to its next guest, so that few neighbours are new at a time.
        let early = if self.rounds == 1 { Duration::ZERO } else { self.share(lane) };
        let round = u32::try_from((passed + early).as_nanos().checked_div(self.round.as_nanos())?).ok()?;
        let index = usize::try_from(round).ok()?.checked_mul(self.active)?.checked_add(lane)?;
        // The last round may lack guests: its lanes go to the first ones again.
        let (target, door) = self.targets.get(index % self.targets.len())?;
        let until = self.start + (self.round * (round + 1)).saturating_sub(early);
        Some(Place { target, door, until: until.min(self.start + self.length) })
    }

    /// How much of a round a lane is ahead.
    fn share(&self, lane: usize) -> Duration {
        let part = |number| u32::try_from(number).unwrap_or(u32::MAX);
        self.round * part(lane) / part(self.active).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn rounds(guests: usize) -> Rounds {
        let target = |index| Target {
            name: format!("web-{index}"),
            address: ([127, 0, 0, 1], 80).into(),
            page: String::new(),
        };
        Rounds::new((1..=guests).map(target).collect(), Instant::now(), Duration::from_secs(5))
    }

    #[test]
    fn every_guest_is_loaded_and_never_too_many_at_once() {
        for guests in [1, 2, 14, 15, 16, 32, 200, 1000] {
            let rounds = rounds(guests);
            let mut all = BTreeSet::new();
            let mut before = BTreeSet::new();
            for tenth in 0..50_000 {
                let now = rounds.start + Duration::from_micros(tenth * 100);
                let name = |connection| rounds.at(connection, now).unwrap().target.name.as_str();
                let at_once: BTreeSet<&str> = (0..64).map(name).collect();
                assert!(at_once.len() <= ACTIVE, "{guests} guests: {at_once:?}");
                assert!(
                    tenth == 0 || at_once.difference(&before).count() <= 2,
                    "{guests} guests: too many new ones"
                );
                before.clone_from(&at_once);
                all.extend(at_once.into_iter().map(str::to_owned));
            }
            assert_eq!(all.len(), guests);
        }
    }

    #[test]
    fn a_load_ends_in_time() {
        let rounds = rounds(32);
        assert!(rounds.at(0, rounds.start + Duration::from_millis(4999)).is_some());
        assert!(rounds.at(0, rounds.start + Duration::from_millis(5001)).is_none());
    }

    #[test]
    fn no_guest_is_no_load() {
        assert!(rounds(0).now(0).is_none());
    }
}
