//! The block back end: all front ends and all disks, worked in bounded turns.
//! An event costs only those that it concerns; a front end that misbehaves costs itself.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hypercall_abi::blkif::BlockRequest;
use hypercall_abi::device::{BlockCounters, BlockError};
use hypercall_abi::grant_table::{CopyGrant, GrantStatus};
use hypercall_abi::{Errno, GrantRef, Port};

use super::SEGMENTS_MAX;
use super::copies::Copied;
use super::credit::Rounds;
use super::data::Data;
use super::disk::{Disk, Finished};
use super::jobs::Jobs;
use super::offences::Offence;
use super::request::Run;
use super::share::{Access, DiskId, Shelf};
use super::slot::Slot;
use super::sparse::{NoRoom, Sparse};
use super::vbd::{Client, Vbd, VbdId};
use crate::link::Step;
use crate::netback::Turn;
use crate::platform::Platform;
use crate::work::WorkList;

/// Changes of state handled in one turn.
const STATE_BUDGET: usize = 16;

/// Why a front end was not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// One with this number is there already.
    Exists,
    /// There is no such disk.
    NoDisk(DiskId),
    /// Its sectors are not all on the disk.
    Range,
    /// It wants to write to a disk that nobody can write to.
    ReadOnly,
    /// This front end uses some of the same sectors, and one of both writes.
    Shared(VbdId),
    /// Its device page cannot be mapped.
    Page(GrantStatus),
}

/// What was counted over all front ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockTotals {
    /// Requests answered.
    pub answered: u64,
    /// Of them, with an error.
    pub failed: u64,
    /// Grant copies made.
    pub copies: u64,
    /// Batches that they were made in.
    pub batches: u64,
    /// Pages that a disk used where they are.
    pub in_place: u64,
    /// Requests of connections that ended before the disk was done.
    pub orphaned: u64,
}

/// What a port of ours means.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    State,
    Ring,
}

/// The back end of all block devices of a driver domain.
pub struct BlockBack<P: Platform> {
    pub(super) platform: P,
    pub(super) disks: Vec<Shelf<Data<P>>>,
    pub(super) slots: Vec<Slot<P::Page>>,
    ports: BTreeMap<Port, (VbdId, Purpose)>,
    /// Pages that are free.
    pub(super) pool: Vec<P::Buffer>,
    /// Pages that requests may still begin with, of ours or of front ends'.
    pub(super) room: usize,
    /// Pages of front ends' that are mapped for good.
    pub(super) lent: usize,
    /// Where the segments of indirect requests are fetched to.
    pub(super) scratch: P::Buffer,
    pub(super) jobs: Jobs<Data<P>>,
    pub(super) states: WorkList<VbdId>,
    /// Front ends that may have asked.
    pub(super) senders: WorkList<VbdId>,
    /// Front ends whose rings were worked on in this turn.
    pub(super) touched: WorkList<VbdId>,
    /// Nobody may begin anything before a page is given back.
    pub(super) short: bool,
    /// Work that is done and not answered yet.
    pub(super) finished: Finished<Data<P>>,
    pub(super) copies: Vec<CopyGrant>,
    /// A list for work that needs copies, empty.
    pub(super) copied: Copied<P>,
    /// The request that is judged, and its runs.
    pub(super) request: BlockRequest,
    pub(super) runs: Vec<Run>,
    pub(super) totals: BlockTotals,
    pub(super) rounds: Rounds,
    /// Work that was done for front ends and not charged yet.
    pub(super) work: u32,
    /// Front ends of whose offences somebody is to be told.
    offenders: WorkList<VbdId>,
    /// Front ends without room of which somebody is to be told.
    filled: Vec<(VbdId, NoRoom)>,
}

impl<P: Platform> BlockBack<P> {
    /// A back end without disks and front ends, with so many pages for data on its way.
    ///
    /// # Errors
    /// [`Errno::NoMem`] when there are not enough pages; [`SEGMENTS_MAX`] are the fewest that work.
    pub fn new(mut platform: P, pages: usize) -> Result<Self, Errno> {
        if pages < SEGMENTS_MAX {
            return Err(Errno::NoMem);
        }
        let scratch = platform.allocate()?;
        let pool = (0..pages).map(|_| platform.allocate()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            platform,
            disks: Vec::new(),
            slots: Vec::new(),
            ports: BTreeMap::new(),
            pool,
            room: pages,
            lent: 0,
            scratch,
            jobs: Jobs::default(),
            states: WorkList::default(),
            senders: WorkList::default(),
            touched: WorkList::default(),
            short: false,
            finished: Vec::new(),
            copies: Vec::new(),
            copied: Vec::new(),
            request: BlockRequest::zeroed(),
            runs: Vec::new(),
            totals: BlockTotals::default(),
            rounds: Rounds::default(),
            work: 0,
            offenders: WorkList::default(),
            filled: Vec::new(),
        })
    }

    /// Adds a disk; false when there is one of this number.
    pub fn add_disk(&mut self, id: DiskId, disk: Box<dyn Disk<Data<P>>>) -> bool {
        if self.disks.iter().any(|shelf| shelf.id == id) {
            return false;
        }
        self.disks.push(Shelf::new(id, disk));
        true
    }

    /// Takes up a front end, whose device page has been granted to us by `page`.
    ///
    /// # Errors
    /// As [`AddError`] says; nothing has changed.
    pub fn add(&mut self, id: VbdId, mut client: Client, page: GrantRef) -> Result<(), AddError> {
        let at = usize::from(id);
        if self.slots.get(at).is_some_and(|slot| slot.vbd.is_some()) {
            return Err(AddError::Exists);
        }
        let number = self.disks.iter().position(|shelf| shelf.id == client.share.disk);
        let number = number.ok_or(AddError::NoDisk(client.share.disk))?;
        let disk = self.disks.get(number).ok_or(AddError::NoDisk(client.share.disk))?;
        let share = client.share.within(disk.disk.sectors()).ok_or(AddError::Range)?;
        if share.access == Access::Write && disk.disk.is_read_only() {
            return Err(AddError::ReadOnly);
        }
        let others = (0..).zip(&self.slots).filter_map(|(at, slot)| Some((at, slot.vbd.as_ref()?)));
        for (other, vbd) in others {
            if share.collides(&vbd.client.share) {
                return Err(AddError::Shared(VbdId(other)));
            }
        }
        let facts = share.facts(disk.disk.can_discard());
        client.share = share;
        let page = self.platform.map(client.peer, page).map_err(AddError::Page)?;
        while self.slots.len() <= at {
            self.slots.push(Slot::empty());
        }
        if let Some(slot) = self.slots.get_mut(at) {
            // The changes of a front end that was there before, if they are over the same sectors.
            let kept = slot.overlay.take().filter(|(over, _)| *over == share);
            slot.overlay = match share.access {
                Access::Overlay { memory_bytes } => kept.or(Some((share, Sparse::new(memory_bytes)))),
                Access::Read | Access::Write => None,
            };
            slot.vbd = Some(Vbd::new(&mut self.platform, client, page, facts, number));
            // What the domain before it was told of, this one was not.
            slot.full = false;
        }
        self.ports.insert(client.state_port, (id, Purpose::State));
        self.states.add(id);
        Ok(())
    }

    /// Tells a front end that was not taken up that there is no disk for it.
    pub fn refuse(&mut self, client: &Client, page: GrantRef) {
        if let Ok(page) = self.platform.map(client.peer, page) {
            self.platform.unmap(Vbd::refuse(page));
            self.platform.notify(client.state_port);
        }
    }

    /// Forgets a front end whose domain is gone. What it has written stays.
    pub fn remove(&mut self, id: VbdId) {
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return };
        let Some(vbd) = slot.vbd.take() else { return };
        self.ports.remove(&vbd.client.state_port);
        self.work = self.work.saturating_sub(vbd.credit.owed);
        let in_flight = vbd.in_flight;
        if let Step::Down(port) = vbd.end(&mut self.platform, &mut self.lent) {
            self.ports.remove(&port);
            slot.end_connection(in_flight);
        }
    }

    /// Notes that a port of ours has fired.
    pub fn event(&mut self, port: Port) {
        match self.ports.get(&port) {
            Some((id, Purpose::State)) => self.states.add(*id),
            Some((id, Purpose::Ring)) => self.senders.add(*id),
            None => {}
        }
    }

    /// Notes that a disk has interrupted.
    pub fn disk_event(&mut self, id: DiskId) {
        if let Some(shelf) = self.disks.iter_mut().find(|shelf| shelf.id == id) {
            shelf.ready = true;
        }
    }

    /// Does a bounded piece of the work that is due. It stands alone, beside what it calls for each request.
    #[inline(never)]
    pub fn turn(&mut self) -> Turn {
        if !self.states.is_empty() {
            self.step_states();
        }
        self.collect();
        self.take_requests();
        for shelf in &mut self.disks {
            shelf.feed();
        }
        self.collect();
        self.finish();
        let taking = !self.senders.is_empty() && !self.short;
        let ready = self.disks.iter().any(|shelf| shelf.ready) || !self.finished.is_empty();
        if taking || ready || !self.states.is_empty() || self.rest() {
            Turn::More
        } else {
            Turn::Idle { until_ns: u64::MAX }
        }
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn totals(&self) -> &BlockTotals {
        &self.totals
    }

    /// Requests under way at the disks, those of connections that have ended included.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.jobs.len()
    }

    /// Pages that are free.
    #[must_use]
    pub const fn free_pages(&self) -> usize {
        self.room
    }

    /// Pages of front ends' that are mapped for as long as their connections last.
    #[must_use]
    pub const fn mapped_pages(&self) -> usize {
        self.lent
    }

    /// What one front end's half of the device counted.
    #[must_use]
    pub fn counters(&self, id: VbdId) -> Option<&BlockCounters> {
        Some(&self.vbd(id)?.counters)
    }

    /// Whether a front end is connected.
    #[must_use]
    pub fn is_connected(&self, id: VbdId) -> bool {
        self.vbd(id).is_some_and(|vbd| vbd.link.is_up())
    }

    /// Why a front end's last connection ended.
    #[must_use]
    pub fn error(&self, id: VbdId) -> Option<BlockError> {
        Some(self.vbd(id)?.error)
    }

    /// Bytes of memory that a front end's overlay takes.
    #[must_use]
    pub fn overlay_bytes(&self, id: VbdId) -> Option<u64> {
        Some(self.slots.get(usize::from(id))?.overlay.as_ref()?.1.bytes())
    }

    /// A front end for whose writes there was no room, and why: each domain once.
    pub fn take_full(&mut self) -> Option<(VbdId, NoRoom)> {
        self.filled.pop()
    }

    /// A front end whose connection ended for what it did, if somebody is to be told: of the first time, the second, the fourth,
    /// and so on.
    pub fn take_offence(&mut self) -> Option<Offence> {
        let id = self.offenders.take()?;
        self.slots.get_mut(usize::from(id))?.offences.take(id)
    }

    /// The platform, for its owner.
    pub const fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    fn vbd(&self, id: VbdId) -> Option<&Vbd<P::Page>> {
        self.slots.get(usize::from(id))?.vbd.as_ref()
    }

    pub(super) fn note_full(&mut self, id: VbdId, why: NoRoom) {
        if let Some(slot) = self.slots.get_mut(usize::from(id))
            && !core::mem::replace(&mut slot.full, true)
        {
            self.filled.push((id, why));
        }
    }

    #[inline(never)]
    fn step_states(&mut self) {
        for _ in 0..self.states.len().min(STATE_BUDGET) {
            let Some(id) = self.states.take() else { break };
            // Closed, then ready, then connected: three steps may follow each other.
            for _ in 0..4 {
                let Some(slot) = self.slots.get_mut(usize::from(id)) else { break };
                let Some(vbd) = &mut slot.vbd else { break };
                let in_flight = vbd.in_flight;
                match vbd.step(&mut self.platform, &mut self.lent) {
                    Step::Same => break,
                    Step::Moved => {
                        // It offered what cannot be taken.
                        if vbd.error != BlockError::None && slot.offences.note(vbd.error) {
                            self.offenders.add(id);
                        }
                    }
                    Step::Up(port) => {
                        self.ports.insert(port, (id, Purpose::Ring));
                        self.senders.add(id);
                    }
                    Step::Down(port) => {
                        slot.end_connection(in_flight);
                        self.ports.remove(&port);
                    }
                }
            }
        }
    }

    /// Ends one front end's connection for what it did.
    #[cold]
    pub(super) fn fail(&mut self, id: VbdId, error: BlockError) {
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return };
        let Some(vbd) = &mut slot.vbd else { return };
        let in_flight = vbd.in_flight;
        if let Step::Down(port) = vbd.close(&mut self.platform, error, &mut self.lent) {
            slot.end_connection(in_flight);
            self.ports.remove(&port);
            if slot.offences.note(error) {
                self.offenders.add(id);
            }
        }
        // The front end may have begun anew already.
        self.states.add(id);
    }
}
