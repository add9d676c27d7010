//! A trace in Perfetto's native format: tracks for processors and domains, slices for what they did, flows from a
//! raised event to the upcall that took it, counters for rings.
//! Slices of one track nest and are closed at the end, so that every viewer agrees on what lies in what.

mod raises;
mod schema;
mod spans;
mod texts;
mod tracks;

use std::io::{Result, Write};

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;

use crate::trace::follow::{Call, Fact, Follow, State};
use crate::trace::names::Names;
use raises::{Raise, Raises};
use schema::Type;
use spans::Spans;
use texts::{Note, Text};
use tracks::{Event, Kind, Tracks};

/// Writes a trace; returns how many events of Perfetto's it became.
pub(super) fn write(
    entries: impl Iterator<Item = Entry>,
    names: &Names,
    output: &mut impl Write,
) -> Result<u64> {
    let mut export = Export {
        tracks: Tracks::new(names, output)?,
        raises: Raises::default(),
        spans: Spans::default(),
        arriving: Vec::new(),
        now: 0,
        busy_until: 0,
    };
    let mut follow = Follow::default();
    let mut facts = Vec::new();
    for entry in entries {
        // A damaged block may step back in time.
        let entry = Entry { time_ns: entry.time_ns.max(export.now), ..entry };
        export.now = entry.time_ns;
        follow.see(&entry, |fact| facts.push(fact));
        for fact in facts.drain(..) {
            export.fact(&fact)?;
        }
        export.record(&entry)?;
    }
    follow.finish(|fact| facts.push(fact));
    for fact in facts.drain(..) {
        export.fact(&fact)?;
    }
    for (from, raise) in std::mem::take(&mut export.raises).rest() {
        export.raise(from, &raise)?;
    }
    export.tracks.finish(export.now)
}

struct Export<'a, W> {
    tracks: Tracks<'a, W>,
    raises: Raises,
    spans: Spans,
    /// Flows that end in the upcall that comes next.
    arriving: Vec<u64>,
    now: u64,
    /// Up to where the processor's track is written.
    busy_until: u64,
}

impl<W: Write> Export<'_, W> {
    fn fact(&mut self, fact: &Fact) -> Result<()> {
        match fact {
            Fact::State(span) => {
                let state = named(Text::State(span.state));
                self.tracks.slice((span.domain, Kind::States), span.from, span.to, state)?;
                let from = span.from.max(self.busy_until);
                if span.state == State::Running && from < span.to {
                    self.busy_until = span.to;
                    let who = named(Text::Domain(span.domain));
                    self.tracks.slice((DomId::IDLE, Kind::Processor(0)), from, span.to, who)?;
                }
                Ok(())
            }
            Fact::Delivered(delivery) => {
                let Some((flow, from)) = self.raises.deliver(delivery.domain, delivery.port) else {
                    return Ok(());
                };
                self.arriving.push(flow);
                self.raised(from)
            }
            // The others are written as they begin and end.
            Fact::Call(Call { domain, number, begun: Some(begun), ended, alone: true, .. }) => {
                let call = named(Text::Call(*number));
                self.tracks.slice((*domain, Kind::Calls), *begun, *ended, call)
            }
            _ => Ok(()),
        }
    }

    /// Writes what can be written of the events that are raised while somebody runs.
    fn raised(&mut self, from: DomId) -> Result<()> {
        while let Some(raise) = self.raises.ready(from) {
            self.raise(from, &raise)?;
        }
        Ok(())
    }

    /// A moment on the track of whoever ran when an event was raised.
    fn raise(&mut self, from: DomId, raise: &Raise) -> Result<()> {
        let notes = [(Note::Port, raise.port.into())];
        let event = Event { notes: &notes, flow: raise.flow, ..named(Text::Raise(raise.to)) };
        self.tracks.event((from, Kind::Raises), raise.time, Type::Instant, event)
    }

    fn record(&mut self, entry: &Entry) -> Result<()> {
        let (now, id) = (entry.time_ns, entry.domain);
        let (calls, upcalls) = ((id, Kind::Calls), (id, Kind::Upcalls));
        match entry.record {
            Record::HypercallEntry { number, arg0, arg1, .. } => {
                self.tracks.end_all(calls, now)?;
                let notes = [(Note::Arg0, arg0), (Note::Arg1, arg1)];
                let event = Event { notes: &notes, ..named(Text::Call(number)) };
                self.tracks.event(calls, now, Type::Begin, event)
            }
            Record::PartEntry { number, arg0, .. } => {
                let event = Event { notes: &[(Note::Arg0, arg0)], ..named(Text::Call(number)) };
                self.tracks.event(calls, now, Type::Begin, event)
            }
            Record::PartExit { number, .. } => self.tracks.end_named(calls, now, Text::Call(number)),
            Record::HypercallExit { .. } => self.tracks.end_all(calls, now),
            Record::EventRaised { port, from, merged } => {
                self.raises.raise(DomId(from), id, port, merged != 0, now);
                self.raised(DomId(from))
            }
            Record::Upcall { .. } => {
                self.tracks.end_all(upcalls, now)?;
                let event = Event { ends: &self.arriving, ..named(Text::Upcall) };
                self.tracks.event(upcalls, now, Type::Begin, event)?;
                self.arriving.clear();
                Ok(())
            }
            Record::HandlerDone { .. } => self.tracks.end_all(upcalls, now),
            Record::SpanBegin { name, value } => {
                let Some(kind) = self.spans.begin(id, name, value) else { return Ok(()) };
                let name = self.spans.known(id, name);
                let event = Event { notes: &[(Note::Value, value)], ..named(Text::Guest(name)) };
                self.tracks.event((id, kind), now, Type::Begin, event)
            }
            Record::SpanEnd { name, value } => match self.spans.end(id, name, value) {
                Some(kind) => self.tracks.end_all((id, kind), now),
                None => Ok(()),
            },
            Record::Instant { name, value } => {
                let name = self.spans.known(id, name);
                let event = Event { notes: &[(Note::Value, value)], ..named(Text::Guest(name)) };
                self.tracks.event((id, Kind::Moments), now, Type::Instant, event)
            }
            Record::Value { name, value } => {
                let name = self.spans.known(id, name);
                self.count((id, Kind::Value(name)), value)
            }
            Record::RingProduced { ring, peer, waiting, .. }
            | Record::RingConsumed { ring, peer, waiting, .. } => {
                self.count((id, Kind::Ring(ring, DomId(peer))), waiting.into())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, track: (DomId, Kind), value: u64) -> Result<()> {
        let value = Some(i64::try_from(value).unwrap_or(i64::MAX));
        self.tracks.event(track, self.now, Type::Counter, Event { value, ..Event::default() })
    }
}

fn named(text: Text) -> Event<'static> {
    Event { name: Some(text), ..Event::default() }
}

/// A ring's name, for people.
fn ring(side: u8, peer: &str) -> String {
    let side = RingSide::from_raw(side).map_or("ring", |side| side.name());
    format!("{side}, {peer}: waiting")
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::checked;
