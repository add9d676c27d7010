//! Run states over the whole of a trace, in as many moments as a picture has room for.
//! The length of a moment is not known before the end, so it doubles as the trace goes on.

use std::collections::BTreeMap;

use hypercall_abi::DomId;

use crate::trace::follow::{Span, State};

/// Most moments; half as many at least, once the trace is long enough.
pub(super) const MOMENTS: usize = 400;
/// Shortest moment in ns.
const SHORTEST: u64 = 64;

/// Time in each moment: running, and runnable.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    start: Option<u64>,
    last: u64,
    /// Length of a moment as a power of two over the shortest.
    doubled: u32,
    pub(super) domains: BTreeMap<DomId, Vec<[u64; 2]>>,
}

impl Lanes {
    /// The trace has come to this time.
    pub(super) fn reach(&mut self, time: u64) {
        let start = *self.start.get_or_insert(time);
        self.last = self.last.max(time);
        while self.last.saturating_sub(start) / self.moment() >= MOMENTS as u64 {
            self.doubled += 1;
            for lane in self.domains.values_mut() {
                let pairs = lane.chunks(2).map(|pair| {
                    pair.iter().fold([0; 2], |sum: [u64; 2], one| {
                        [sum[0].saturating_add(one[0]), sum[1].saturating_add(one[1])]
                    })
                });
                *lane = pairs.collect();
            }
        }
    }

    /// Length of a moment in ns.
    pub(super) const fn moment(&self) -> u64 {
        SHORTEST << self.doubled
    }

    /// First and last time.
    pub(super) fn ends(&self) -> (u64, u64) {
        (self.start.unwrap_or(0), self.last)
    }

    /// Enters a time in one run state.
    pub(super) fn add(&mut self, span: &Span) {
        let which = match span.state {
            State::Running => 0,
            State::Runnable => 1,
            State::Blocked | State::Ended => return,
        };
        let start = self.start.unwrap_or(0);
        let moment = self.moment();
        let (from, to) = (span.from.max(start) - start, span.to.min(self.last).max(start) - start);
        let lane = self.domains.entry(span.domain).or_default();
        let mut at = from;
        while at < to {
            let index = at / moment;
            let end = (index + 1).saturating_mul(moment).min(to);
            let index = usize::try_from(index).unwrap_or(MOMENTS).min(MOMENTS);
            if lane.len() <= index {
                lane.resize(index + 1, [0; 2]);
            }
            lane[index][which] = lane[index][which].saturating_add(end - at);
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_lost_when_moments_double() {
        let mut lanes = Lanes::default();
        let mut now = 1000;
        lanes.reach(now);
        for turn in 0..5000_u64 {
            let to = now + 97 + turn % 13;
            lanes.reach(to);
            let state = if turn % 3 == 0 { State::Running } else { State::Runnable };
            lanes.add(&Span { domain: DomId(1), state, from: now, to });
            now = to;
        }
        let sum: u64 = lanes.domains[&DomId(1)].iter().flatten().sum();
        assert_eq!(sum, now - 1000);
        let moments = lanes.domains[&DomId(1)].len();
        assert!((MOMENTS / 2..=MOMENTS + 1).contains(&moments), "{moments}");
        assert!(lanes.domains[&DomId(1)].iter().all(|one| one[0] + one[1] <= lanes.moment()));
    }
}
