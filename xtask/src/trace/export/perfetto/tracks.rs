//! Tracks, described when they are first used, and the slices that are open on them.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use hypercall_abi::DomId;
use prost::Message;

use super::schema::{Annotation, Counter, Packet, Process, Trace, TrackDescriptor, TrackEvent, Type};
use crate::trace::names::Names;

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Who has a processor.
    Processor(u8),
    /// Run states of a vCPU.
    States,
    /// Its hypercalls.
    Calls,
    /// Its upcalls.
    Upcalls,
    /// Events that are raised while it runs.
    Raises,
    /// Spans that its guest records.
    Spans,
    /// Entries that wait in a ring: side, and the domain at the other end.
    Ring(u8, DomId),
    /// A number that its guest records, by name.
    Value(u64),
}

/// Something on a track.
#[derive(Clone, Debug, Default)]
pub(super) struct Event {
    /// Name; a slice's end has none.
    pub(super) name: Option<String>,
    /// What it says beside.
    pub(super) notes: Vec<Annotation>,
    /// A flow that leaves here.
    pub(super) flow: Option<u64>,
    /// Flows that end here.
    pub(super) ends: Vec<u64>,
    /// Value of a counter.
    pub(super) value: Option<i64>,
}

/// The tracks of a file being written.
pub(super) struct Tracks<'a, W> {
    output: &'a mut W,
    names: &'a Names,
    /// Number and open slices of each track.
    tracks: BTreeMap<(DomId, Kind), (u64, Vec<String>)>,
    domains: BTreeMap<DomId, u64>,
    next: u64,
    written: u64,
}

/// Number of the one writer.
const SEQUENCE: u32 = 1;
/// A unit of Perfetto's.
const COUNT: i32 = 2;

impl<'a, W: Write> Tracks<'a, W> {
    pub(super) fn new(names: &'a Names, output: &'a mut W) -> Self {
        Self { output, names, tracks: BTreeMap::new(), domains: BTreeMap::new(), next: 1, written: 0 }
    }

    /// Writes something on a track.
    pub(super) fn event(
        &mut self,
        (domain, kind): (DomId, Kind),
        time: u64,
        what: Type,
        event: Event,
    ) -> Result<()> {
        let uuid = self.track(domain, kind)?;
        if let Some((_, open)) = self.tracks.get_mut(&(domain, kind)) {
            match what {
                Type::Begin => open.push(event.name.clone().unwrap_or_default()),
                // An end without a beginning would end somebody else's slice.
                Type::End if open.pop().is_none() => return Ok(()),
                _ => {}
            }
        }
        self.written += 1;
        let track_event = TrackEvent {
            debug_annotations: event.notes,
            r#type: Some(what as i32),
            track_uuid: Some(uuid),
            categories: if what == Type::End { Vec::new() } else { vec![category(kind).to_owned()] },
            name: event.name,
            counter_value: event.value,
            flow_ids: event.flow.into_iter().collect(),
            terminating_flow_ids: event.ends,
        };
        self.packet(Packet { timestamp: Some(time), track_event: Some(track_event), ..Packet::default() })
    }

    /// Writes a slice of which both ends are known.
    pub(super) fn slice(
        &mut self,
        track: (DomId, Kind),
        from: u64,
        to: u64,
        name: impl Into<String>,
    ) -> Result<()> {
        self.event(track, from, Type::Begin, Event { name: Some(name.into()), ..Event::default() })?;
        self.event(track, to, Type::End, Event::default())
    }

    /// Ends the innermost open slice of this name, and what lies in it; nothing if there is none.
    pub(super) fn end_named(&mut self, track: (DomId, Kind), time: u64, name: &str) -> Result<()> {
        let open = self.tracks.get(&track).map_or(&[][..], |(_, open)| open);
        let Some(at) = open.iter().rposition(|open| open == name) else { return Ok(()) };
        for _ in at..open.len() {
            self.event(track, time, Type::End, Event::default())?;
        }
        Ok(())
    }

    /// Ends all open slices of a track.
    pub(super) fn end_all(&mut self, track: (DomId, Kind), time: u64) -> Result<()> {
        while self.tracks.get(&track).is_some_and(|(_, open)| !open.is_empty()) {
            self.event(track, time, Type::End, Event::default())?;
        }
        Ok(())
    }

    /// Ends whatever is open; returns how many events were written.
    pub(super) fn finish(mut self, time: u64) -> Result<u64> {
        let tracks: Vec<(DomId, Kind)> = self.tracks.keys().copied().collect();
        for track in tracks {
            self.end_all(track, time)?;
        }
        self.output.flush()?;
        Ok(self.written)
    }

    /// Number of a track; describes it when it is new.
    fn track(&mut self, domain: DomId, kind: Kind) -> Result<u64> {
        if let Some((uuid, _)) = self.tracks.get(&(domain, kind)) {
            return Ok(*uuid);
        }
        let parent = self.parent(domain)?;
        let uuid = self.number();
        let counter =
            matches!(kind, Kind::Ring(..) | Kind::Value(_)).then_some(Counter { unit: Some(COUNT) });
        let name = match kind {
            Kind::Processor(cpu) => format!("CPU {cpu}"),
            Kind::States => "vCPU 0: run state".to_owned(),
            Kind::Calls => "vCPU 0: hypercalls".to_owned(),
            Kind::Upcalls => "vCPU 0: upcalls".to_owned(),
            Kind::Raises => "events raised".to_owned(),
            Kind::Spans => "spans".to_owned(),
            Kind::Ring(side, peer) => super::ring(side, &self.names.of(peer)),
            Kind::Value(name) => super::text(name),
        };
        self.tracks.insert((domain, kind), (uuid, Vec::new()));
        self.describe(TrackDescriptor {
            uuid: Some(uuid),
            name: Some(name),
            parent_uuid: Some(parent),
            counter,
            process: None,
        })?;
        Ok(uuid)
    }

    /// The track under which a domain's tracks stand.
    fn parent(&mut self, domain: DomId) -> Result<u64> {
        if let Some(uuid) = self.domains.get(&domain) {
            return Ok(*uuid);
        }
        let uuid = self.number();
        self.domains.insert(domain, uuid);
        let (pid, name) = if domain == DomId::IDLE {
            (0, "processors".to_owned())
        } else {
            (i32::from(domain.0) + 1, self.names.of(domain))
        };
        let process = Process { pid: Some(pid), process_name: Some(name.clone()) };
        self.describe(TrackDescriptor {
            uuid: Some(uuid),
            name: Some(name),
            parent_uuid: None,
            counter: None,
            process: Some(process),
        })?;
        Ok(uuid)
    }

    fn describe(&mut self, track: TrackDescriptor) -> Result<()> {
        self.packet(Packet { track_descriptor: Some(track), ..Packet::default() })
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn packet(&mut self, packet: Packet) -> Result<()> {
        let first = self.next == 2 && self.written == 0;
        let packet = Packet {
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: first.then_some(1),
            ..packet
        };
        self.output.write_all(&Trace { packet: vec![packet] }.encode_to_vec())
    }
}

fn category(kind: Kind) -> &'static str {
    match kind {
        Kind::Processor(_) | Kind::States => "run-state",
        Kind::Calls => "hypercall",
        Kind::Upcalls | Kind::Raises => "event",
        Kind::Spans | Kind::Value(_) => "guest",
        Kind::Ring(..) => "ring",
    }
}
