//! Random operations, kills, reconnects and power cuts against a model of a disk: what was answered was done, what was
//! flushed survives, and a back end that dies costs time alone.

use std::collections::BTreeMap;

use drivers_backend::block::Access;
use drivers_frontend::block::Ticket;
use tests::{Disks, TestDisk};

const SECTORS: u64 = 256;

/// A sector that says which write made it.
fn sector(number: u64, version: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    for word in bytes.chunks_exact_mut(16) {
        word[..8].copy_from_slice(&number.to_le_bytes());
        word[8..].copy_from_slice(&version.to_le_bytes());
    }
    bytes
}

/// The version of a sector; `None` when it is torn or another's.
fn version(number: u64, bytes: &[u8]) -> Option<u64> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(0);
    }
    let version = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    (bytes == sector(number, version)).then_some(version)
}

enum Kind {
    Read,
    Write(u64),
    Flush(BTreeMap<u64, u64>),
}

struct Open {
    ticket: Ticket,
    kind: Kind,
    first: u64,
    count: u64,
}

/// An application and what it knows.
struct Model {
    random: fastrand::Rng,
    open: Vec<Open>,
    /// Version that was answered last, by sector.
    answered: BTreeMap<u64, u64>,
    /// Version that was flushed, by sector.
    flushed: BTreeMap<u64, u64>,
    next: u64,
    done: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            random,
            open: Vec::new(),
            answered: BTreeMap::new(),
            flushed: BTreeMap::new(),
            next: 1,
            done: 0,
        }
    }

    /// Begins something that overlaps nothing that is open.
    fn begin(&mut self, disks: &mut Disks, at: usize) {
        let most = if self.random.u32(0..10) == 0 { 100 } else { 12 };
        let count = self.random.u64(1..=most);
        let first = self.random.u64(0..SECTORS - count);
        let front = &mut disks.fronts[at];
        if self.random.u32(0..8) == 0 {
            if let Ok(ticket) = front.begin_flush() {
                self.open.push(Open { ticket, kind: Kind::Flush(self.answered.clone()), first: 0, count: 0 });
            }
            return;
        }
        if self.open.iter().any(|open| open.first < first + count && first < open.first + open.count) {
            return;
        }
        let read = self.random.bool();
        let data: Vec<u8> = (first..first + count).flat_map(|at| sector(at, self.next)).collect();
        let kind = if read { Kind::Read } else { Kind::Write(self.next) };
        self.next += u64::from(!read);
        let begun = if self.random.bool() {
            front.take_buffer(data.len()).map(|buffer| {
                if !read {
                    front.copy_in(&buffer, 0, &data);
                }
                front.begin_queued(!read, first, buffer).expect("what has a buffer begins")
            })
        } else if read {
            front.begin_read(first, data.len())
        } else {
            front.begin_write(first, &data)
        };
        if let Ok(ticket) = begun {
            self.open.push(Open { ticket, kind, first, count });
        }
    }

    /// Takes results and judges them.
    fn judge(&mut self, disks: &mut Disks, at: usize, seed: u64) {
        let mut still = Vec::new();
        for done in disks.done(at) {
            let (front, buffer) = (&mut disks.fronts[at], done.buffer.expect("it had one"));
            let open = self.open.iter().position(|open| open.ticket == done.ticket);
            let open = self.open.swap_remove(open.expect("it was begun"));
            assert_eq!(done.result, Ok(()), "seed {seed}: an application sees no error");
            let mut into = vec![0; open.count as usize * 512];
            front.copy_out(&buffer, 0, &mut into);
            front.give_buffer(buffer);
            self.done += 1;
            self.take(open, &into, seed);
        }
        for open in std::mem::take(&mut self.open) {
            let mut into = vec![0; open.count as usize * 512];
            match disks.result(at, open.ticket, &mut into) {
                None => still.push(open),
                Some(result) => {
                    assert_eq!(result, Ok(()), "seed {seed}: an application sees no error");
                    self.done += 1;
                    self.take(open, &into, seed);
                }
            }
        }
        self.open = still;
    }

    fn take(&mut self, open: Open, read: &[u8], seed: u64) {
        match open.kind {
            Kind::Read => {
                for (number, bytes) in (open.first..).zip(read.chunks_exact(512)) {
                    let expected = self.answered.get(&number).copied().unwrap_or(0);
                    assert_eq!(version(number, bytes), Some(expected), "seed {seed}, sector {number}");
                }
            }
            Kind::Write(version) => {
                (open.first..open.first + open.count).for_each(|number| {
                    self.answered.insert(number, version);
                });
            }
            Kind::Flush(before) => {
                for (number, version) in before {
                    let flushed = self.flushed.entry(number).or_default();
                    *flushed = version.max(*flushed);
                }
            }
        }
    }
}

fn world(seed: u64, suppress: bool) -> Disks {
    let mut disks = Disks::new(vec![TestDisk::new(SECTORS, seed)], suppress);
    disks.lend = !seed.is_multiple_of(3);
    disks.join(Disks::whole(0, Access::Write), 40);
    disks
}

#[test]
fn whatever_dies_and_returns_an_application_sees_a_disk() {
    let mut kills = 0;
    for seed in 0..100 {
        let mut disks = world(seed, seed % 4 != 0);
        let mut model = Model::new(seed ^ 0xb10c);
        for _ in 0..160 {
            for _ in 0..model.random.u32(0..6) {
                model.begin(&mut disks, 0);
            }
            match model.random.u32(0..40) {
                0 if disks.back.is_some() => {
                    disks.kill_back();
                    kills += 1;
                }
                1..=8 if disks.back.is_none() => disks.revive_back(),
                9 => disks.fronts[0].close(),
                10..=12 if disks.fronts[0].is_closed() => disks.fronts[0].reconnect(),
                _ => {}
            }
            for _ in 0..model.random.u32(1..4) {
                disks.moment();
            }
            model.judge(&mut disks, 0, seed);
        }
        if disks.back.is_none() {
            disks.revive_back();
        }
        disks.run();
        disks.fronts[0].reconnect();
        disks.run();
        model.judge(&mut disks, 0, seed);
        assert!(model.open.is_empty(), "seed {seed}: {} operations never end", model.open.len());
        assert!(model.done > 50, "seed {seed}: only {} operations", model.done);
        assert_eq!(disks.back().free_pages(), tests::BACK_PAGES, "seed {seed}: pages of the back end");
        assert_eq!(disks.fronts[0].free_pages(), 40, "seed {seed}: pages of the front end");
        assert_eq!((disks.fronts[0].open(), disks.back().under_way()), (0, 0), "seed {seed}");
        let domain = Disks::domain(0);
        let shares = |disks: &Disks| {
            let state = disks.world.state();
            (state.grants_of(domain), state.mapped_of(domain), state.ports_of(domain))
        };
        let lent = disks.back().mapped_pages();
        assert!(lent <= if disks.lend { 40 } else { 0 }, "seed {seed}: {lent} pages are mapped");
        assert_eq!(shares(&disks), (40 + 2, 2 + lent, 2), "seed {seed}: grants, mappings, ports");
        disks.fronts[0].close();
        disks.run();
        assert_eq!(shares(&disks), (1, 1, 1), "seed {seed}: the device page alone, and its port");
    }
    assert!(kills > 100, "only {kills} kills");
}

#[test]
fn what_was_flushed_survives_a_power_cut_and_nothing_is_torn() {
    let mut flushed = 0;
    for seed in 0..150 {
        let mut disks = world(seed, true);
        let mut model = Model::new(seed ^ 0x9077);
        for _ in 0..model.random.u32(5..120) {
            for _ in 0..model.random.u32(0..6) {
                model.begin(&mut disks, 0);
            }
            if model.random.u32(0..30) == 0 {
                disks.kill_back();
                disks.revive_back();
            }
            disks.moment();
            model.judge(&mut disks, 0, seed);
        }
        let mut medium = disks.disks[0].medium.borrow_mut();
        medium.cut();
        for number in 0..SECTORS {
            let found = version(number, &medium.read(number))
                .unwrap_or_else(|| panic!("seed {seed}: {number} is torn"));
            let floor = model.flushed.get(&number).copied().unwrap_or(0);
            assert!(found >= floor, "seed {seed}, sector {number}: version {found}, but {floor} was flushed");
            flushed += u64::from(floor > 0);
        }
    }
    assert!(flushed > 1000, "only {flushed} sectors were flushed at all");
}
