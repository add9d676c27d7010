//! Requests under way, by the number that the disk knows them by.
//! A request outlives its connection here, so that whatever a disk still does is accounted for.

use alloc::vec::Vec;

use super::vbd::VbdId;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has one step.
    Only,
    /// A barrier: what was answered before becomes durable.
    BarrierBefore,
    /// A barrier: its data is written.
    BarrierWrite,
    /// A barrier: its data becomes durable.
    BarrierAfter,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Job {
    /// Whose.
    pub(super) vbd: VbdId,
    /// Of which connection.
    pub(super) epoch: u32,
    /// The front end's name for it.
    pub(super) id: u64,
    /// As the front end wrote it.
    pub(super) operation: u8,
    /// How far it is.
    pub(super) stage: Stage,
    /// First sector, as the front end counts.
    pub(super) sector: u64,
    /// Pages that it holds.
    pub(super) pages: usize,
    /// Bytes that it carries.
    pub(super) bytes: u64,
}

/// All requests under way.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: Vec<Option<Job>>,
    free: Vec<u32>,
}

impl Jobs {
    pub(super) fn add(&mut self, job: Job) -> u32 {
        if let Some(tag) = self.free.pop() {
            if let Some(slot) = self.jobs.get_mut(tag as usize) {
                *slot = Some(job);
            }
            return tag;
        }
        self.jobs.push(Some(job));
        (self.jobs.len() - 1) as u32
    }

    pub(super) fn get(&self, tag: u32) -> Option<&Job> {
        self.jobs.get(tag as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, tag: u32) -> Option<&mut Job> {
        self.jobs.get_mut(tag as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, tag: u32) -> Option<Job> {
        let job = self.jobs.get_mut(tag as usize)?.take()?;
        self.free.push(tag);
        Some(job)
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len() - self.free.len()
    }
}
