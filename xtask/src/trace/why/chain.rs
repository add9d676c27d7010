//! The chain of a request: what it waited for, in order, and who had that.

use hypercall_abi::DomId;
use serde::Serialize;

use super::disk::{DEVICE, DiskWait};
use super::requests::Request;
use super::work::{Pieces, Turn};
use crate::trace::follow::State;
use crate::trace::names::Names;

/// A link of the chain.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// What the request waited for.
    pub(super) stage: &'static str,
    /// From the request's beginning to here.
    pub(super) after_ns: u64,
    /// How long it took.
    pub(super) ns: u64,
    /// What happened meanwhile, the longest first.
    pub(super) by: Vec<By>,
}

/// Something that happened meanwhile.
#[derive(Clone, Debug, Serialize)]
pub(super) struct By {
    /// What.
    pub(super) what: String,
    /// For how long.
    pub(super) ns: u64,
}

/// The chain of a request, and whom it was held up by and for how long.
pub(super) fn of(request: &Request, pieces: &Pieces, names: &Names) -> (Vec<Step>, Vec<(String, u64)>) {
    let mut times = vec![request.begin, request.upcall, request.slept, request.end];
    times.extend(pieces.turns.iter().flat_map(|turn| [turn.from, turn.to]));
    times.extend(pieces.states.values().flatten().flat_map(|span| [span.from, span.to]));
    let moments = |wait: &DiskWait| [wait.from, wait.consumed, wait.answered, Some(wait.taken)];
    times.extend(request.disk.iter().flat_map(moments).flatten());
    times.retain(|time| (request.begin..=request.end).contains(time));
    times.sort_unstable();
    times.dedup();
    let (mut steps, mut blame): (Vec<Step>, Vec<(String, u64)>) = (Vec::new(), Vec::new());
    let mut turns = pieces.turns.iter().peekable();
    for pair in times.windows(2) {
        let [from, to] = *pair else { continue };
        while turns.next_if(|turn| turn.to <= from).is_some() {}
        let turn = turns.peek().filter(|turn| turn.from <= from).map(|turn| **turn);
        let stage = stage(request, from, pieces);
        let ns = to - from;
        let what = what(request, turn, names);
        if stage == DEVICE {
            // Whoever runs meanwhile takes nothing from it.
            add(&mut blame, DEVICE, ns);
        } else if let Some(who) = turn.and_then(|turn| held_up_by(request, turn)) {
            add(&mut blame, &names.of(who), ns);
        }
        match steps.last_mut() {
            Some(step) if step.stage == stage => {
                step.ns += ns;
                step.note(what, ns);
            }
            _ => {
                let by = vec![By { what, ns }];
                steps.push(Step { stage, after_ns: from - request.begin, ns, by });
            }
        }
    }
    for step in &mut steps {
        step.by.sort_by_key(|one| std::cmp::Reverse(one.ns));
    }
    (steps, blame)
}

impl Step {
    fn note(&mut self, what: String, ns: u64) {
        match self.by.iter_mut().find(|one| one.what == what) {
            Some(one) => one.ns += ns,
            None => self.by.push(By { what, ns }),
        }
    }
}

fn add(sums: &mut Vec<(String, u64)>, name: &str, ns: u64) {
    match sums.iter_mut().find(|one| one.0 == name) {
        Some(one) => one.1 += ns,
        None => sums.push((name.to_owned(), ns)),
    }
}

/// What a request waits for at a point of time.
fn stage(request: &Request, time: u64, pieces: &Pieces) -> &'static str {
    let own = pieces.state(request.domain, time);
    if time < request.upcall {
        return match own {
            Some(State::Blocked) => "wake",
            Some(State::Runnable) => "run queue",
            _ => "upcall",
        };
    }
    let waited = |wait: &&DiskWait| wait.from.is_some_and(|from| (from..wait.taken).contains(&time));
    if let Some(wait) = request.disk.iter().find(waited) {
        return wait.stage(time, own, pieces.state(wait.back, time));
    }
    if time < request.slept {
        return if own == Some(State::Runnable) { "preempted" } else { "work" };
    }
    match request.back.and_then(|back| pieces.state(back, time)) {
        Some(State::Blocked) => "back end's wake",
        Some(State::Runnable) => "back end's queue",
        _ => "back end's work",
    }
}

/// What happens in a turn, for people.
fn what(request: &Request, turn: Option<Turn>, names: &Names) -> String {
    let Some(turn) = turn else { return "switches".to_owned() };
    match (turn.who, turn.peer) {
        (None, _) => "nobody".to_owned(),
        (Some(who), _) if who == request.domain => "itself".to_owned(),
        (Some(who), Some(peer)) => format!("{} for {}", names.of(who), names.of(peer)),
        (Some(who), None) => names.of(who),
    }
}

/// Whom a turn is to be laid to, if not the request's own domain.
fn held_up_by(request: &Request, turn: Turn) -> Option<DomId> {
    let cause: Option<DomId> = turn.peer.or(turn.who);
    cause.filter(|cause| *cause != request.domain && turn.who != Some(request.domain))
}
