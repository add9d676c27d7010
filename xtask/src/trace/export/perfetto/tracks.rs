//! Tracks, described when they are first used, and the slices that are open on them.
//! Whatever a trace says, each track is written in the order of time, and no slice ends that did not begin.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use hypercall_abi::DomId;

use super::schema::{Annotation, Counter, Packet, Process, TrackDescriptor, TrackEvent, Type};
use super::texts::{Note, Text, Texts, letters};
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
    /// Spans of one name that its guest records, and which of those that are open at once.
    Spans(u64, u8),
    /// Moments that its guest records.
    Moments,
    /// Entries that wait in a ring: side, and the domain at the other end.
    Ring(u8, DomId),
    /// A number that its guest records, by name.
    Value(u64),
}

/// Something on a track.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event<'a> {
    /// Name; a slice's end has none.
    pub(super) name: Option<Text>,
    /// What it says beside.
    pub(super) notes: &'a [(Note, u64)],
    /// A flow that leaves here.
    pub(super) flow: Option<u64>,
    /// Flows that end here.
    pub(super) ends: &'a [u64],
    /// Value of a counter.
    pub(super) value: Option<i64>,
}

/// The tracks of a file being written.
pub(super) struct Tracks<'a, W> {
    output: &'a mut W,
    names: &'a Names,
    texts: Texts,
    places: BTreeMap<(DomId, Kind), usize>,
    tracks: Vec<Track>,
    domains: BTreeMap<DomId, u64>,
    next: u64,
    written: u64,
    /// What is being written; kept for its memory.
    packet: Packet,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Track {
    uuid: u64,
    kind: Kind,
    open: Vec<Text>,
    /// Time of the last event.
    last: u64,
}

/// Number of the one writer.
const SEQUENCE: u32 = 1;
/// A unit of Perfetto's.
const COUNT: i32 = 2;
/// Flags of the first packet, and of those that use its texts.
const BEGIN: u32 = 1;
const NEEDS_TEXTS: u32 = 2;

impl<'a, W: Write> Tracks<'a, W> {
    pub(super) fn new(names: &'a Names, output: &'a mut W) -> Result<Self> {
        let mut tracks = Self {
            output,
            names,
            texts: Texts::default(),
            places: BTreeMap::new(),
            tracks: Vec::new(),
            domains: BTreeMap::new(),
            next: 0,
            written: 0,
            packet: Packet::default(),
            buffer: Vec::new(),
        };
        tracks.packet(Packet {
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(BEGIN),
            interned_data: Some(Texts::fixed()),
            ..Packet::default()
        })?;
        tracks.packet.trusted_packet_sequence_id = Some(SEQUENCE);
        tracks.packet.sequence_flags = Some(NEEDS_TEXTS);
        tracks.packet.track_event = Some(TrackEvent::default());
        Ok(tracks)
    }

    /// Writes something on a track, not before what was written there last.
    pub(super) fn event(
        &mut self,
        (domain, kind): (DomId, Kind),
        time: u64,
        what: Type,
        event: Event<'_>,
    ) -> Result<()> {
        let place = self.place(domain, kind)?;
        self.put(place, time, what, event)
    }

    fn put(&mut self, place: usize, time: u64, what: Type, event: Event<'_>) -> Result<()> {
        let track = &mut self.tracks[place];
        match what {
            Type::Begin => track.open.extend(event.name),
            // An end without a beginning would end somebody else's slice.
            Type::End if track.open.pop().is_none() => return Ok(()),
            _ => {}
        }
        track.last = time.max(track.last);
        let (packet, names) = (&mut self.packet, self.names);
        packet.timestamp = Some(track.last);
        let told = packet.track_event.get_or_insert_default();
        told.r#type = Some(what as i32);
        told.track_uuid = Some(track.uuid);
        told.category_iids.clear();
        if what != Type::End {
            told.category_iids.push(super::texts::category(track.kind));
        }
        packet.interned_data = None;
        told.name_iid = event.name.map(|text| {
            let (iid, new) = self.texts.number(text);
            packet.interned_data = new.then(|| Texts::told(iid, text, names));
            iid
        });
        let note =
            |&(name, value): &(Note, u64)| Annotation { name_iid: Some(name.iid()), uint_value: Some(value) };
        told.debug_annotations.clear();
        told.debug_annotations.extend(event.notes.iter().map(note));
        told.counter_value = event.value;
        told.flow_ids.clear();
        told.flow_ids.extend(event.flow);
        told.terminating_flow_ids.clear();
        told.terminating_flow_ids.extend(event.ends);
        self.written += 1;
        self.buffer.clear();
        prost::encoding::message::encode(1, &self.packet, &mut self.buffer);
        self.output.write_all(&self.buffer)
    }

    /// Writes a slice of which both ends are known.
    pub(super) fn slice(&mut self, track: (DomId, Kind), from: u64, to: u64, event: Event<'_>) -> Result<()> {
        let place = self.place(track.0, track.1)?;
        self.put(place, from, Type::Begin, event)?;
        self.put(place, to, Type::End, Event::default())
    }

    /// Ends the innermost open slice of this name, and what lies in it; nothing if there is none.
    pub(super) fn end_named(&mut self, track: (DomId, Kind), time: u64, name: Text) -> Result<()> {
        let Some(&place) = self.places.get(&track) else { return Ok(()) };
        let open = &self.tracks[place].open;
        let Some(at) = open.iter().rposition(|open| *open == name) else { return Ok(()) };
        for _ in at..open.len() {
            self.put(place, time, Type::End, Event::default())?;
        }
        Ok(())
    }

    /// Ends all open slices of a track.
    pub(super) fn end_all(&mut self, track: (DomId, Kind), time: u64) -> Result<()> {
        match self.places.get(&track) {
            Some(&place) => self.end_at(place, time),
            None => Ok(()),
        }
    }

    fn end_at(&mut self, place: usize, time: u64) -> Result<()> {
        for _ in 0..self.tracks[place].open.len() {
            self.put(place, time, Type::End, Event::default())?;
        }
        Ok(())
    }

    /// Ends whatever is open; returns how many events were written.
    pub(super) fn finish(mut self, time: u64) -> Result<u64> {
        for place in 0..self.tracks.len() {
            self.end_at(place, time)?;
        }
        self.output.flush()?;
        Ok(self.written)
    }

    /// Where a track is kept; describes it when it is new.
    fn place(&mut self, domain: DomId, kind: Kind) -> Result<usize> {
        if let Some(&place) = self.places.get(&(domain, kind)) {
            return Ok(place);
        }
        let parent = self.parent(domain)?;
        let uuid = self.number();
        let counts = matches!(kind, Kind::Ring(..) | Kind::Value(_));
        let name = match kind {
            Kind::Processor(cpu) => format!("CPU {cpu}"),
            Kind::States => "vCPU 0: run state".to_owned(),
            Kind::Calls => "vCPU 0: hypercalls".to_owned(),
            Kind::Upcalls => "vCPU 0: upcalls".to_owned(),
            Kind::Raises => "events raised".to_owned(),
            Kind::Spans(name, 0) => letters(name),
            Kind::Spans(name, lane) => format!("{}, {}", letters(name), u32::from(lane) + 1),
            Kind::Moments => "moments".to_owned(),
            Kind::Ring(side, peer) => super::ring(side, &self.names.of(peer)),
            Kind::Value(name) => letters(name),
        };
        let place = self.tracks.len();
        self.places.insert((domain, kind), place);
        self.tracks.push(Track { uuid, kind, open: Vec::new(), last: 0 });
        self.describe(TrackDescriptor {
            uuid: Some(uuid),
            name: Some(name),
            parent_uuid: Some(parent),
            counter: counts.then_some(Counter { unit: Some(COUNT) }),
            process: None,
        })?;
        Ok(place)
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
        self.packet(Packet {
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_descriptor: Some(track),
            ..Packet::default()
        })
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn packet(&mut self, packet: Packet) -> Result<()> {
        self.buffer.clear();
        prost::encoding::message::encode(1, &packet, &mut self.buffer);
        self.output.write_all(&self.buffer)
    }
}
