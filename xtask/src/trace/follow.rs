//! What records mean together: calls from entry to exit, run states, events from raise to handler.
//! It exists so that every view of a trace draws on the same understanding, and is handed facts instead of records.

mod calls;
mod events;
mod facts;

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;
use hypervisor_core::trace::records::{Stage, Why};

use calls::Calls;
use events::Events;
pub(crate) use facts::{Call, Delivery, Fact, Gap, Span, State};

/// Follows a trace from record to record.
#[derive(Debug, Default)]
pub(crate) struct Follow {
    domains: Vec<Option<Box<Track>>>,
    /// Time of the first record.
    start: Option<u64>,
    /// Time of the last record.
    now: u64,
    /// Since when nobody has it.
    idle_since: Option<u64>,
    /// The last record that was no change of run state: its time, and whether the hypervisor was at work then.
    last: (u64, bool),
}

/// What is known of a domain.
#[derive(Debug, Default)]
struct Track {
    state: Option<State>,
    since: u64,
    calls: Calls,
    events: Events,
}

impl Follow {
    /// Takes in a record and tells what follows from it.
    pub(crate) fn see(&mut self, entry: &Entry, mut tell: impl FnMut(Fact)) {
        let (now, id) = (entry.time_ns, entry.domain);
        self.start.get_or_insert(now);
        self.now = now;
        if id == DomId::IDLE {
            if let Record::Idle { from } = entry.record {
                self.gap(DomId(from), None, Why::Slept.raw(), &mut tell);
                self.leave(DomId(from), Why::Slept.raw(), &mut tell);
                self.idle_since = Some(now);
            }
            return;
        }
        let state = self.track(id).state;
        match entry.record {
            Record::HypercallEntry { number, .. } => {
                self.set(id, State::Running, State::Running, &mut tell);
                self.track(id).calls.begin(number, now);
            }
            Record::HypercallExit { number, result } => {
                if let Some(call) = self.track(id).calls.end(id, number, result, now) {
                    tell(Fact::Call(call));
                }
            }
            Record::PartEntry { number, .. } => self.track(id).calls.begin_part(number, now),
            Record::PartExit { number, result } => {
                if let Some(call) = self.track(id).calls.end_part(id, number, result, now) {
                    tell(Fact::Call(call));
                }
            }
            Record::LongCall { number, result, duration, .. } => {
                self.set(id, State::Running, State::Running, &mut tell);
                let begun = Some(now.saturating_sub(duration));
                let (ended, spent) = (now, duration);
                tell(Fact::Call(Call {
                    domain: id,
                    number,
                    begun,
                    ended,
                    spent,
                    result,
                    part: false,
                    alone: true,
                }));
            }
            Record::EventRaised { port, from, merged } => {
                self.track(id).events.raise(port, DomId(from), merged != 0, state, now);
            }
            Record::Wake { .. } => {
                self.track(id).events.woken(now);
                self.set(id, State::Runnable, State::Blocked, &mut tell);
            }
            Record::RunState { state, .. } => {
                if let Some(state) = State::from_raw(state) {
                    let before = if state == State::Blocked { State::Running } else { State::Runnable };
                    self.set(id, state, before, &mut tell);
                    if state == State::Blocked {
                        self.track(id).calls.pause(now);
                    }
                }
                return;
            }
            Record::Switch { from, why } => {
                let begun = self.gap(DomId(from), Some(id), why, &mut tell);
                self.leave(DomId(from), why, &mut tell);
                if let Some(since) = self.idle_since.take() {
                    tell(Fact::Idle { from: since, to: begun.max(since) });
                }
                self.set(id, State::Running, State::Runnable, &mut tell);
                let track = self.track(id);
                track.calls.resume(now);
                track.events.chosen(now);
            }
            Record::Upcall { selector } => {
                self.set(id, State::Running, State::Running, &mut tell);
                let track = self.track(id);
                track.events.deliver(id, selector, now, &mut tell);
            }
            Record::Life { stage, .. } => match Stage::from_raw(stage) {
                Some(Stage::Built) => {
                    let since = self.now;
                    let track = self.track(id);
                    (track.state, track.since) = (Some(State::Runnable), since);
                }
                Some(_) => self.set(id, State::Ended, State::Running, &mut tell),
                None => {}
            },
            _ => {}
        }
        let at_work = matches!(
            entry.record,
            Record::HypercallExit { .. }
                | Record::EventRaised { .. }
                | Record::Wake { .. }
                | Record::TimerDue { .. }
                | Record::DeviceInterrupt { .. }
        );
        self.last = (now, at_work);
    }

    /// Tells what is still open at the end.
    pub(crate) fn finish(&mut self, tell: impl FnMut(Fact)) {
        self.finish_at(self.now, tell);
    }

    /// Tells what is still open at a later time: what was, goes on until then.
    pub(crate) fn finish_at(&mut self, now: u64, mut tell: impl FnMut(Fact)) {
        let now = now.max(self.now);
        for (id, track) in (0..=u16::MAX).zip(&mut self.domains) {
            let Some(track) = track else { continue };
            if let Some(state) = track.state.filter(|_| track.since < now) {
                tell(Fact::State(Span { domain: DomId(id), state, from: track.since, to: now }));
                track.since = now;
            }
        }
        if let Some(since) = self.idle_since.take() {
            tell(Fact::Idle { from: since, to: now });
        }
    }

    fn start(&self) -> u64 {
        self.start.unwrap_or(0)
    }

    /// The state of a domain, as far as is known.
    pub(crate) fn state(&self, id: DomId) -> Option<State> {
        self.domains.get(usize::from(id.0))?.as_ref()?.state
    }

    fn track(&mut self, id: DomId) -> &mut Track {
        let index = usize::from(id.0);
        if self.domains.len() <= index {
            self.domains.resize_with(index + 1, || None);
        }
        self.domains[index].get_or_insert_default()
    }

    /// A domain enters a state. What it was in before the trace knew it was `before`.
    fn set(&mut self, id: DomId, state: State, before: State, tell: &mut impl FnMut(Fact)) {
        let (now, start) = (self.now, self.start());
        let track = self.track(id);
        if track.state == Some(state) {
            return;
        }
        let (old, from) = track.state.map_or((before, start), |old| (old, track.since));
        if from < now && old != State::Ended {
            tell(Fact::State(Span { domain: id, state: old, from, to: now }));
        }
        (track.state, track.since) = (Some(state), now);
    }

    /// A domain lost the processor; its own record of a new state may have come before.
    fn leave(&mut self, id: DomId, why: u8, tell: &mut impl FnMut(Fact)) {
        if id == DomId::IDLE {
            return;
        }
        let now = self.now;
        self.track(id).calls.pause(now);
        if !matches!(self.track(id).state, None | Some(State::Running)) {
            return;
        }
        let state = match Why::from_raw(why) {
            Some(Why::Slept) => State::Blocked,
            Some(Why::Ended) => State::Ended,
            _ => State::Runnable,
        };
        self.set(id, state, State::Running, tell);
    }

    /// The time that a change of domains took of the processor; returns when it began.
    fn gap(&mut self, from: DomId, to: Option<DomId>, why: u8, tell: &mut impl FnMut(Fact)) -> u64 {
        let now = self.now;
        let left = self.domains.get(usize::from(from.0)).and_then(Option::as_ref);
        let left = left.filter(|track| track.state.is_some_and(|state| state != State::Running));
        let left = left.map_or(now, |track| track.since);
        let begun = match self.last {
            // A turn ends while the guest runs; all else follows from what the hypervisor did last.
            (time, true) if Why::from_raw(why) != Some(Why::Turn) => time,
            _ => left,
        };
        let (from, still) = ((from != DomId::IDLE).then_some(from), left.saturating_sub(begun));
        tell(Fact::Gap(Gap { from, to, begun, ended: now, still }));
        begun
    }
}

#[cfg(test)]
pub(super) mod tests;
