//! Who had the processor while a request was under way, and for whom a back end worked.
//! A back end says in its records whose ring or grant it was at; what it did up to such a record is that domain's.

use std::collections::BTreeMap;

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;

use super::requests::Request;
use crate::trace::follow::{Fact, Follow, Span, State};

/// What happened during a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    /// Turns on the processor, in order of time; between them it changed hands.
    pub(super) turns: Vec<Turn>,
    /// States of the request's own domain and of its back ends, each in order of time.
    pub(super) states: BTreeMap<DomId, Vec<Span>>,
}

/// A part of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Beginning.
    pub(super) from: u64,
    /// End.
    pub(super) to: u64,
    /// Who had the processor, if anybody.
    pub(super) who: Option<DomId>,
    /// For whom, if it is a back end that said so.
    pub(super) peer: Option<DomId>,
}

/// What happened during each of the requests.
pub(super) fn of(entries: impl Iterator<Item = Entry>, requests: &[Request]) -> Vec<Pieces> {
    let mut pieces = vec![Pieces::default(); requests.len()];
    let end = requests.iter().map(|request| request.end).max().unwrap_or(0);
    let mut follow = Follow::default();
    let mut cursor = 0;
    let mut last_peer = None;
    for entry in entries {
        let mut facts = Vec::new();
        follow.see(&entry, |fact| facts.push(fact));
        for fact in facts {
            note(&fact, requests, &mut pieces, &mut cursor, &mut last_peer);
        }
        if let Some(peer) = peer(&entry.record) {
            let turn = Turn { from: cursor, to: entry.time_ns, who: Some(entry.domain), peer: Some(peer) };
            put(turn, requests, &mut pieces);
            (cursor, last_peer) = (entry.time_ns, Some(peer));
        }
        if matches!(entry.record, Record::Switch { .. }) {
            (cursor, last_peer) = (entry.time_ns, None);
        }
        // What began within the last request is told of when it ends, or as it stands here.
        if entry.time_ns > end {
            break;
        }
    }
    follow.finish(|fact| note(&fact, requests, &mut pieces, &mut cursor, &mut last_peer));
    pieces
}

fn note(
    fact: &Fact,
    requests: &[Request],
    pieces: &mut [Pieces],
    cursor: &mut u64,
    last_peer: &mut Option<DomId>,
) {
    match fact {
        Fact::Idle { from, to } => {
            put(Turn { from: *from, to: *to, who: None, peer: None }, requests, pieces);
        }
        Fact::State(span) => {
            for (request, pieces) in requests.iter().zip(pieces.iter_mut()) {
                let matters =
                    span.domain == request.domain || request.backs().any(|back| back == span.domain);
                if matters && span.from < request.end && span.to > request.begin {
                    pieces.states.entry(span.domain).or_default().push(*span);
                }
            }
            if span.state == State::Running {
                let from = span.from.max(*cursor);
                put(Turn { from, to: span.to, who: Some(span.domain), peer: *last_peer }, requests, pieces);
                (*cursor, *last_peer) = (span.to.max(*cursor), None);
            }
        }
        _ => {}
    }
}

impl Pieces {
    /// What a domain did at a point of time.
    pub(super) fn state(&self, domain: DomId, time: u64) -> Option<State> {
        let spans = self.states.get(&domain)?;
        let span = spans.get(spans.partition_point(|span| span.to <= time))?;
        (span.from <= time).then_some(span.state)
    }
}

fn put(turn: Turn, requests: &[Request], pieces: &mut [Pieces]) {
    if turn.from >= turn.to {
        return;
    }
    for (request, pieces) in requests.iter().zip(pieces) {
        if turn.from < request.end && turn.to > request.begin {
            pieces.turns.push(turn);
        }
    }
}

/// Whose ring or grant a back end was at.
fn peer(record: &Record) -> Option<DomId> {
    let sides = [RingSide::BackTransmit, RingSide::BackReceive, RingSide::BackBlock].map(RingSide::raw);
    match *record {
        Record::Grant { peer, .. } | Record::GrantCopy { peer, .. } => Some(DomId(peer)),
        Record::RingConsumed { ring, peer, .. } | Record::RingProduced { ring, peer, .. }
            if sides.contains(&ring) =>
        {
            Some(DomId(peer))
        }
        _ => None,
    }
}
