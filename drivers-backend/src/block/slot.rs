//! A place for a front end, which outlives its connections.

use super::offences::Offences;
use super::share::Share;
use super::sparse::Sparse;
use super::vbd::Vbd;

/// A place for a front end. What must outlive it stands here.
pub(super) struct Slot<G> {
    pub(super) vbd: Option<Vbd<G>>,
    /// Changes over a disk, kept while its owner is gone.
    pub(super) overlay: Option<(Share, Sparse)>,
    /// Counts connections.
    pub(super) epoch: u32,
    /// Requests of earlier connections that the disk has not done yet. Until then nothing new begins: it could be
    /// overtaken by what is old.
    pub(super) stale: u32,
    /// Whether there was no room for who is there now, and that was noted.
    pub(super) full: bool,
    pub(super) offences: Offences,
}

impl<G> Slot<G> {
    /// Nobody was there yet.
    pub(super) fn empty() -> Self {
        Self { vbd: None, overlay: None, epoch: 0, stale: 0, full: false, offences: Offences::default() }
    }

    /// Notes that the connection has ended, and that so many of its requests are with the disk.
    pub(super) const fn end_connection(&mut self, left_behind: u32) {
        self.stale += left_behind;
        self.epoch = self.epoch.wrapping_add(1);
    }
}
