//! The store itself: where each value is, and the log's end.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::batch::{Batch, KEY_MAX, changes, entry_bytes};
use crate::layout::{Layout, SUPERBLOCKS};
use crate::medium::{Medium, SECTOR_BYTES};
use crate::sector::{Head, PAYLOAD_BYTES, record, sectors_of};
use crate::superblock::Superblock;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Place of its record's first sector in the area.
    pub(crate) place: u32,
    /// First byte in the record's payload.
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) bytes: u32,
}

/// Why a change was not taken into a batch. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A key has 1 to [`KEY_MAX`] bytes.
    Key,
    /// A value has at most so many bytes.
    Value(usize),
    /// The disk is full: something must be deleted first.
    Full,
    /// The batch is full: it must be committed first.
    Batch,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => write!(f, "a key has 1 to {KEY_MAX} bytes"),
            Self::Value(most) => write!(f, "a value has at most {most} bytes"),
            Self::Full => f.write_str("the disk is full; nothing was changed"),
            Self::Batch => f.write_str("too much at once"),
        }
    }
}

/// Why a batch is not known to be durable. The store takes no more changes; to open it again tells which of the batch are
/// there: all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError<E> {
    /// The disk has failed.
    Disk(E),
    /// An earlier batch has failed, or a value was found damaged.
    Broken,
    /// A value that was to be moved is not there any more.
    Damaged,
    /// The disk has begun anew, without what was durable on it.
    Lost,
}

impl<E: fmt::Debug> fmt::Display for CommitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk failed: {error:?}"),
            Self::Broken => f.write_str("the disk has failed before, and no more changes are taken"),
            Self::Damaged => f.write_str("a value is not what was written, and no more changes are taken"),
            Self::Lost => {
                f.write_str("the disk has begun anew without what was written, and no more changes are taken")
            }
        }
    }
}

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError<E> {
    /// The disk has failed.
    Disk(E),
    /// What is on the disk is not what was written.
    Damaged,
}

/// An open store.
#[derive(Debug)]
pub struct Store<M> {
    pub(crate) medium: M,
    pub(crate) layout: Layout,
    pub(crate) superblock: Superblock,
    pub(crate) index: BTreeMap<Box<[u8]>, Location>,
    /// Sectors of the area that are used.
    pub(crate) end: u32,
    /// Bytes of wanted entries.
    pub(crate) live: u64,
    /// A change was begun and not ended.
    pub(crate) broken: bool,
    /// What the places of the superblocks hold.
    pub(crate) superblocks: [Box<[u8]>; 2],
    /// Of the disk, when they were last known to be there.
    pub(crate) life: u64,
    /// The disk has begun anew.
    pub(crate) lost: bool,
}

impl<M: Medium> Store<M> {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.index.contains_key(key)
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.index.keys().map(AsRef::as_ref)
    }

    /// The superblock that holds.
    #[must_use]
    pub const fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Bytes of wanted entries, and how many there may be.
    #[must_use]
    pub const fn live_bytes(&self) -> (u64, u64) {
        (self.live, self.layout.live_bytes)
    }

    /// The most bytes of a value.
    #[must_use]
    pub const fn value_max(&self) -> usize {
        self.layout.entry_bytes() - entry_bytes(KEY_MAX, 0)
    }

    /// Adds a change to a batch: a new value, or `None` to delete. To delete what is not there changes nothing.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn admit(&self, batch: &mut Batch, key: &[u8], value: Option<&[u8]>) -> Result<(), Refusal> {
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(Refusal::Key);
        }
        let most = self.value_max();
        if value.is_some_and(|value| value.len() > most) {
            return Err(Refusal::Value(most));
        }
        let cost = |value: usize| entry_bytes(key.len(), value);
        let in_batch = batch.changes.get(key);
        let in_store = self.index.get(key).map(|location| location.bytes as usize);
        let before = match in_batch {
            Some(change) => change.as_ref().map(|value| value.len()),
            None => in_store,
        };
        if value.is_none() && in_batch.is_none() && in_store.is_none() {
            return Ok(());
        }
        let bytes = cost(value.map_or(0, <[u8]>::len));
        let old = in_batch.map_or(0, |change| cost(change.as_ref().map_or(0, |value| value.len())));
        let total = batch.bytes - old + bytes;
        if total > self.layout.record_bytes as usize {
            return Err(Refusal::Batch);
        }
        let live = |value: Option<usize>| value.map_or(0, |value| cost(value) as i64);
        let growth = batch.growth + live(value.map(<[u8]>::len)) - live(before);
        if growth > batch.growth && self.live.saturating_add_signed(growth) > self.layout.live_bytes {
            return Err(Refusal::Full);
        }
        batch.changes.insert(key.into(), value.map(Into::into));
        (batch.bytes, batch.growth) = (total, growth);
        Ok(())
    }

    /// Whether a key will be there after a batch.
    #[must_use]
    pub fn will_contain(&self, batch: &Batch, key: &[u8]) -> bool {
        batch.changes.get(key).map_or_else(|| self.contains(key), Option::is_some)
    }

    /// Makes a batch durable; it is when this returns.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn commit(&mut self, batch: Batch) -> Result<(), CommitError<M::Error>> {
        if self.lost {
            return Err(CommitError::Lost);
        }
        if self.broken {
            return Err(CommitError::Broken);
        }
        if batch.is_empty() {
            return Ok(());
        }
        // Until it has gone well, or if nobody waits for the end.
        self.broken = true;
        if self.end + sectors_of(batch.bytes) > self.layout.area_sectors {
            self.compact().await?;
        }
        let payload = batch.payload();
        let place = self.end;
        self.append(&payload).await.map_err(CommitError::Disk)?;
        self.medium.flush().await.map_err(CommitError::Disk)?;
        self.remains().await?;
        // Our own payload is always understood.
        let _understood = self.apply(place, &payload);
        self.broken = false;
        Ok(())
    }

    /// Makes sure that the disk holds what was durable on it: to be called after a flush. The superblocks stand for all of it. The
    /// newest was written when this store was opened, or later, so a disk that has begun anew since then has another one or none; and where
    /// a new one has just been written, the one before it is looked for as well.
    pub(crate) async fn remains(&mut self) -> Result<(), CommitError<M::Error>> {
        loop {
            let life = self.medium.life();
            if life == self.life {
                return Ok(());
            }
            for (place, written) in SUPERBLOCKS.into_iter().zip(&self.superblocks) {
                let mut found = vec![0; SECTOR_BYTES];
                self.medium.read(place, &mut found).await.map_err(CommitError::Disk)?;
                if found != **written {
                    self.lost = true;
                    return Err(CommitError::Lost);
                }
            }
            self.life = life;
        }
    }

    /// Writes a record at the log's end.
    pub(crate) async fn append(&mut self, payload: &[u8]) -> Result<(), M::Error> {
        let Superblock { generation, mount, area, .. } = self.superblock;
        let sectors = record(generation, mount, self.end, payload);
        self.medium.write(self.layout.sector(area, self.end), &sectors).await?;
        self.end += sectors_of(payload.len());
        Ok(())
    }

    /// Takes the changes of a record into the index. False if one is none.
    pub(crate) fn apply(&mut self, place: u32, payload: &[u8]) -> bool {
        for change in changes(payload) {
            let Ok(change) = change else { return false };
            let cost = |bytes: u32| entry_bytes(change.key.len(), bytes as usize) as u64;
            let old = match change.value {
                Some(bytes) => {
                    let location = Location { place, offset: change.offset as u32, bytes: bytes as u32 };
                    self.live += cost(location.bytes);
                    self.index.insert(change.key.into(), location)
                }
                None => self.index.remove(change.key),
            };
            self.live -= old.map_or(0, |old| cost(old.bytes));
        }
        true
    }

    /// The value of a key, if there is one. The store takes no more changes when it finds one [`ReadError::Damaged`]: where
    /// what was durable is gone, nothing can be made durable.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError<M::Error>> {
        let Some(location) = self.index.get(key) else { return Ok(None) };
        let value = self.value(*location).await;
        self.broken |= matches!(value, Err(ReadError::Damaged));
        value.map(Some)
    }

    pub(crate) async fn value(&self, at: Location) -> Result<Vec<u8>, ReadError<M::Error>> {
        let (offset, bytes) = (at.offset as usize, at.bytes as usize);
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let (first, last) = (offset / PAYLOAD_BYTES, (offset + bytes - 1) / PAYLOAD_BYTES);
        let mut sectors = vec![0; (last - first + 1) * SECTOR_BYTES];
        let place = at.place + first as u32;
        let sector = self.layout.sector(self.superblock.area, place);
        self.medium.read(sector, &mut sectors).await.map_err(ReadError::Disk)?;
        let mut value = Vec::with_capacity(sectors.len());
        for (ordinal, sector) in (first as u16..).zip(sectors.chunks_exact(SECTOR_BYTES)) {
            let (head, payload) = Head::read(sector).ok_or(ReadError::Damaged)?;
            let expected = (self.superblock.generation, at.place + u32::from(ordinal), ordinal);
            if (head.generation, head.place, head.ordinal) != expected {
                return Err(ReadError::Damaged);
            }
            value.extend_from_slice(payload);
        }
        let start = offset - first * PAYLOAD_BYTES;
        value.truncate(start + bytes);
        value.drain(..start);
        Ok(value)
    }
}
