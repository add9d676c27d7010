//! Changes that are made together: all of them or none.
//! Within a batch the last change of a key is the one that counts, so a batch is a map.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The most bytes of a key.
pub const KEY_MAX: usize = 250;
/// Bytes before key and value: kind, length of the key, length of the value.
const HEAD_BYTES: usize = 6;
const SET: u8 = 1;
const DELETE: u8 = 2;

/// Changes that become durable together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The new value of each key; `None` deletes it.
    pub(crate) changes: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    /// Bytes that the changes take on the disk.
    pub(crate) bytes: usize,
    /// By how much the bytes of wanted entries grow.
    pub(crate) growth: i64,
}

impl Batch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The payload of its record, and for each key that is set where its value is in it.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.bytes);
        for (key, value) in &self.changes {
            put(&mut payload, key, value.as_deref());
        }
        payload
    }
}

/// Bytes of an entry on the disk.
pub(crate) const fn entry_bytes(key: usize, value: usize) -> usize {
    HEAD_BYTES + key + value
}

/// Adds a change to a payload; returns where its value begins.
pub(crate) fn put(payload: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) -> usize {
    let bytes = value.unwrap_or_default();
    payload.push(if value.is_some() { SET } else { DELETE });
    payload.push(key.len() as u8);
    payload.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    payload.extend_from_slice(key);
    payload.extend_from_slice(bytes);
    payload.len() - bytes.len()
}

/// A change as it is in a payload.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a [u8],
    /// Length of the value; `None` deletes.
    pub(crate) value: Option<usize>,
    /// Where the value begins in the payload.
    pub(crate) offset: usize,
}

/// The changes of a payload; `Err` in the place of one that is none.
pub(crate) fn changes(payload: &[u8]) -> impl Iterator<Item = Result<Change<'_>, ()>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        if at >= payload.len() {
            return None;
        }
        let found = change(payload, at);
        at = match &found {
            Some(change) => change.offset + change.value.unwrap_or(0),
            None => payload.len(),
        };
        Some(found.ok_or(()))
    })
}

fn change(payload: &[u8], at: usize) -> Option<Change<'_>> {
    let &[kind, key_bytes, a, b, c, d] = payload.get(at..at + HEAD_BYTES)? else { return None };
    let value_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    let key = payload.get(at + HEAD_BYTES..at + HEAD_BYTES + usize::from(key_bytes))?;
    let offset = at + HEAD_BYTES + key.len();
    payload.get(offset..offset.checked_add(value_bytes)?)?;
    let value = match kind {
        SET => Some(value_bytes),
        DELETE if value_bytes == 0 => None,
        _ => return None,
    };
    Some(Change { key, value, offset })
}
