//! Spans of guests: those of one name that are open at once lie on lanes beside each other, since slices of a track nest
//! and tasks of a guest need not.

use std::collections::{BTreeMap, BTreeSet};

use hypercall_abi::DomId;

use super::tracks::Kind;

/// Most names that are told apart: a guest may make up as many as it likes.
const NAMES: usize = 1024;
/// The others' name.
const OTHERS: u64 = u64::from_le_bytes(*b"(others)");
/// Most spans of a name that are shown at once.
const LANES: usize = 64;

/// What is open.
#[derive(Debug, Default)]
pub(super) struct Spans {
    names: BTreeSet<(DomId, u64)>,
    /// Values of open spans by lane.
    lanes: BTreeMap<(DomId, u64), Vec<Option<u64>>>,
}

impl Spans {
    /// A name under which what a guest calls so is shown.
    pub(super) fn known(&mut self, domain: DomId, name: u64) -> u64 {
        let name = cut(name);
        if self.names.contains(&(domain, name)) {
            return name;
        }
        if self.names.len() >= NAMES {
            return OTHERS;
        }
        self.names.insert((domain, name));
        name
    }

    /// A span begins; returns its track if it is shown.
    pub(super) fn begin(&mut self, domain: DomId, name: u64, value: u64) -> Option<Kind> {
        let name = self.known(domain, name);
        let lanes = self.lanes.entry((domain, name)).or_default();
        let lane = lanes.iter().position(Option::is_none).unwrap_or(lanes.len());
        if lane >= LANES {
            return None;
        }
        if lane == lanes.len() {
            lanes.push(None);
        }
        lanes[lane] = Some(value);
        Some(Kind::Spans(name, u8::try_from(lane).unwrap_or(u8::MAX)))
    }

    /// A span ends: the last of this name and value, else the last of this name; returns its track if it was shown.
    pub(super) fn end(&mut self, domain: DomId, name: u64, value: u64) -> Option<Kind> {
        let name = self.known(domain, name);
        let lanes = self.lanes.get_mut(&(domain, name))?;
        let same = lanes.iter().rposition(|open| *open == Some(value));
        let lane = same.or_else(|| lanes.iter().rposition(Option::is_some))?;
        lanes[lane] = None;
        Some(Kind::Spans(name, u8::try_from(lane).unwrap_or(u8::MAX)))
    }
}

/// A name without what follows its end.
fn cut(name: u64) -> u64 {
    let mut bytes = name.to_le_bytes();
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes[length..].fill(0);
    u64::from_le_bytes(bytes)
}
