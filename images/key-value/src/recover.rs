//! Opening a store: which superblock holds, and which records of its area are whole.
//! Two phases: first all is read and judged, then, by a new superblock, the store is taken for this opening.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::layout::{FIRST, Layout, SUPERBLOCKS};
use crate::medium::{Medium, SECTOR_BYTES};
use crate::sector::{Head, PAYLOAD_BYTES};
use crate::store::Store;
use crate::superblock::Superblock;

/// Sectors that are read at once while looking for records.
const WINDOW: u32 = 64;
/// Sectors that are read at once while looking for anything at all.
const PIECE: u64 = 256;

/// Why a store cannot be opened. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError<E> {
    /// The disk has failed.
    Disk(E),
    /// The disk has fewer sectors than [`Layout::sectors_min`].
    Small(u64),
    /// There is something else on the disk.
    NoStore,
    /// The store was made on a disk with this many sectors.
    Size(u64),
    /// What was durable is gone or has changed: this sector.
    Damaged(u64),
}

impl<E: fmt::Debug> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk failed: {error:?}"),
            Self::Small(sectors) => {
                let least = Layout::sectors_min();
                write!(f, "a disk of {sectors} sectors is too small for a store: it needs {least}")
            }
            Self::NoStore => f.write_str("the disk holds something that is no store, and is left as it is"),
            Self::Size(sectors) => write!(f, "the store was made on a disk of {sectors} sectors"),
            Self::Damaged(sector) => write!(f, "sector {sector} is not what was written there"),
        }
    }
}

impl<M: Medium> Store<M> {
    /// Opens the store of a disk, or makes one on a disk that is zeros throughout, which is read once for that.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub async fn open(medium: M) -> Result<Self, OpenError<M::Error>> {
        let mut store = Self::examine(medium).await?;
        // Who opened it before may have ended before its superblock was durable, and ours goes where the older one is.
        store.medium.flush().await.map_err(OpenError::Disk)?;
        let old = store.superblock;
        let new = Superblock { serial: old.serial + 1, mount: old.mount + 1, ..old };
        store.turn_to(new).await.map_err(OpenError::Disk)?;
        Ok(store)
    }

    /// Reads the store of a disk, and writes nothing. An empty disk is an empty store.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub async fn examine(medium: M) -> Result<Self, OpenError<M::Error>> {
        let (sectors, life) = (medium.sectors(), medium.life());
        let layout = Layout::of(sectors).ok_or(OpenError::Small(sectors))?;
        let mut front = vec![0; FIRST as usize * SECTOR_BYTES];
        medium.read(0, &mut front).await.map_err(OpenError::Disk)?;
        let found = SUPERBLOCKS.map(|place| front.chunks_exact(SECTOR_BYTES).nth(place as usize));
        let newest = found.into_iter().flatten().filter_map(Superblock::read).max_by_key(|one| one.serial);
        let superblock = match newest {
            _ if !is_zero_between(&front) => return Err(OpenError::NoStore),
            Some(superblock) => superblock,
            None if is_new(found, sectors) && is_zero_behind(&medium).await? => {
                Superblock { serial: 0, ..Superblock::first(sectors) }
            }
            None => return Err(OpenError::NoStore),
        };
        if superblock.sectors != sectors {
            return Err(OpenError::Size(superblock.sectors));
        }
        let mut store = Self {
            medium,
            layout,
            superblock,
            index: BTreeMap::new(),
            end: 0,
            live: 0,
            broken: false,
            superblocks: found.map(|sector| sector.unwrap_or_default().into()),
            life,
            lost: false,
        };
        store.replay().await?;
        Ok(store)
    }

    /// Takes each whole record of the log, up to the first that is none.
    async fn replay(&mut self) -> Result<(), OpenError<M::Error>> {
        let mut window = Window { first: 0, sectors: Vec::new() };
        let mut mount = self.superblock.since;
        while let Some((head, payload)) = self.record(&mut window, self.end, mount).await? {
            if !self.apply(self.end, &payload) {
                return Err(OpenError::Damaged(self.layout.sector(self.superblock.area, self.end)));
            }
            (mount, self.end) = (head.mount, self.end + u32::from(head.count));
        }
        // Only the last record may be missing: one that follows was written when this one was durable.
        for place in self.end + 1..=self.end.saturating_add(self.layout.record_sectors()) {
            if self.record(&mut window, place, mount).await?.is_some() {
                return Err(OpenError::Damaged(self.layout.sector(self.superblock.area, self.end)));
            }
        }
        Ok(())
    }

    /// The record that begins at a place, if there is a whole one of this log that is not older than its predecessor.
    async fn record(
        &self,
        window: &mut Window,
        place: u32,
        mount: u64,
    ) -> Result<Option<(Head, Vec<u8>)>, OpenError<M::Error>> {
        let Some((first, _)) = self.sector(window, place).await? else { return Ok(None) };
        let Superblock { generation, mount: newest, .. } = self.superblock;
        let ours = first.generation == generation && (mount..=newest).contains(&first.mount);
        if !ours || first.place != place || first.ordinal != 0 {
            return Ok(None);
        }
        let mut payload = Vec::with_capacity(usize::from(first.count) * PAYLOAD_BYTES);
        for after in 0..first.count {
            match self.sector(window, place.saturating_add(u32::from(after))).await? {
                Some((head, part)) if first.is_followed_by(&head, after) => payload.extend_from_slice(&part),
                _ => return Ok(None),
            }
        }
        payload.truncate(first.bytes as usize);
        Ok(Some((first, payload)))
    }

    async fn sector(
        &self,
        window: &mut Window,
        place: u32,
    ) -> Result<Option<(Head, [u8; PAYLOAD_BYTES])>, OpenError<M::Error>> {
        if place >= self.layout.area_sectors {
            return Ok(None);
        }
        let have = (window.sectors.len() / SECTOR_BYTES) as u32;
        if !(window.first..window.first + have).contains(&place) {
            let count = WINDOW.min(self.layout.area_sectors - place);
            window.sectors = vec![0; count as usize * SECTOR_BYTES];
            window.first = place;
            let sector = self.layout.sector(self.superblock.area, place);
            self.medium.read(sector, &mut window.sectors).await.map_err(OpenError::Disk)?;
        }
        let sector = window.sectors.chunks_exact(SECTOR_BYTES).nth((place - window.first) as usize);
        let read = sector.and_then(Head::read);
        Ok(read.and_then(|(head, payload)| Some((head, payload.try_into().ok()?))))
    }
}

/// Sectors of the area that were read last.
struct Window {
    first: u32,
    sectors: Vec<u8>,
}

/// Whether there is nothing beside the superblocks, where no store writes. What was put on a disk over an old store, and has left
/// its superblock, is told from a store by that.
fn is_zero_between(front: &[u8]) -> bool {
    let sectors = (0..).zip(front.chunks_exact(SECTOR_BYTES));
    sectors.filter(|(place, _)| !SUPERBLOCKS.contains(place)).all(|(_, sector)| is_zero(sector))
}

/// Whether no store was ever opened here, by the places of the superblocks: zeros, but for what a power cut may have left of the
/// first one, before which nothing else is written.
fn is_new(found: [Option<&[u8]>; 2], sectors: u64) -> bool {
    let opened = Superblock { mount: 1, ..Superblock::first(sectors) };
    let first = opened.write();
    let slots = [opened.slot(), 1 - opened.slot()];
    let [torn, other] = slots.map(|slot| found.get(slot).copied().flatten());
    torn.is_some_and(|torn| torn.iter().zip(first).all(|(byte, whole)| *byte == 0 || *byte == whole))
        && other.is_some_and(is_zero)
}

/// Whether all that follows the superblocks is zeros, up to the disk's end.
async fn is_zero_behind<M: Medium>(medium: &M) -> Result<bool, OpenError<M::Error>> {
    let (mut sector, sectors) = (FIRST, medium.sectors());
    let mut piece = vec![0; PIECE as usize * SECTOR_BYTES];
    while sector < sectors {
        let count = PIECE.min(sectors - sector);
        piece.truncate(count as usize * SECTOR_BYTES);
        medium.read(sector, &mut piece).await.map_err(OpenError::Disk)?;
        if !is_zero(&piece) {
            return Ok(false);
        }
        sector += count;
    }
    Ok(true)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
