//! The move to the other area, when the log is full: what is still wanted is copied there, and a superblock says so.
//! Until that superblock is durable the old area is the store.

use alloc::vec::Vec;

use crate::batch::{entry_bytes, put};
use crate::medium::Medium;
use crate::store::{CommitError, Location, ReadError, Store};
use crate::superblock::Superblock;

impl<M: Medium> Store<M> {
    /// Copies what is wanted to the other area.
    pub(crate) async fn compact(&mut self) -> Result<(), CommitError<M::Error>> {
        let old = self.superblock;
        let new = Superblock {
            serial: old.serial + 1,
            generation: old.generation + 1,
            since: old.mount,
            area: 1 - old.area,
            ..old
        };
        let index = self.index.clone();
        let mut moved: Vec<Location> = Vec::with_capacity(index.len());
        let (mut end, mut payload) = (0, Vec::new());
        for (key, location) in &index {
            let value = self.value(*location).await.map_err(|error| match error {
                ReadError::Disk(error) => CommitError::Disk(error),
                ReadError::Damaged => CommitError::Damaged,
            })?;
            if payload.len() + entry_bytes(key.len(), value.len()) > self.layout.record_bytes as usize {
                end = self.copy(&new, end, &payload).await.map_err(CommitError::Disk)?;
                payload.clear();
            }
            let offset = put(&mut payload, key, Some(&value));
            moved.push(Location { place: end, offset: offset as u32, bytes: location.bytes });
        }
        if !payload.is_empty() {
            end = self.copy(&new, end, &payload).await.map_err(CommitError::Disk)?;
        }
        self.medium.flush().await.map_err(CommitError::Disk)?;
        self.remains().await?;
        self.turn_to(new).await.map_err(CommitError::Disk)?;
        self.remains().await?;
        self.end = end;
        for (location, moved) in self.index.values_mut().zip(moved) {
            *location = moved;
        }
        Ok(())
    }

    /// Writes a record into the area of another superblock; returns where the next one begins.
    async fn copy(&self, of: &Superblock, place: u32, payload: &[u8]) -> Result<u32, M::Error> {
        let sectors = crate::sector::record(of.generation, of.mount, place, payload);
        self.medium.write(self.layout.sector(of.area, place), &sectors).await?;
        Ok(place + crate::sector::sectors_of(payload.len()))
    }

    /// Makes a superblock the one that holds.
    pub(crate) async fn turn_to(&mut self, new: Superblock) -> Result<(), M::Error> {
        let place = crate::layout::SUPERBLOCKS.get(new.slot()).copied().unwrap_or(0);
        let sector = new.write();
        self.medium.write(place, &sector).await?;
        self.medium.flush().await?;
        self.superblock = new;
        if let Some(known) = self.superblocks.get_mut(new.slot()) {
            *known = sector.into();
        }
        Ok(())
    }
}
