//! A disk with a cache that a power cut empties: of what was not flushed, each sector is old, new, an older new one, or torn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use key_value::{Medium, SECTOR_BYTES};

type Sector = [u8; SECTOR_BYTES];

/// Why nothing more is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PowerCut;

/// The disk.
#[derive(Debug)]
pub(crate) struct Platter {
    pub(crate) durable: RefCell<Vec<Sector>>,
    /// What was written since the last flush, in order, by sector.
    cache: RefCell<BTreeMap<u64, Vec<Sector>>>,
    /// Sectors written and flushes made.
    pub(crate) events: Cell<u64>,
    /// After how many of them the power is cut.
    pub(crate) fuse: Cell<u64>,
    /// How often it has begun anew.
    pub(crate) life: Cell<u64>,
    /// What it is then, and after how many events.
    pub(crate) anew: RefCell<Option<(u64, Vec<Sector>)>>,
}

impl Platter {
    pub(crate) fn new(sectors: usize) -> Self {
        Self {
            durable: RefCell::new(vec![[0; SECTOR_BYTES]; sectors]),
            cache: RefCell::default(),
            events: Cell::new(0),
            fuse: Cell::new(u64::MAX),
            life: Cell::new(0),
            anew: RefCell::default(),
        }
    }

    /// As an overlay does whose driver domain comes back: all that was written is gone, and nobody is told but by the life.
    pub(crate) fn begin_anew(&self, as_it_was: Vec<Sector>) {
        self.cache.borrow_mut().clear();
        *self.durable.borrow_mut() = as_it_was;
        self.life.set(self.life.get() + 1);
    }

    fn event(&self) -> Result<(), PowerCut> {
        if self.events.get() >= self.fuse.get() {
            return Err(PowerCut);
        }
        if self.anew.borrow().as_ref().is_some_and(|(after, _)| *after == self.events.get()) {
            let (_, sectors) = self.anew.take().unwrap();
            self.begin_anew(sectors);
        }
        self.events.set(self.events.get() + 1);
        Ok(())
    }

    /// The power is cut, and is back: the sectors that are kept were written.
    pub(crate) fn cut_to(&self, kept: impl Fn(u64) -> bool) {
        for (sector, versions) in std::mem::take(&mut *self.cache.borrow_mut()) {
            if kept(sector) {
                self.durable.borrow_mut()[sector as usize] = *versions.last().unwrap();
            }
        }
        self.fuse.set(u64::MAX);
    }

    /// The power is cut, and is back: whatever may be left of what was not flushed.
    pub(crate) fn cut(&self, random: &mut fastrand::Rng) {
        let mut durable = self.durable.borrow_mut();
        for (sector, versions) in std::mem::take(&mut *self.cache.borrow_mut()) {
            let old = durable[sector as usize];
            let mut all = vec![old];
            all.extend(versions);
            let one = all[random.usize(..all.len())];
            let other = all[random.usize(..all.len())];
            let tear = if random.u32(..6) == 0 { random.usize(..SECTOR_BYTES) } else { SECTOR_BYTES };
            let torn = &mut durable[sector as usize];
            torn[..tear].copy_from_slice(&one[..tear]);
            torn[tear..].copy_from_slice(&other[tear..]);
        }
        self.fuse.set(u64::MAX);
    }
}

impl Medium for &Platter {
    type Error = PowerCut;

    fn sectors(&self) -> u64 {
        self.durable.borrow().len() as u64
    }

    fn life(&self) -> u64 {
        self.life.get()
    }

    async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), PowerCut> {
        for (sector, into) in (sector..).zip(into.chunks_exact_mut(SECTOR_BYTES)) {
            let cache = self.cache.borrow();
            let cached = cache.get(&sector).and_then(|versions| versions.last());
            into.copy_from_slice(cached.unwrap_or(&self.durable.borrow()[sector as usize]));
        }
        Ok(())
    }

    async fn write(&self, sector: u64, data: &[u8]) -> Result<(), PowerCut> {
        for (sector, from) in (sector..).zip(data.chunks_exact(SECTOR_BYTES)) {
            assert!(sector < self.sectors(), "a write beyond the disk");
            self.event()?;
            self.cache.borrow_mut().entry(sector).or_default().push(from.try_into().unwrap());
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), PowerCut> {
        self.event()?;
        for (sector, versions) in std::mem::take(&mut *self.cache.borrow_mut()) {
            self.durable.borrow_mut()[sector as usize] = *versions.last().unwrap();
        }
        Ok(())
    }
}
