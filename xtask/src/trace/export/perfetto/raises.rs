//! Raised events that are not written yet.
//! Whether a flow leaves one is known when its upcall comes, and a track is written in the order of time: what was raised
//! later waits for what was raised before.

use std::collections::{BTreeMap, VecDeque};

use hypercall_abi::DomId;

/// Most that wait on one track: an event that is never delivered must not hold up the rest of the trace.
const MOST: usize = 4096;

/// An event that was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raise {
    /// When.
    pub(super) time: u64,
    /// For whom.
    pub(super) to: DomId,
    /// At which port.
    pub(super) port: u32,
    /// The flow to its upcall.
    pub(super) flow: Option<u64>,
}

/// What waits, by who ran.
#[derive(Debug, Default)]
pub(super) struct Raises {
    tracks: BTreeMap<DomId, Waiting>,
    /// Events that no upcall has taken: on which track, and their number there.
    raised: BTreeMap<(DomId, u32), (DomId, u64)>,
    flows: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Number of the first.
    first: u64,
    /// Each with whether more may become of it.
    raises: VecDeque<(Raise, bool)>,
}

impl Raises {
    /// An event is raised while `from` runs.
    pub(super) fn raise(&mut self, from: DomId, to: DomId, port: u32, merged: bool, time: u64) {
        let waiting = self.tracks.entry(from).or_default();
        let number = waiting.first.wrapping_add(waiting.raises.len() as u64);
        waiting.raises.push_back((Raise { time, to, port, flow: None }, !merged));
        // If there was one, its upcall is not in the trace.
        if !merged && let Some((from, number)) = self.raised.insert((to, port), (from, number)) {
            self.settle(from, number, None);
        }
    }

    /// Its upcall comes; returns the flow that ends there, and the track where it began.
    pub(super) fn deliver(&mut self, to: DomId, port: u32) -> Option<(u64, DomId)> {
        let (from, number) = self.raised.remove(&(to, port))?;
        self.flows += 1;
        self.settle(from, number, Some(self.flows));
        Some((self.flows, from))
    }

    fn settle(&mut self, from: DomId, number: u64, flow: Option<u64>) {
        let Some(waiting) = self.tracks.get_mut(&from) else { return };
        let at = usize::try_from(number.wrapping_sub(waiting.first)).unwrap_or(usize::MAX);
        if let Some((raise, open)) = waiting.raises.get_mut(at) {
            (raise.flow, *open) = (flow, false);
        }
    }

    /// The next that can be written on a track.
    pub(super) fn ready(&mut self, from: DomId) -> Option<Raise> {
        let waiting = self.tracks.get_mut(&from)?;
        let full = waiting.raises.len() > MOST;
        let (raise, open) = *waiting.raises.front().filter(|(_, open)| !open || full)?;
        waiting.raises.pop_front();
        if open {
            self.raised.remove(&(raise.to, raise.port));
        }
        waiting.first = waiting.first.wrapping_add(1);
        Some(raise)
    }

    /// All that is left, with its tracks.
    pub(super) fn rest(self) -> impl Iterator<Item = (DomId, Raise)> {
        let tracks = self.tracks;
        tracks
            .into_iter()
            .flat_map(|(from, waiting)| waiting.raises.into_iter().map(move |one| (from, one.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_never_delivered_holds_up_few() {
        let (me, you) = (DomId(1), DomId(2));
        let mut raises = Raises::default();
        raises.raise(me, you, 9, false, 0);
        let mut written = Vec::new();
        for time in 1..=10_000 {
            raises.raise(me, you, 3, false, time);
            let (flow, from) = raises.deliver(you, 3).unwrap();
            assert_eq!((flow, from), (time, me));
            written.extend(std::iter::from_fn(|| raises.ready(me)));
        }
        let times: Vec<u64> = written.iter().map(|raise| raise.time).collect();
        assert_eq!(times, (0..=10_000).collect::<Vec<_>>());
        assert!(written.iter().skip(1).all(|raise| raise.flow == Some(raise.time)));
        // It was written without a flow, so none ends at its late upcall.
        assert_eq!((written[0].flow, raises.deliver(you, 9)), (None, None));
        assert_eq!(raises.rest().count(), 0);
    }
}
