//! Parts of a disk that are in memory, and what was looked for and is not.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use ext4_view::Ext4Read;

/// Bytes of a part.
pub const CHUNK_BYTES: usize = 32 << 10;
/// Parts that are kept when nobody needs them.
const KEPT: usize = 8;

/// A disk that answers later.
pub trait Blocks {
    /// Why it did not.
    type Error: fmt::Debug + fmt::Display;

    /// Its length in bytes.
    fn bytes(&self) -> u64;

    /// Fills `into` with what begins at byte `start`, a multiple of [`CHUNK_BYTES`].
    fn read(&self, start: u64, into: &mut [u8]) -> impl Future<Output = Result<(), Self::Error>>;
}

/// A part that is in memory: its number and its bytes.
pub(crate) type Chunk = (u64, Rc<[u8]>);

/// What is in memory of a disk. Clones share it.
#[derive(Clone, Debug)]
pub struct Chunks(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: u64,
    /// The last used first.
    chunks: VecDeque<Chunk>,
    missing: Vec<u64>,
}

/// Something that was read is not in memory, or not on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotThere;

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("beyond the end of the disk")
    }
}

impl core::error::Error for NotThere {}

impl Chunks {
    /// Nothing yet, of a disk of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self(Rc::new(RefCell::new(Inner { bytes, chunks: VecDeque::new(), missing: Vec::new() })))
    }

    /// Copies bytes from `start` on; notes every part that is missing for it.
    ///
    /// # Errors
    /// [`NotThere`]; `into` may have changed.
    pub fn copy(&self, start: u64, into: &mut [u8]) -> Result<(), NotThere> {
        let inner = &mut *self.0.borrow_mut();
        let end = start.checked_add(into.len() as u64).filter(|end| *end <= inner.bytes);
        end.ok_or(NotThere)?;
        let (mut at, mut rest) = (start, into);
        while !rest.is_empty() {
            let number = at / CHUNK_BYTES as u64;
            let offset = (at % CHUNK_BYTES as u64) as usize;
            let (part, next) = rest.split_at_mut(rest.len().min(CHUNK_BYTES - offset));
            match inner.find(number).and_then(|bytes| bytes.get(offset..offset + part.len())) {
                Some(from) => part.copy_from_slice(from),
                None => inner.missing.push(number),
            }
            at += part.len() as u64;
            rest = next;
        }
        if inner.missing.is_empty() { Ok(()) } else { Err(NotThere) }
    }

    /// Whether something has been missing.
    pub(crate) fn is_missing(&self) -> bool {
        !self.0.borrow().missing.is_empty()
    }

    /// What has been missing since the last call.
    pub(crate) fn take_missing(&self) -> Vec<u64> {
        let mut missing = core::mem::take(&mut self.0.borrow_mut().missing);
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Room for the part of this number.
    pub(crate) fn room(&self, number: u64) -> Box<[u8]> {
        let rest = self.0.borrow().bytes.saturating_sub(number.saturating_mul(CHUNK_BYTES as u64));
        vec![0; rest.min(CHUNK_BYTES as u64) as usize].into_boxed_slice()
    }

    /// Has these parts in memory, whatever else goes.
    pub(crate) fn keep(&self, held: &[Chunk]) {
        let chunks = &mut self.0.borrow_mut().chunks;
        for chunk in held {
            chunks.retain(|(number, _)| *number != chunk.0);
            chunks.push_front(chunk.clone());
        }
        chunks.truncate(KEPT.max(held.len()));
    }

    /// Gives back what is over the usual.
    pub(crate) fn trim(&self) {
        self.0.borrow_mut().chunks.truncate(KEPT);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().chunks.len()
    }
}

impl Inner {
    fn find(&mut self, number: u64) -> Option<&[u8]> {
        let at = self.chunks.iter().position(|(known, _)| *known == number)?;
        if let Some(chunk) = self.chunks.remove(at) {
            self.chunks.push_front(chunk);
        }
        self.chunks.front().map(|(_, bytes)| &**bytes)
    }
}

impl Ext4Read for Chunks {
    fn read(
        &mut self,
        start: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn core::error::Error + Send + Sync + 'static>> {
        Ok(self.copy(start, into)?)
    }
}
