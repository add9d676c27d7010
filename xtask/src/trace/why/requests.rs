//! Requests: where they begin and end, and which are the slowest.
//! A request of a domain begins with an event for it. It ends when the domain sleeps again or, if it produced something
//! for a back end meanwhile, when that has taken it. A domain that sleeps over its disk goes on with the same request
//! when that has answered. Of a domain that works at several, one is followed at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::{Entry, Reader, Source};

use super::disk::{Disk, DiskWait};
use crate::trace::follow::{Fact, Follow, State};

/// Waits for a disk of one request: in a domain that always has some under way, nothing else would end it.
const WAITS: usize = 16;

/// A request, from beginning to end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// When it waited for a disk.
    pub(super) disk: Vec<DiskWait>,
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

    /// The back ends that it waited for.
    pub(super) fn backs(&self) -> impl Iterator<Item = DomId> {
        self.disk.iter().map(|wait| wait.back).chain(self.back)
    }
}

/// Where a domain's request is.
#[derive(Clone, Debug, Default)]
struct Open {
    /// The request; its later times are 0 until they come.
    request: Option<Request>,
    /// Whether its event was a disk's answer to an earlier one: it waits for its own once.
    answers: bool,
    disk: Disk,
    /// The first event for the next one, raised while this one was not over.
    next: Option<(u64, DomId, u32)>,
}

/// Finds the slowest requests of the domains that are wanted; with a point of time, only those under way then. If none
/// is, the first that begins later.
pub(super) fn slowest<S: Source>(
    reader: &mut Reader<S>,
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
        } else if at.is_some_and(|at| request.begin > at)
            && later.as_ref().is_none_or(|later| request.begin < later.begin)
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
            Record::RingProduced { ring, peer, index, count, .. } => {
                let peer = DomId(peer);
                match RingSide::from_raw(ring) {
                    Some(RingSide::FrontTransmit) => answered(&mut open, id, peer),
                    Some(RingSide::FrontBlock) => open.entry(id).or_default().ask(peer, index, count),
                    Some(RingSide::BackBlock) => {
                        open.entry(peer).or_default().disk.answered(id, index, now);
                    }
                    _ => {}
                }
            }
            Record::RingConsumed { ring, peer, index, .. } => {
                let peer = DomId(peer);
                match RingSide::from_raw(ring) {
                    Some(RingSide::BackTransmit) => taken(&mut open, peer, id, now, &mut tell),
                    Some(RingSide::FrontBlock) => open.entry(id).or_default().take(peer, index, now),
                    Some(RingSide::BackBlock) => {
                        open.entry(peer).or_default().disk.consumed(id, index, now);
                    }
                    _ => {}
                }
            }
            Record::Grant { peer, .. } | Record::GrantCopy { peer, .. } => {
                taken(&mut open, DomId(peer), id, now, &mut tell);
            }
            _ => {}
        }
        if let Some(id) = slept.filter(|id| follow.state(*id) == Some(State::Blocked)) {
            open.entry(id).or_default().sleep(now, &mut tell);
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
        self.answers = self.disk.is_owed_by(from);
        self.disk.forget();
        let (upcall, slept, end) = (0, 0, 0);
        let (disk, back) = (Vec::new(), None);
        self.request = Some(Request { domain, from, port, begin, upcall, disk, slept, back, end });
    }

    /// The domain asks its disk for something.
    fn ask(&mut self, back: DomId, index: u32, count: u32) {
        let works = |request: &Request| request.upcall > 0 && request.slept == 0;
        let waits = self.request.as_ref().is_some_and(works) && !self.has_waited();
        self.disk.ask(back, index, count, waits);
    }

    /// Whether the request has had as many waits as one may.
    fn has_waited(&self) -> bool {
        let most = if self.answers { 1 } else { WAITS };
        self.request.as_ref().is_some_and(|request| request.disk.len() >= most)
    }

    /// The domain takes its disk's answers.
    fn take(&mut self, back: DomId, index: u32, now: u64) {
        let Some(wait) = self.disk.take(back, index, now) else { return };
        if let Some(request) = &mut self.request {
            request.disk.push(wait);
            // The answer's own event, if no handler was entered for it.
            self.next = None;
        }
        // A record of what was asked for comes before that of what was taken with the same look at the ring.
        if self.has_waited() {
            self.disk.forget();
        }
    }

    fn sleep(&mut self, now: u64, tell: &mut impl FnMut(Request)) {
        // No handler was entered: the domain looked by itself, or masks events and waits for something else.
        if self.request.as_ref().is_some_and(|open| open.upcall == 0) {
            self.request = None;
        }
        let Some(request) = self.request.as_mut().filter(|open| open.slept == 0) else { return };
        // With an answer given, what the disk was asked for anew is somebody else's. Before that, it was an acknowledgement.
        let is_done = request.back.is_some() && !request.disk.is_empty() && self.disk.has_asked_anew();
        if !is_done && self.disk.sleep(now) {
            request.back = None;
            return;
        }
        request.slept = now;
        if request.back.is_none() {
            self.over(now, tell);
        }
    }

    fn over(&mut self, now: u64, tell: &mut impl FnMut(Request)) {
        let Some(request) = self.request.take() else { return };
        let domain = request.domain;
        tell(Request { end: now, ..request });
        self.disk.forget();
        if let Some(next) = self.next.take() {
            self.begin(domain, next);
        }
    }
}
