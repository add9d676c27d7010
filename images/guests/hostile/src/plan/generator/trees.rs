//! Pages that become page tables: filled, pinned, attacked as tables, run on, and taken apart.
//! A frame that changes its nature is where a hypervisor of this kind has most to lose.

use hypercall_abi::Mfn;
use hypercall_abi::mmu::{MmuUpdate, MmuextOp};

use super::Generator;
use super::paging::{READ, WRITE};
use crate::{Call, Deed, Expect};

impl Generator {
    /// A page becomes a table, is attacked as one, and becomes a page again.
    pub(super) fn table_of_level_1(&mut self) {
        let (page, frame) = self.page_and_frame();
        let va = self.estate.playground.page(page);
        for _ in 0..self.random.below(6) {
            let slot = self.random.below(512);
            let target = if self.random.once_in(6) { self.foreign_frame() } else { self.playground_frame() };
            let bits = self.random.pick(&[READ, WRITE, 0]);
            self.push(Deed::Poke { va: va + 8 * slot, value: target.address() | bits }, "fill a table");
        }
        if !self.random.once_in(5) {
            let call = self.map(page, frame, READ);
            self.push_call(call, "make it read-only");
        }
        let pin = self.extend(MmuextOp::PinL1Table, frame.0, 0);
        self.push_call(pin, "pin a level 1 table");
        for _ in 0..self.random.below(4) {
            let target = self.playground_frame();
            let ptr = frame.address() + 8 * self.random.below(512);
            let call = self.updates(&[MmuUpdate { ptr, val: target.address() | WRITE }]);
            self.push_call(call, "change its entry");
        }
        let call = self.map(page, frame, WRITE);
        self.push_call(call, "make it writable while it may be a table");
        self.push(Deed::Poke { va, value: 0xffff_ffff_ffff_ffff }, "write into the table");
        self.unpin_and_restore(page, frame);
    }

    /// Tables of all levels, pinned from the top or from below, with a mistake here and there.
    pub(super) fn tree(&mut self) {
        let count = self.estate.playground.frames.len();
        if count < 8 {
            return;
        }
        let start = self.random.below((count - 3) as u64) as usize;
        let pages: [usize; 4] = core::array::from_fn(|index| start + index);
        let frames: [Mfn; 4] = pages.map(|page| self.frame_of(page));
        for (above, below) in [(1, 0), (2, 1), (3, 2)] {
            let target = if self.random.once_in(5) { self.random.pick(&frames) } else { frames[below] };
            let at = self.estate.playground.page(pages[above]) + 8 * self.random.below(250);
            self.push(Deed::Poke { va: at, value: target.address() | WRITE }, "link tables");
        }
        for (page, frame) in pages.into_iter().zip(frames) {
            if !self.random.once_in(10) {
                let call = self.map(page, frame, READ);
                self.push_call(call, "make it read-only");
            }
        }
        let kinds = [MmuextOp::PinL1Table, MmuextOp::PinL2Table, MmuextOp::PinL3Table, MmuextOp::PinL4Table];
        let chosen = self.random.below(4) as usize;
        let pin = self.extend(kinds[3], frames[3].0, 0);
        self.push_call(pin, "pin a tree of tables");
        let pin = self.extend(kinds[chosen], self.random.clone().pick(&frames).0, 0);
        self.push_call(pin, "pin something at some level");
        for (page, frame) in pages.into_iter().zip(frames) {
            self.unpin_and_restore(page, frame);
        }
    }

    /// A root of our own with what is needed to run: switch there and back.
    pub(super) fn another_root(&mut self) {
        let (page, frame) = self.page_and_frame();
        let va = self.estate.playground.page(page);
        let copy = self.extend(MmuextOp::CopyPage, frame.0, self.estate.root.0);
        self.push_steady(copy, "copy the root");
        self.push(
            Deed::Poke { va, value: self.estate.tables[0].address() | WRITE },
            "link the tables in use",
        );
        if self.random.once_in(4) {
            let slot = 1 + self.random.below(511);
            let value = self.rubbish();
            self.push(Deed::Poke { va: va + 8 * slot, value }, "and something odd");
        }
        let call = self.map(page, frame, READ);
        self.push_call(call, "make it read-only");
        for op in [MmuextOp::PinL4Table, MmuextOp::NewBaseptr] {
            let call = self.extend(op, frame.0, 0);
            self.push_steady(call, "run on another root");
        }
        self.event();
        self.grant();
        if self.random.once_in(3) {
            let call = self.extend(MmuextOp::UnpinTable, frame.0, 0);
            self.push_call(call, "unpin the root that we run on");
        }
        self.restore_paging();
    }

    pub(super) fn bad_root(&mut self) {
        let op = self.random.pick(&[MmuextOp::NewBaseptr, MmuextOp::NewUserBaseptr, MmuextOp::PinL4Table]);
        let frame = match self.random.below(4) {
            0 => self.estate.tables[self.random.clone().below(3) as usize],
            1 => self.estate.shared_info_frame,
            _ => self.foreign_frame(),
        };
        let call = self.extend(op, frame.0, 0);
        // Frame 0 means no user mode.
        let none = op == MmuextOp::NewUserBaseptr && frame.0 == 0;
        let expect = if none { Expect::Any } else { Expect::Refusal };
        self.push_call(Call { expect, ..call }, "a root that is none");
        if self.random.once_in(2) {
            let root = if self.random.once_in(2) { self.estate.root.0 } else { 0 };
            let call = self.extend(MmuextOp::NewUserBaseptr, root, 0);
            self.push_steady(call, "the user's root");
        }
    }

    pub(super) fn pins(&mut self) {
        let (op, frame) = match self.random.below(5) {
            0 => (MmuextOp::UnpinTable, self.estate.root),
            1 => (MmuextOp::UnpinTable, self.playground_frame()),
            2 => (MmuextOp::UnpinTable, self.foreign_frame()),
            3 => (MmuextOp::PinL4Table, self.estate.root),
            _ => (
                self.random.pick(&[MmuextOp::PinL1Table, MmuextOp::PinL2Table, MmuextOp::PinL3Table]),
                self.live_table(),
            ),
        };
        let call = self.extend(op, frame.0, 0);
        self.push_call(call, "pin and unpin tables in use");
        let call = self.extend(MmuextOp::PinL4Table, self.estate.root.0, 0);
        self.push_steady(call, "pin our root again");
    }

    fn unpin_and_restore(&mut self, page: usize, frame: Mfn) {
        let call = self.extend(MmuextOp::UnpinTable, frame.0, 0);
        self.push_call(call, "unpin");
        let call = self.map(page, frame, WRITE);
        self.push_call(call, "make it writable again");
    }
}
