//! Requests: where they begin and end, and which are the slowest.
//! A request of a domain begins with an event for it. It ends when the domain sleeps again or, if it produced something
//! for a back end meanwhile, when that has taken it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::{Entry, Reader, Source};

use crate::trace::follow::{Fact, Follow, State};

/// A request, from beginning to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    /// Whose.
    pub(super) domain: DomId,
    /// Who ran when its event was raised.
    pub(super) from: DomId,
    /// At which port.
    pub(super) port: u32,
    /// When the event was raised.
    pub(super) begin: u64,
    /// When its handler was entered.
    pub(super) upcall: u64,
    /// When the domain slept again.
    pub(super) slept: u64,
    /// Who had to take the answer, if there was one for a back end.
    pub(super) back: Option<DomId>,
    /// When it was over.
    pub(super) end: u64,
}

impl Request {
    pub(super) fn duration(&self) -> u64 {
        self.end.saturating_sub(self.begin)
    }
}

/// Where a domain's request is.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// The request; its later times are 0 until they come.
    request: Option<Request>,
    /// The first event for the next one, raised while this one was not over.
    next: Option<(u64, DomId, u32)>,
}

/// Finds the slowest requests of the domains that are wanted; with a point of time, only those under way then. If none
/// is, the first that begins later.
pub(super) fn slowest<S: Source>(
    mut reader: Reader<S>,
    wanted: impl Fn(DomId) -> bool,
    at: Option<u64>,
    most: usize,
) -> Vec<Request> {
    let mut found = BinaryHeap::new();
    let mut later: Option<Request> = None;
    requests(reader.by_ref(), |request| {
        if !wanted(request.domain) {
            return;
        }
        if at.is_none_or(|at| (request.begin..=request.end).contains(&at)) {
            found.push(Reverse((request.duration(), request)));
            if found.len() > most {
                found.pop();
            }
        } else if at
            .is_some_and(|at| request.begin > at && later.is_none_or(|later| request.begin < later.begin))
        {
            later = Some(request);
        }
    });
    if found.is_empty() {
        return later.into_iter().collect();
    }
    // In a reversed heap the smallest comes first, so sorted by that the slowest does.
    found.into_sorted_vec().into_iter().map(|Reverse((_, request))| request).collect()
}

/// Tells of each request when it is over.
pub(super) fn requests(entries: impl Iterator<Item = Entry>, mut tell: impl FnMut(Request)) {
    let mut follow = Follow::default();
    let mut open: BTreeMap<DomId, Open> = BTreeMap::new();
    for entry in entries {
        let (now, id) = (entry.time_ns, entry.domain);
        let mut slept = None;
        follow.see(&entry, |fact| match fact {
            // A domain that leaves this state sleeps now.
            Fact::State(span) if span.state == State::Running => slept = Some(span.domain),
            _ => {}
        });
        match entry.record {
            Record::EventRaised { merged: 0, port, from } => {
                let of = open.entry(id).or_default();
                match &of.request {
                    None => of.begin(id, (now, DomId(from), port)),
                    // While the handler has not been entered this is part of the same wait.
                    Some(request) if request.upcall > 0 => {
                        of.next.get_or_insert((now, DomId(from), port));
                    }
                    Some(_) => {}
                }
            }
            Record::Upcall { .. } => {
                let of = open.entry(id).or_default();
                match &mut of.request {
                    Some(request) if request.upcall == 0 => request.upcall = now,
                    // What came meanwhile is served by the same work.
                    Some(request) if request.slept == 0 => of.next = None,
                    _ => {}
                }
            }
            Record::RingProduced { ring, peer, .. } if ring == RingSide::FrontTransmit.raw() => {
                answered(&mut open, id, DomId(peer));
            }
            Record::RingConsumed { ring, peer, .. } if ring == RingSide::BackTransmit.raw() => {
                taken(&mut open, DomId(peer), id, now, &mut tell);
            }
            Record::Grant { peer, .. } => taken(&mut open, DomId(peer), id, now, &mut tell),
            _ => {}
        }
        if let Some(id) = slept.filter(|id| follow.state(*id) == Some(State::Blocked)) {
            let of = open.entry(id).or_default();
            // No handler was entered: the domain looked by itself, or masks events and waits for something else.
            if of.request.is_some_and(|open| open.upcall == 0) {
                of.request = None;
            }
            if let Some(request) = of.request.as_mut().filter(|open| open.slept == 0) {
                request.slept = now;
                if request.back.is_none() {
                    of.over(now, &mut tell);
                }
            }
        }
    }
}

/// A domain produced something for another while it worked at a request.
fn answered(open: &mut BTreeMap<DomId, Open>, id: DomId, peer: DomId) {
    let request = open.get_mut(&id).and_then(|of| of.request.as_mut());
    if let Some(request) = request.filter(|open| open.upcall > 0 && open.slept == 0) {
        request.back = Some(peer);
    }
}

/// A back end took what a domain had produced.
fn taken(open: &mut BTreeMap<DomId, Open>, id: DomId, by: DomId, now: u64, tell: &mut impl FnMut(Request)) {
    let Some(of) = open.get_mut(&id) else { return };
    match &mut of.request {
        Some(request) if request.back != Some(by) => {}
        Some(request) if request.slept > 0 => of.over(now, tell),
        // Taken while the domain was interrupted in its work.
        Some(request) => request.back = None,
        None => {}
    }
}

impl Open {
    fn begin(&mut self, domain: DomId, (begin, from, port): (u64, DomId, u32)) {
        self.request = Some(Request { domain, from, port, begin, upcall: 0, slept: 0, back: None, end: 0 });
    }

    fn over(&mut self, now: u64, tell: &mut impl FnMut(Request)) {
        let Some(request) = self.request.take() else { return };
        tell(Request { end: now, ..request });
        if let Some(next) = self.next.take() {
            self.begin(request.domain, next);
        }
    }
}
