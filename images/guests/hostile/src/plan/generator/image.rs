//! Parts of our image that other domains of it have too: who changed one would change all of them.
//! They belong to nobody, may be mapped for reading, and everything else must be refused.

use hypercall_abi::Mfn;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantEntry, GrantTableOp, copy_flags, entry_flags};
use hypercall_abi::mmu::{MmuUpdate, MmuextOp, UpdateKind, pte};
use hypercall_abi::{DomId, Hypercall};

use super::Generator;
use super::paging::{READ, WRITE};
use crate::{Call, Deed, Expect};

impl Generator {
    /// Something with a frame of the image that we share; nothing if we share none.
    pub(super) fn image(&mut self) {
        if self.estate.shared.is_empty() {
            return;
        }
        let frame = self.random.pick(&self.estate.shared.clone());
        match self.random.below(6) {
            0 => self.image_read(frame),
            1 => self.image_written(frame),
            2 => self.image_as_table(frame),
            3 => self.image_as_argument(frame),
            4 => self.image_copied(frame),
            _ => self.image_granted(frame),
        }
    }

    /// It is mapped for reading, which is allowed, and then the entry is made writable.
    fn image_read(&mut self, frame: Mfn) {
        let page = self.page_number();
        let read = self.map(page, frame, READ);
        self.push_call(read, "map a shared page for reading");
        self.push(Deed::Poke { va: self.estate.playground.page(page), value: 0 }, "write through it");
        let val = frame.address() | WRITE;
        let kind = self.random.pick(&[UpdateKind::NormalPtUpdate, UpdateKind::PtUpdatePreserveAd]);
        let call = self.updates(&[MmuUpdate { ptr: self.entry_of(page) | kind.raw(), val }]);
        self.push_refused(call, "make a shared page's entry writable");
        let back = self.map(page, self.frame_of(page), WRITE);
        self.push_call(back, "map our own again");
    }

    fn image_written(&mut self, frame: Mfn) {
        let page = self.page_number();
        let bits = self.random.pick(&[0, pte::NO_EXECUTE]);
        let map = self.map(page, frame, WRITE | bits);
        self.push_refused(map, "map a shared page writable");
        self.push(Deed::Poke { va: self.estate.playground.page(page), value: u64::MAX }, "use it anyway");
        let at = frame.address() + 8 * self.random.below(512);
        let kind = self.random.pick(&[UpdateKind::NormalPtUpdate, UpdateKind::MachphysUpdate]);
        let val = self.random.bits();
        let call = self.updates(&[MmuUpdate { ptr: at | kind.raw(), val }]);
        self.push_refused(call, "write a shared page, or its number");
    }

    fn image_as_table(&mut self, frame: Mfn) {
        let op = self.random.pick(&[
            MmuextOp::PinL1Table,
            MmuextOp::PinL2Table,
            MmuextOp::PinL3Table,
            MmuextOp::PinL4Table,
            MmuextOp::UnpinTable,
            MmuextOp::NewBaseptr,
            MmuextOp::NewUserBaseptr,
        ]);
        let call = self.extend(op, frame.0, 0);
        self.push_refused(call, "make a shared page a table");
        let [l3, l2, _] = self.estate.tables;
        let table = self.random.pick(&[self.estate.root, l3, l2]);
        let ptr = table.address() + 8 * (2 + self.random.below(200));
        let call = self.updates(&[MmuUpdate { ptr, val: frame.address() | WRITE }]);
        self.push_refused(call, "hang a shared page into our tables");
    }

    fn image_as_argument(&mut self, frame: Mfn) {
        let from = self.playground_frame();
        let op = self.random.pick(&[MmuextOp::ClearPage, MmuextOp::CopyPage]);
        let call = self.extend(op, frame.0, from.0);
        self.push_refused(call, "have a shared page cleared or copied over");
        let at = self.place(14 * 8);
        let gdt = Call {
            number: Hypercall::SetGdt.raw().into(),
            args: [at, 512, 0, 0, 0],
            writes: alloc::vec![(at, frame.0.to_le_bytes().to_vec())],
            ..Call::default()
        };
        self.push_refused(gdt, "a shared page as descriptor table");
        let descriptor = Self::words(Hypercall::UpdateDescriptor, [frame.address(), 0, 0, 0, 0]);
        self.push_refused(descriptor, "a descriptor in a shared page");
    }

    /// The hypervisor copies into it, or out of it.
    fn image_copied(&mut self, frame: Mfn) {
        let side = |frame: Mfn| CopySide { frame_or_ref: frame.0, domid: DomId::SELF.0, offset: 0, pad: 0 };
        let (own, shared) = (side(self.playground_frame()), side(frame));
        let (source, dest) = if self.random.once_in(4) { (shared, own) } else { (own, shared) };
        let call = self
            .elements(GrantTableOp::Copy, &[CopyGrant { source, dest, len: 8, flags: 0, status: 1, pad: 0 }]);
        self.push_refused(call, "copy to or from a shared page");
    }

    /// It is granted to ourselves, and the grant is used.
    fn image_granted(&mut self, frame: Mfn) {
        let reference = self.entry_number();
        let Ok(number) = u32::try_from(frame.0) else { return };
        let entry = GrantEntry { flags: entry_flags::PERMIT_ACCESS, domid: self.estate.own, frame: number };
        self.push(Deed::Grant { reference, entry }, "grant a shared page");
        let own =
            CopySide { frame_or_ref: self.playground_frame().0, domid: DomId::SELF.0, offset: 0, pad: 0 };
        let granted = CopySide { frame_or_ref: reference.into(), domid: self.estate.own, offset: 0, pad: 0 };
        let element =
            CopyGrant { source: own, dest: granted, len: 8, flags: copy_flags::DEST_GREF, status: 1, pad: 0 };
        let call = self.elements(GrantTableOp::Copy, &[element]);
        self.push_refused(call, "copy into a shared page by a grant of it");
    }

    fn push_refused(&mut self, call: Call, why: &'static str) {
        self.push_call(Call { expect: Expect::Refusal, ..call }, why);
    }
}
