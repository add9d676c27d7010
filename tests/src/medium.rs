//! A disk as it really is: done late, in any order, with a cache that a power cut empties.
//! Its medium outlives every driver, so that tests can look at what is there after a crash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use drivers_backend::block::{Data, Disk, DiskError, DiskOp, Finished, Memory, Waiting, Work};

use crate::BackPlatform;

/// Work as this back end gives it.
type Job = Box<Work<Data<BackPlatform>>>;

/// One sector.
pub type Sector = [u8; 512];

/// What a disk holds.
#[derive(Debug)]
pub struct Medium {
    durable: BTreeMap<u64, Sector>,
    /// Writes that are done and not durable, with their numbers.
    cache: Vec<(u64, u64, Sector)>,
    next: u64,
    queue: Vec<(u64, Job)>,
    done: Finished<Data<BackPlatform>>,
    /// Who decides what is done when.
    pub random: fastrand::Rng,
    /// Of a thousand pieces of work, how many fail.
    pub failures: u32,
    /// Nothing is done while this is true.
    pub stuck: bool,
    /// Pieces of work that it takes at once.
    pub depth: usize,
}

/// A disk over a medium.
#[derive(Clone, Debug)]
pub struct TestDisk {
    /// What it holds.
    pub medium: Rc<RefCell<Medium>>,
    /// Sectors that it has.
    pub sectors: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
}

impl TestDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(sectors: u64, seed: u64) -> Self {
        let medium = Medium {
            durable: BTreeMap::new(),
            cache: Vec::new(),
            next: 0,
            queue: Vec::new(),
            done: Finished::new(),
            random: fastrand::Rng::with_seed(seed),
            failures: 0,
            stuck: false,
            depth: 8,
        };
        Self { medium: Rc::new(RefCell::new(medium)), sectors, read_only: false }
    }

    /// Does some of the work; says whether something is done that nobody has taken.
    pub fn tick(&self) -> bool {
        self.medium.borrow_mut().tick()
    }

    /// Whether work is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let medium = self.medium.borrow();
        !medium.queue.is_empty() || !medium.done.is_empty()
    }
}

impl Medium {
    fn tick(&mut self) -> bool {
        if self.stuck {
            return !self.done.is_empty();
        }
        self.random.shuffle(&mut self.queue);
        let count = self.random.usize(0..=self.queue.len());
        for (number, mut work) in self.queue.split_off(self.queue.len() - count) {
            let outcome = if self.random.u32(0..1000) < self.failures {
                Err(DiskError::Failed)
            } else {
                self.carry_out(number, &mut work);
                Ok(())
            };
            self.done.push((work, outcome));
        }
        !self.done.is_empty()
    }

    fn carry_out(&mut self, number: u64, work: &mut Job) {
        match work.operation {
            DiskOp::Read => {
                let mut sector = work.sector;
                for piece in &mut work.pieces {
                    for at in (piece.offset..piece.offset + piece.bytes).step_by(512) {
                        piece.page.copy_in(at.into(), &self.read(sector));
                        sector += 1;
                    }
                }
            }
            DiskOp::Write => {
                for (sector, bytes) in contents(work) {
                    self.next += 1;
                    self.cache.push((self.next, sector, bytes));
                }
            }
            // Only what was done when the flush came: the least that a disk promises.
            DiskOp::Flush => {
                let (durable, rest) =
                    core::mem::take(&mut self.cache).into_iter().partition(|one| one.0 <= number);
                self.cache = rest;
                let durable: Vec<_> = durable;
                self.durable.extend(durable.into_iter().map(|(_, sector, bytes)| (sector, bytes)));
            }
            DiskOp::Discard => {
                for sector in work.sector..work.sector + work.sectors {
                    self.next += 1;
                    self.cache.push((self.next, sector, [0; 512]));
                }
            }
        }
    }

    /// A sector as a reader finds it.
    #[must_use]
    pub fn read(&self, sector: u64) -> Sector {
        let cached = self.cache.iter().rev().find(|one| one.1 == sector).map(|one| one.2);
        cached.or_else(|| self.durable.get(&sector).copied()).unwrap_or([0; 512])
    }

    /// Puts content there that was always there.
    pub fn preset(&mut self, sector: u64, bytes: Sector) {
        self.durable.insert(sector, bytes);
    }

    /// The device is reset: of what was under way, each sector of each write is done or not.
    pub fn reset(&mut self) {
        self.done.clear();
        for (_, work) in core::mem::take(&mut self.queue) {
            if work.operation == DiskOp::Write {
                for (sector, bytes) in contents(&work) {
                    if self.random.bool() {
                        self.next += 1;
                        self.cache.push((self.next, sector, bytes));
                    }
                }
            }
        }
    }

    /// The power is cut: of what was not durable, each sector is there or not.
    pub fn cut(&mut self) {
        self.reset();
        for (_, sector, bytes) in core::mem::take(&mut self.cache) {
            if self.random.bool() {
                self.durable.insert(sector, bytes);
            }
        }
    }
}

/// The sectors of a write, as they are now.
fn contents(work: &Job) -> Vec<(u64, Sector)> {
    let places = work.pieces.iter().flat_map(|piece| {
        (piece.offset..piece.offset + piece.bytes).step_by(512).map(move |at| (&piece.page, at))
    });
    let bytes = places.map(|(page, at)| {
        let mut bytes = [0; 512];
        page.copy_out(at.into(), &mut bytes);
        bytes
    });
    (work.sector..).zip(bytes).collect()
}

impl Disk<Data<BackPlatform>> for TestDisk {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn can_discard(&self) -> bool {
        !self.read_only
    }

    fn submit(&mut self, waiting: &mut Waiting<Data<BackPlatform>>) {
        let mut medium = self.medium.borrow_mut();
        let room = medium.depth.saturating_sub(medium.queue.len());
        for work in waiting.drain(..room.min(waiting.len())) {
            let end = work.sector.checked_add(work.sectors).expect("work lies on the disk");
            assert!(end <= self.sectors || work.operation == DiskOp::Flush, "work lies on the disk");
            assert!(!self.read_only || work.operation == DiskOp::Read, "nothing is written to this disk");
            let number = medium.next;
            medium.queue.push((number, work));
        }
    }

    fn poll(&mut self, done: &mut Finished<Data<BackPlatform>>) {
        done.append(&mut self.medium.borrow_mut().done);
    }

    fn kick(&mut self) {}
}
