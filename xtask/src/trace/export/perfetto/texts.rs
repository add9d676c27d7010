//! Texts of events, written once and then named by number: most of a file would be the same few words.

use std::collections::BTreeMap;

use hypercall_abi::DomId;

use super::schema::{self, Interned};
use super::tracks::Kind;
use crate::trace::follow::State;
use crate::trace::names::{self, Names};

/// What an event is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Text {
    /// A hypercall.
    Call(u8),
    /// A run state.
    State(State),
    /// A domain.
    Domain(DomId),
    /// An event raised for a domain.
    Raise(DomId),
    /// An upcall handler.
    Upcall,
    /// A name that a guest gave.
    Guest(u64),
}

/// What a note is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    Port,
    Arg0,
    Arg1,
    Value,
}

impl Note {
    const ALL: [Self; 4] = [Self::Port, Self::Arg0, Self::Arg1, Self::Value];

    /// Its number.
    pub(super) const fn iid(self) -> u64 {
        self as u64 + 1
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Arg0 => "arg0",
            Self::Arg1 => "arg1",
            Self::Value => "value",
        }
    }
}

const CATEGORIES: [&str; 5] = ["run-state", "hypercall", "event", "guest", "ring"];

/// Number of the category of what stands on a track.
pub(super) const fn category(kind: Kind) -> u64 {
    match kind {
        Kind::Processor(_) | Kind::States => 1,
        Kind::Calls => 2,
        Kind::Upcalls | Kind::Raises => 3,
        Kind::Spans(..) | Kind::Moments | Kind::Value(_) => 4,
        Kind::Ring(..) => 5,
    }
}

/// Numbers of the names of events.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeMap<Text, u64>);

impl Texts {
    /// Number of a name, and whether it is new.
    pub(super) fn number(&mut self, text: Text) -> (u64, bool) {
        let next = self.0.len() as u64 + 1;
        let number = *self.0.entry(text).or_insert(next);
        (number, number == next)
    }

    /// What a file tells of a new name.
    pub(super) fn told(iid: u64, text: Text, names: &Names) -> Interned {
        let name = match text {
            Text::Call(number) => names::call(number.into()),
            Text::State(state) => state.word().to_owned(),
            Text::Domain(domain) => names.of(domain),
            Text::Raise(domain) => format!("raises for {}", names.of(domain)),
            Text::Upcall => "upcall".to_owned(),
            Text::Guest(name) => letters(name),
        };
        Interned { event_names: vec![told(iid, &name)], ..Interned::default() }
    }

    /// The texts that each file begins with.
    pub(super) fn fixed() -> Interned {
        let all = |words: &[&str]| words.iter().zip(1..).map(|(word, iid)| told(iid, word)).collect();
        Interned {
            event_categories: all(&CATEGORIES),
            event_names: Vec::new(),
            debug_annotation_names: all(&Note::ALL.map(Note::word)),
        }
    }
}

fn told(iid: u64, text: &str) -> schema::Text {
    schema::Text { iid: Some(iid), name: Some(text.to_owned()) }
}

/// A name of up to eight letters.
pub(super) fn letters(name: u64) -> String {
    let bytes = name.to_le_bytes();
    let letters = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(letters).into_owned()
}
