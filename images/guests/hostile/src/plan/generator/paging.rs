//! Page tables: swaps that are allowed, mappings that must never be, and requests that make no sense.

use alloc::vec;
use alloc::vec::Vec;

use hypercall_abi::mmu::{MmuUpdate, MmuextOp, MmuextRequest, UpdateKind, flush, pte};
use hypercall_abi::{DomId, Hypercall, Mfn, PAGE_SIZE};
use zerocopy::IntoBytes;

use super::Generator;
use crate::{Call, Deed, Expect};

const SELF: u64 = DomId::SELF.0 as u64;
pub(super) const READ: u64 = pte::PRESENT | pte::USER | pte::ACCESSED;
pub(super) const WRITE: u64 = READ | pte::WRITABLE | pte::DIRTY;

impl Generator {
    /// Something with page tables.
    pub(super) fn paging(&mut self) {
        match self.random.below(16) {
            0 | 1 => self.swap(),
            2 if self.random.once_in(24) => self.endless_batch(),
            2 => self.batch(),
            3 | 4 => self.forbidden_mapping(),
            5 => self.forbidden_bits(),
            6 => self.forbidden_entry(),
            7 => self.machine_to_physical(),
            8 => self.table_of_level_1(),
            9 => self.tree(),
            10 => self.another_root(),
            11 => self.bad_root(),
            12 => self.pins(),
            13 => self.flushes(),
            14 => self.pages(),
            _ => self.odd_requests(),
        }
    }

    /// Two pages exchange their frames, or share one.
    fn swap(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let (page, frame) = (self.page_number(), self.playground_frame());
            let bits = self.random.pick(&[READ, WRITE, 0, WRITE | pte::NO_EXECUTE, READ | pte::AVAILABLE]);
            let call = self.map(page, frame, bits);
            self.push_call(call, "map one of our frames");
            self.push(Deed::Poke { va: self.estate.playground.page(page), value: frame.0 }, "use it");
        }
    }

    fn batch(&mut self) {
        let count = 1 + self.random.below(32);
        let requests: Vec<MmuUpdate> = (0..count)
            .map(|_| {
                let page = self.page_number();
                let entry = self.entry_of(page);
                let frame =
                    if self.random.once_in(24) { self.foreign_frame() } else { self.playground_frame() };
                let kind = self.random.pick(&[UpdateKind::NormalPtUpdate, UpdateKind::PtUpdatePreserveAd]);
                let bits = self.random.pick(&[READ, WRITE, WRITE, 0]);
                MmuUpdate { ptr: entry | kind.raw(), val: frame.address() | bits }
            })
            .collect();
        let mut call = self.updates(&requests);
        if self.random.once_in(2) {
            call.args[2] = match self.random.below(4) {
                0 => self.estate.read_only + 8 * self.random.below(512),
                1 => self.bad_pointer(),
                2 => call.args[0],
                _ => self.place(4),
            };
        }
        if self.random.once_in(8) {
            call.args[1] = self.random.pick(&[0, 4096, 4097, 1 << 31, 0x8000_0001, u64::MAX]);
        }
        self.push_call(call, "a batch of updates");
    }

    /// More updates than one call carries out, though each of them is sound: one page of them, mapped many times.
    fn endless_batch(&mut self) {
        let own = self.playground_frame().address() | UpdateKind::MachphysUpdate.raw();
        let requests = [MmuUpdate { ptr: own, val: 0 }; PAGE_SIZE / size_of::<MmuUpdate>()];
        let index = (self.estate.argument - self.estate.start) / PAGE_SIZE as u64;
        let Some(&frame) = self.estate.frames.get(index as usize) else { return };
        let pages = self.estate.playground.frames.len();
        for page in 0..pages {
            let call = self.map(page, frame, READ);
            self.push_steady(call, "one page at many addresses");
        }
        let count = (pages * requests.len()) as u64 + 1;
        let number = Hypercall::MmuUpdate.raw().into();
        let writes = vec![(self.estate.argument, requests.as_bytes().to_vec())];
        let args = [self.estate.playground.va, count, 0, SELF, 0];
        self.push_steady(Call { number, args, writes, ..Call::default() }, "more updates than one call does");
        self.restore_paging();
    }

    /// What no guest may ever map so.
    fn forbidden_mapping(&mut self) {
        let page = self.page_number();
        let (frame, bits, why) = match self.random.below(4) {
            0 => (self.live_table(), WRITE, "a page table writable"),
            1 => (self.foreign_frame(), READ, "another's frame"),
            2 => (self.foreign_frame(), WRITE, "another's frame, writable"),
            _ => (self.estate.root, WRITE | pte::NO_EXECUTE, "the root writable"),
        };
        let call = if self.random.once_in(2) {
            self.map(page, frame, bits)
        } else {
            let request = MmuUpdate { ptr: self.entry_of(page), val: frame.address() | bits };
            self.updates(&[request])
        };
        self.push_call(Call { expect: Expect::Refusal, ..call }, why);
        self.push(Deed::Poke { va: self.estate.playground.page(page), value: u64::MAX }, "use it anyway");
    }

    fn forbidden_bits(&mut self) {
        let (page, frame) = (self.page_number(), self.playground_frame());
        let bits = self.random.pick(&[
            pte::GLOBAL,
            pte::LARGE,
            1 << 51,
            1 << 52,
            1 << 62,
            pte::CACHE_DISABLE | pte::WRITE_THROUGH,
            pte::AVAILABLE,
            pte::GLOBAL | pte::LARGE,
        ]);
        let call = self.map(page, frame, WRITE | bits);
        self.push_call(call, "odd bits");
    }

    /// Entries that are not ours to change, or lead where none may.
    fn forbidden_entry(&mut self) {
        let root = self.estate.root.address();
        let own = self.playground_frame();
        let (ptr, val, why) = match self.random.below(7) {
            0 => (root + 8 * (256 + self.random.below(16)), own.address() | WRITE, "the hypervisor's slot"),
            1 => (root + 8 * (256 + self.random.below(16)), 0, "clear the hypervisor's slot"),
            2 => (root + 8 * (2 + self.random.below(200)), root | WRITE, "the root below itself"),
            3 => (
                self.foreign_frame().address() + 8 * self.random.below(512),
                own.address() | WRITE,
                "no table",
            ),
            4 => (self.foreign_frame().address() + 8 * self.random.below(512), 0, "clear another's memory"),
            5 => (
                root + 8 * (2 + self.random.below(200)),
                self.estate.tables[2].address() | WRITE,
                "a level skipped",
            ),
            _ => (
                self.estate.tables[1].address() + 8 * 511,
                self.estate.tables[0].address() | WRITE,
                "a level turned about",
            ),
        };
        let call = self.updates(&[MmuUpdate { ptr, val }]);
        self.push_call(Call { expect: Expect::Refusal, ..call }, why);
    }

    fn machine_to_physical(&mut self) {
        let own = self.random.once_in(2);
        let frame = if own { self.playground_frame() } else { self.foreign_frame() };
        let val = self.rubbish();
        let ptr = frame.address() | UpdateKind::MachphysUpdate.raw();
        let mut call = self.updates(&[MmuUpdate { ptr, val }]);
        call.expect = if own { Expect::Any } else { Expect::Refusal };
        self.push_call(call, "the machine-to-physical table");
    }

    fn flushes(&mut self) {
        let op = self.random.pick(&[
            MmuextOp::TlbFlushLocal,
            MmuextOp::InvlpgLocal,
            MmuextOp::TlbFlushMulti,
            MmuextOp::InvlpgMulti,
            MmuextOp::TlbFlushAll,
            MmuextOp::InvlpgAll,
            MmuextOp::FlushCache,
            MmuextOp::SetLdt,
        ]);
        let address = if self.random.once_in(2) { self.estate.playground.va } else { self.bad_pointer() };
        let second = match self.random.below(4) {
            0 => self.place(8),
            1 => self.bad_pointer(),
            2 => self.random.pick(&[0, 1, 8191, 8192, 8193]),
            _ => 0,
        };
        let mut call = self.extend(op, address, second);
        if self.random.once_in(6) {
            call.args[3] = self.other_domain().into();
            call.expect = Expect::Refusal;
        }
        self.push_call(call, "flush");
    }

    /// Frames cleared and copied by the hypervisor.
    fn pages(&mut self) {
        let (to, from) = (self.playground_frame(), self.playground_frame());
        let foreign = self.foreign_frame();
        let table = self.live_table();
        let (op, to, from, expect) = match self.random.below(6) {
            0 => (MmuextOp::ClearPage, to, from, Expect::Any),
            1 => (MmuextOp::CopyPage, to, from, Expect::Any),
            2 => (MmuextOp::ClearPage, foreign, from, Expect::Refusal),
            3 => (MmuextOp::CopyPage, foreign, from, Expect::Refusal),
            4 => (MmuextOp::CopyPage, to, foreign, Expect::Refusal),
            _ => (MmuextOp::ClearPage, table, from, Expect::Refusal),
        };
        let call = self.extend(op, to.0, from.0);
        self.push_call(Call { expect, ..call }, "have a frame cleared or copied");
    }

    fn odd_requests(&mut self) {
        match self.random.below(6) {
            0 => {
                let op = self.random.pick(&[Hypercall::MmuUpdate, Hypercall::MmuextOp]);
                let requests = self.bad_pointer();
                self.push_call(Self::words(op, [requests, 0, 0, SELF, 0]), "a batch of none");
            }
            1 => {
                let va = self.bad_pointer();
                let frame = self.playground_frame();
                let args = [va, frame.address() | WRITE, flush::INVLPG, 0, 0];
                self.push_call(Self::words(Hypercall::UpdateVaMapping, args), "map at an odd address");
            }
            2 => {
                let page = self.page_number();
                let va = self.estate.playground.page(page);
                let frame = self.playground_frame();
                let odd = self.random.pick(&[3, 7, 8, 1 << 32, self.estate.argument | 2, u64::MAX]);
                let args = [va, frame.address() | WRITE, odd, 0, 0];
                self.push_call(Self::words(Hypercall::UpdateVaMapping, args), "odd flags");
            }
            3 => {
                let page = self.page_number();
                let frame = self.playground_frame();
                let request = MmuUpdate { ptr: self.entry_of(page), val: frame.address() | WRITE };
                let mut call = self.updates(&[request]);
                call.args[3] = self.other_domain().into();
                self.push_call(call, "for another domain");
            }
            4 => {
                let (page, odd) = (self.page_number(), 1 + self.random.below(7));
                let frame = self.playground_frame();
                let request = MmuUpdate { ptr: self.entry_of(page) + odd, val: frame.address() | WRITE };
                let call = self.updates(&[request]);
                self.push_call(call, "an entry between entries");
            }
            _ => {
                let mut call = self.extend(MmuextOp::TlbFlushLocal, 0, 0);
                if let Some((_, bytes)) = call.writes.first_mut() {
                    bytes[..4].copy_from_slice(
                        &self.random.pick(&[14_u32, 18, 19, 20, 99, u32::MAX]).to_le_bytes(),
                    );
                }
                self.push_call(call, "no such operation");
            }
        }
    }

    /// Everything back: the root in use, nothing pinned, each page with its frame.
    pub(super) fn restore_paging(&mut self) {
        let root = self.estate.root.0;
        for op in [MmuextOp::NewBaseptr, MmuextOp::PinL4Table] {
            let call = self.extend(op, root, 0);
            self.push_steady(call, "back to our own root");
        }
        let count = self.estate.playground.frames.len();
        for page in 0..count {
            let frame = self.frame_of(page);
            let call = self.extend(MmuextOp::UnpinTable, frame.0, 0);
            self.push_steady(call, "unpin");
        }
        // Twice: a page may hold another's frame, so that it cannot become writable at first.
        for bits in [0, WRITE] {
            for page in 0..count {
                let frame = self.frame_of(page);
                let call = self.map(page, frame, bits);
                self.push_steady(call, "restore a page");
            }
        }
    }

    pub(super) fn map(&mut self, page: usize, frame: Mfn, bits: u64) -> Call {
        let va = self.estate.playground.page(page);
        let entry = if bits & pte::PRESENT == 0 { 0 } else { frame.address() | bits };
        let kind = self.random.pick(&[flush::INVLPG, flush::INVLPG, flush::TLB, flush::INVLPG | flush::ALL]);
        Self::words(Hypercall::UpdateVaMapping, [va, entry, kind, 0, 0])
    }

    pub(super) fn updates(&mut self, requests: &[MmuUpdate]) -> Call {
        let bytes = requests.as_bytes().to_vec();
        let at = self.place(bytes.len());
        Call {
            number: Hypercall::MmuUpdate.raw().into(),
            args: [at, requests.len() as u64, 0, SELF, 0],
            writes: vec![(at, bytes)],
            ..Call::default()
        }
    }

    pub(super) fn extend(&mut self, op: MmuextOp, arg1: u64, arg2: u64) -> Call {
        let request = MmuextRequest { cmd: op.raw(), pad: 0, arg1, arg2 };
        let bytes = request.as_bytes().to_vec();
        let at = self.place(bytes.len());
        Call {
            number: Hypercall::MmuextOp.raw().into(),
            args: [at, 1, 0, SELF, 0],
            writes: vec![(at, bytes)],
            ..Call::default()
        }
    }

    pub(super) fn page_number(&mut self) -> usize {
        self.random.below(self.estate.playground.frames.len() as u64) as usize
    }

    pub(super) fn page_and_frame(&mut self) -> (usize, Mfn) {
        let page = self.page_number();
        (page, self.frame_of(page))
    }

    pub(super) fn frame_of(&self, page: usize) -> Mfn {
        self.estate.playground.frames.get(page).copied().unwrap_or_default()
    }

    pub(super) fn playground_frame(&mut self) -> Mfn {
        let page = self.page_number();
        self.frame_of(page)
    }

    pub(super) fn entry_of(&self, page: usize) -> u64 {
        self.estate.playground.entries.get(page).copied().unwrap_or_default()
    }

    /// A page table that is in use.
    pub(super) fn live_table(&mut self) -> Mfn {
        let [a, b, c] = self.estate.tables;
        self.random.pick(&[self.estate.root, a, b, c])
    }
}
