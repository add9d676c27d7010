//! A trace in Perfetto's native format: tracks for processors and domains, slices for what they did, flows from a
//! raised event to the upcall that took it, counters for rings.
//! Slices of one track nest and are closed at the end, so that every viewer agrees on what lies in what.

mod schema;
mod tracks;

use std::collections::BTreeMap;
use std::io::{Result, Write};

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;

use crate::trace::follow::{Fact, Follow, State};
use crate::trace::names::{self, Names};
use schema::{Annotation, Type};
use tracks::{Event, Kind, Tracks};

/// Writes a trace; returns how many events of Perfetto's it became.
pub(super) fn write(
    entries: impl Iterator<Item = Entry>,
    names: &Names,
    output: &mut impl Write,
) -> Result<u64> {
    let mut export = Export {
        tracks: Tracks::new(names, output),
        names,
        raised: BTreeMap::new(),
        arriving: Vec::new(),
        flows: 0,
        now: 0,
        busy_until: 0,
    };
    let mut follow = Follow::default();
    let mut facts = Vec::new();
    for entry in entries {
        // Slices of a track must not step back in time; a damaged block may.
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
    for ((domain, port), (time, from)) in std::mem::take(&mut export.raised) {
        export.raise(time, from, domain, port, None)?;
    }
    export.tracks.finish(export.now)
}

struct Export<'a, W> {
    tracks: Tracks<'a, W>,
    names: &'a Names,
    /// Events that no upcall has taken: when, and who ran.
    raised: BTreeMap<(DomId, u32), (u64, DomId)>,
    /// Flows that end in the upcall that comes next.
    arriving: Vec<u64>,
    flows: u64,
    now: u64,
    /// Up to where the processor's track is written.
    busy_until: u64,
}

impl<W: Write> Export<'_, W> {
    fn fact(&mut self, fact: &Fact) -> Result<()> {
        match fact {
            Fact::State(span) => {
                self.tracks.slice((span.domain, Kind::States), span.from, span.to, span.state.word())?;
                let from = span.from.max(self.busy_until);
                if span.state == State::Running && from < span.to {
                    self.busy_until = span.to;
                    let name = self.names.of(span.domain);
                    self.tracks.slice((DomId::IDLE, Kind::Processor(0)), from, span.to, name)?;
                }
            }
            Fact::Delivered(delivery) if self.raised.remove(&(delivery.domain, delivery.port)).is_some() => {
                self.flows += 1;
                let flow = self.flows;
                self.raise(delivery.raised, delivery.from, delivery.domain, delivery.port, Some(flow))?;
                self.arriving.push(flow);
            }
            _ => {}
        }
        Ok(())
    }

    /// A moment on the track of whoever ran when an event was raised.
    fn raise(&mut self, time: u64, from: DomId, to: DomId, port: u32, flow: Option<u64>) -> Result<()> {
        let name = Some(format!("raises for {}", self.names.of(to)));
        let event = Event { name, notes: vec![number("port", port.into())], flow, ..Event::default() };
        self.tracks.event((from, Kind::Raises), time, Type::Instant, event)
    }

    fn record(&mut self, entry: &Entry) -> Result<()> {
        let (now, id) = (entry.time_ns, entry.domain);
        let (calls, upcalls, spans) = ((id, Kind::Calls), (id, Kind::Upcalls), (id, Kind::Spans));
        let begin = |name: String, notes| Event { name: Some(name), notes, ..Event::default() };
        match entry.record {
            Record::HypercallEntry { number: call, arg0, arg1, .. } => {
                self.tracks.end_all(calls, now)?;
                let notes = vec![number("arg0", arg0), number("arg1", arg1)];
                self.tracks.event(calls, now, Type::Begin, begin(names::call(call.into()), notes))
            }
            Record::PartEntry { number: call, arg0, .. } => {
                let notes = vec![number("arg0", arg0)];
                self.tracks.event(calls, now, Type::Begin, begin(names::call(call.into()), notes))
            }
            Record::PartExit { number, .. } => self.tracks.end_named(calls, now, &names::call(number.into())),
            Record::HypercallExit { .. } => self.tracks.end_all(calls, now),
            Record::EventRaised { port, from, merged: 0 } => {
                match self.raised.insert((id, port), (now, DomId(from))) {
                    // Its upcall is not in the trace.
                    Some((time, from)) => self.raise(time, from, id, port, None),
                    None => Ok(()),
                }
            }
            Record::EventRaised { port, from, .. } => self.raise(now, DomId(from), id, port, None),
            Record::Upcall { .. } => {
                self.tracks.end_all(upcalls, now)?;
                let ends = std::mem::take(&mut self.arriving);
                let event = Event { ends, ..begin("upcall".to_owned(), Vec::new()) };
                self.tracks.event(upcalls, now, Type::Begin, event)
            }
            Record::HandlerDone { .. } => self.tracks.end_all(upcalls, now),
            Record::SpanBegin { name, value } => {
                let notes = vec![number("value", value)];
                self.tracks.event(spans, now, Type::Begin, begin(text(name), notes))
            }
            Record::SpanEnd { name, .. } => self.tracks.end_named(spans, now, &text(name)),
            Record::Instant { name, value } => {
                let event = begin(text(name), vec![number("value", value)]);
                self.tracks.event(spans, now, Type::Instant, event)
            }
            Record::Value { name, value } => self.count((id, Kind::Value(name)), value),
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

fn number(name: &str, value: u64) -> Annotation {
    Annotation { uint_value: Some(value), string_value: None, name: Some(name.to_owned()) }
}

/// A ring's name, for people.
fn ring(side: u8, peer: &str) -> String {
    let side = RingSide::from_raw(side).map_or("ring", |side| side.name());
    format!("{side}, {peer}: waiting")
}

/// A name of up to eight letters.
fn text(name: u64) -> String {
    let bytes = name.to_le_bytes();
    let letters = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(letters).into_owned()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::checked;
