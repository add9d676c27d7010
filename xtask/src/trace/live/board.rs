//! What is known of a running system, and gathered of the interval that goes on.

use std::collections::BTreeMap;

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypervisor_core::trace::reader::{Entry, Reader, Source};
use hypervisor_core::trace::{Category, Record};

use super::picture::{CallRow, Picture, Ring, Row};
use crate::trace::control;
use crate::trace::follow::{Fact, Follow, State};
use crate::trace::names::{Names, call};
use crate::trace::spread::Spread;

/// What is gathered.
#[derive(Debug, Default)]
pub(super) struct Board {
    follow: Follow,
    domains: BTreeMap<DomId, Seen>,
    calls: BTreeMap<u8, (u64, Spread)>,
    records: u64,
    switches: u64,
    /// Where the interval began.
    begun: Option<u64>,
    /// Time of the last record.
    now: u64,
    /// Whether run states are known at all.
    states: bool,
}

/// What is known of a domain.
#[derive(Debug, Default)]
struct Seen {
    state: Option<State>,
    /// Up to when its time is accounted for.
    until: u64,
    /// Time running, runnable, blocked.
    times: [u64; 3],
    calls: u64,
    raised: u64,
    upcalls: u64,
    found: u64,
    switches: u64,
    /// Its rings by side.
    rings: BTreeMap<u8, Side>,
}

/// One side of a domain's rings.
#[derive(Debug, Default)]
struct Side {
    /// Entries that wait, by peer.
    last: BTreeMap<u16, u32>,
    /// All of them together.
    waiting: u64,
    /// The most that waited together.
    most: u64,
}

impl Side {
    fn note(&mut self, peer: u16, waiting: u32) {
        let before = self.last.insert(peer, waiting).unwrap_or(0);
        self.waiting = self.waiting.saturating_sub(before.into()).saturating_add(waiting.into());
        self.most = self.most.max(self.waiting);
    }
}

impl Seen {
    /// Accounts for the time up to here.
    fn spend(&mut self, state: Option<State>, to: u64) {
        let spent = to.saturating_sub(self.until);
        match state {
            Some(State::Running) => self.times[0] = self.times[0].saturating_add(spent),
            Some(State::Runnable) => self.times[1] = self.times[1].saturating_add(spent),
            Some(State::Blocked) => self.times[2] = self.times[2].saturating_add(spent),
            Some(State::Ended) | None => {}
        }
        self.until = self.until.max(to);
    }
}

impl Board {
    /// Time of the last record.
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// Takes in a record.
    pub(super) fn see(&mut self, entry: &Entry) {
        let (now, id) = (entry.time_ns, entry.domain);
        self.now = self.now.max(now);
        let begun = *self.begun.get_or_insert(now);
        self.records += 1;
        let Self { follow, domains, calls, .. } = self;
        follow.see(entry, |fact| match fact {
            Fact::State(span) => {
                let of = domains.entry(span.domain).or_default();
                of.until = of.until.max(begun);
                of.spend(Some(span.state), span.to);
                // Whatever it is now is asked of `follow` when the interval ends.
                of.state = None;
            }
            Fact::Upcall(upcall) => {
                let of = domains.entry(upcall.domain).or_default();
                of.found = of.found.saturating_add(upcall.events);
            }
            Fact::Call(call) => {
                let of = calls.entry(call.number).or_default();
                of.0 += 1;
                if call.begun.is_some() && !call.part {
                    of.1.add(call.spent);
                }
            }
            Fact::Gap(_) | Fact::Idle { .. } | Fact::Delivered(_) => {}
        });
        if id == DomId::IDLE {
            return;
        }
        let of = self.domains.entry(id).or_default();
        match entry.record {
            Record::HypercallEntry { .. } | Record::PartEntry { .. } | Record::LongCall { .. } => {
                of.calls += 1
            }
            Record::EventRaised { .. } => of.raised += 1,
            Record::Upcall { .. } => of.upcalls += 1,
            Record::Switch { .. } => {
                of.switches += 1;
                self.switches += 1;
                self.states = true;
            }
            // What a domain was before it does anything.
            Record::StateTime { state, present: 1, .. } => {
                of.state = State::from_raw(state);
                of.until = of.until.max(now);
            }
            Record::RingProduced { ring, peer, waiting, .. }
            | Record::RingConsumed { ring, peer, waiting, .. } => {
                of.rings.entry(ring).or_default().note(peer, waiting);
            }
            _ => {}
        }
    }

    /// The interval up to now; the next one begins.
    pub(super) fn close<S: Source>(&mut self, now: u64, scenario: &str, records: &Reader<S>) -> Picture {
        let now = now.max(self.now);
        let begun = self.begun.unwrap_or(now);
        let span = now.saturating_sub(begun);
        let seconds = span.max(1) as f64 / 1e9;
        let names = Names::new(records.names());
        let header = records.header();
        let follows = header.categories & Category::RunState.bit() != 0 || self.states;
        let mut picture = Picture {
            scenario: scenario.to_owned(),
            time_ns: now,
            span_ns: span,
            categories: control::words(header.categories),
            records_per_s: self.records as f64 / seconds,
            lost: header.dropped.values().fold(records.tally().lost, |sum, count| sum.saturating_add(*count)),
            switches_per_s: self.switches as f64 / seconds,
            ..Picture::default()
        };
        let mut busy = 0;
        let tells_rings = header.categories & Category::Ring.bit() != 0;
        self.domains.retain(|id, seen| {
            if !tells_rings {
                seen.rings.clear();
            }
            let state = self.follow.state(*id).or(seen.state);
            seen.until = seen.until.max(begun);
            seen.spend(state, now);
            let share = |ns: u64| follows.then(|| ns as f64 / span.max(1) as f64);
            let [running, runnable, blocked] = seen.times;
            busy = running.saturating_add(busy);
            picture.domains.push(Row {
                domain: names.of(*id),
                state: state.filter(|_| follows).map(State::word),
                running: share(running),
                runnable: share(runnable),
                blocked: share(blocked),
                calls_per_s: seen.calls as f64 / seconds,
                events_per_s: seen.raised as f64 / seconds,
                upcalls_per_s: seen.upcalls as f64 / seconds,
                events_per_upcall: crate::counters::ratio(seen.found, seen.upcalls),
                switches_per_s: seen.switches as f64 / seconds,
                rings: rings(&seen.rings),
            });
            (seen.times, seen.calls, seen.raised) = ([0; 3], 0, 0);
            (seen.upcalls, seen.found, seen.switches) = (0, 0, 0);
            seen.rings.values_mut().for_each(|side| side.most = side.waiting);
            state != Some(State::Ended)
        });
        picture.idle_share = follows.then(|| span.saturating_sub(busy) as f64 / span.max(1) as f64);
        for (number, (count, spread)) in std::mem::take(&mut self.calls) {
            let spread = spread.summary();
            picture.hypercalls.push(CallRow {
                hypercall: call(number.into()),
                per_s: count as f64 / seconds,
                share: spread.total_ns as f64 / span.max(1) as f64,
                mean_ns: spread.mean_ns,
                p99_ns: spread.p99_ns,
                max_ns: spread.max_ns,
            });
        }
        picture.rank_calls();
        (self.records, self.switches, self.begun) = (0, 0, Some(now));
        picture
    }
}

/// The ends of rings of a domain.
fn rings(rings: &BTreeMap<u8, Side>) -> Vec<Ring> {
    let one = |(side, of): (&u8, &Side)| {
        let ring = match RingSide::from_raw(*side)? {
            RingSide::FrontTransmit => "tx",
            RingSide::FrontReceive => "rx",
            RingSide::BackTransmit => "back tx",
            RingSide::BackReceive => "back rx",
            RingSide::FrontBlock => "disk",
            RingSide::BackBlock => "back disk",
        };
        Some(Ring { ring, waiting: of.waiting, most: of.most })
    };
    rings.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests;
