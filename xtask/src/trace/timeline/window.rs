//! What a trace shows of a window of time.

use std::collections::VecDeque;

use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;

use crate::trace::follow::{Call, Fact, Follow, Span};

/// Most spans that are kept.
const SPANS: usize = 200_000;

/// A window of time.
#[derive(Debug, Default)]
pub(in crate::trace) struct Window {
    /// Beginning, in ns of system time.
    pub(in crate::trace) from: u64,
    /// End.
    pub(in crate::trace) to: u64,
    /// Run states that reach into it, cut off at its ends.
    pub(in crate::trace) spans: Vec<Span>,
    /// Hypercalls that end in it.
    pub(in crate::trace) calls: Vec<Call>,
    /// Records in it: the ones nearest to its middle.
    pub(in crate::trace) entries: VecDeque<Entry>,
    /// Further records in it.
    pub(in crate::trace) more: u64,
    /// First and last time that the trace was seen to have.
    pub(in crate::trace) reach: Option<(u64, u64)>,
}

impl Window {
    /// Reads a trace up to the window's end.
    pub(in crate::trace) fn of(
        entries: impl IntoIterator<Item = Entry>,
        from: u64,
        to: u64,
        lines: usize,
    ) -> Self {
        let mut window = Self { from, to, ..Self::default() };
        let middle = from + (to - from) / 2;
        let mut follow = Follow::default();
        for entry in entries {
            let now = entry.time_ns;
            window.reach = Some((window.reach.map_or(now, |(first, _)| first), now));
            if now > to {
                break;
            }
            follow.see(&entry, |fact| window.note(fact));
            if now >= from {
                window.list(entry, middle, lines);
            }
        }
        // What goes on at the end began before it.
        let end = window.reach.map_or(to, |(_, last)| last.min(to));
        follow.finish_at(end, |fact| window.note(fact));
        window
    }

    /// Whether there is nothing to see.
    pub(in crate::trace) fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.entries.is_empty()
    }

    /// Keeps the records nearest to the middle.
    fn list(&mut self, entry: Entry, middle: u64, lines: usize) {
        // Counters at the ends of a recording are no part of what happened.
        if matches!(entry.record, Record::Counter { .. } | Record::Tally { .. } | Record::StateTime { .. }) {
            return;
        }
        self.entries.push_back(entry);
        if self.entries.len() > lines {
            self.more += 1;
            let far = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.time_ns.abs_diff(middle));
            if far(self.entries.front()) >= far(self.entries.back()) {
                self.entries.pop_front();
            } else {
                self.entries.pop_back();
            }
        }
    }

    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::State(span) if span.to >= self.from && span.from <= self.to && self.spans.len() < SPANS => {
                let (from, to) = (span.from.max(self.from), span.to.min(self.to));
                self.spans.push(Span { from, to, ..span });
            }
            Fact::Call(call) if call.ended >= self.from && !call.part && self.calls.len() < SPANS => {
                self.calls.push(call);
            }
            _ => {}
        }
    }
}
