//! A log read without being played: where each entry begins and ends.
//! It exists so that a log can be counted and cut.

use alloc::vec::Vec;

use super::entries::Entry;
use super::form::{Before, Bytes, Tag};
use super::start::Start;

/// A part of a log that can be played by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its bytes, without digests: those name every field of the state, which is more than a kept log should hold to.
    pub log: Vec<u8>,
    /// Entries into the core in it.
    pub calls: u64,
}

/// The first so many entries of a log; `None` if it is no log. One that breaks off is read as far as it goes.
#[must_use]
pub fn cut(log: &[u8], calls: u64) -> Option<Cut> {
    let (_, length) = Start::read(log)?;
    let (start, rest) = log.split_at_checked(length)?;
    let mut cut = Cut { log: start.to_vec(), calls: 0 };
    let (mut bytes, mut before) = (Bytes(rest), Before::new());
    let mut entry = None;
    loop {
        let at = bytes;
        let Some(tag) = bytes.byte().and_then(Tag::from_raw) else { break };
        if tag == Tag::Enter && cut.calls >= calls {
            break;
        }
        if read(tag, &mut bytes, &mut before, &mut entry).is_none() {
            cut.log.extend_from_slice(at.0);
            cut.calls = cut.calls.saturating_add(u64::from(tag == Tag::Enter));
            break;
        }
        cut.calls = cut.calls.saturating_add(u64::from(tag == Tag::Enter));
        let length = at.0.len().saturating_sub(bytes.0.len());
        if tag != Tag::Digest {
            cut.log.extend_from_slice(at.0.get(..length).unwrap_or_default());
        }
    }
    Some(cut)
}

/// Passes over what belongs to a tag.
fn read(tag: Tag, bytes: &mut Bytes<'_>, before: &mut Before, entry: &mut Option<Entry>) -> Option<()> {
    let [first, second, ..] = before.read(tag, bytes)?;
    match tag {
        Tag::Read => {
            bytes.take(usize::try_from(second).ok()?)?;
        }
        Tag::Enter => *entry = Entry::from_raw(first),
        _ => {}
    }
    if matches!(tag, Tag::Enter | Tag::Leave) && entry.is_some_and(Entry::has_registers) {
        before.read_registers(bytes)?;
    }
    Some(())
}
