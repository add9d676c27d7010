//! Grants: our own used by ourselves, rewritten while in use, undone twice; and those of others by guess.

use alloc::vec::Vec;

use hypercall_abi::grant_table::{
    CopyGrant, CopySide, GrantEntry, GrantTableOp as Op, MapGrantRef, QuerySize, SetVersion, SetupTable,
    UnmapGrantRef, copy_flags, entry_flags, map_flags,
};
use hypercall_abi::{DomId, Hypercall};
use zerocopy::{Immutable, IntoBytes};

use super::{Generator, REMEMBERED};
use crate::{Call, Deed, Expect};

const SELF: u16 = DomId::SELF.0;

/// Mappings that a domain can have.
const MAPPINGS_MAX: usize = 4096;
/// Mappings that one call makes.
const MAPPINGS_A_CALL: usize = 256;

/// A grant that is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    handle: u32,
    host_addr: u64,
}

impl Generator {
    /// Something with grants.
    pub(super) fn grant(&mut self) {
        if self.random.once_in(300) {
            return self.exhaust_mappings();
        }
        match self.random.below(12) {
            0 | 1 => self.map_own(),
            2 | 3 => self.copy_own(),
            4 => self.map_foreign(),
            5 => self.copy_foreign(),
            6 => self.unmap_something(),
            7 => self.rewrite_entry(),
            8 => self.setup_table(),
            9 => {
                let dom = if self.random.once_in(3) { self.other_domain() } else { SELF };
                let argument = QuerySize { dom, pad: 0, frames: 0, max_frames: 0, status: 1, pad2: 0 };
                let call = self.elements(Op::QuerySize, &[argument]);
                self.push_call(call, "how large is the table");
            }
            10 => {
                let version = self.random.pick(&[1, 1, 2, 0, 3, u32::MAX]);
                let call = self.elements(Op::SetVersion, &[SetVersion { version }]);
                self.push_call(call, "another layout");
            }
            _ => {
                let mut call = self.elements(Op::Copy, &[CopyGrant::zeroed()]);
                call.args[0] = self.random.pick(&[3, 4, 7, 9, 10, 99, u64::MAX]);
                call.args[2] = self.random.pick(&[0, 1, 1 << 31, u64::MAX]);
                self.push_call(call, "no such operation");
            }
        }
    }

    /// Grants a frame to ourselves, maps it where a playground page was, perhaps rewrites the entry, and unmaps.
    fn map_own(&mut self) {
        let reference = self.entry_number();
        self.write_entry(reference);
        let page = self.page_number();
        let by_entry = self.random.once_in(3);
        let (host_addr, kind) = if by_entry {
            let entry = self.estate.playground.entries.get(page).copied().unwrap_or(0);
            (entry, map_flags::HOST_MAP | map_flags::CONTAINS_PTE)
        } else {
            (self.estate.playground.page(page), map_flags::HOST_MAP)
        };
        let read_only = if self.random.once_in(2) { map_flags::READ_ONLY } else { 0 };
        let odd = self.random.pick(&[0, 0, 0, map_flags::DEVICE_MAP, map_flags::APPLICATION_MAP, 1 << 20]);
        let argument = MapGrantRef {
            host_addr,
            flags: kind | read_only | odd,
            reference,
            dom: SELF,
            status: 1,
            handle: 0,
            dev_bus_addr: 0,
        };
        let call = self.elements(Op::MapGrantRef, &[argument]);
        self.push_call(call, "map our own grant");
        if self.random.once_in(2) {
            self.write_entry(reference);
        }
        if self.random.once_in(3) {
            self.push(
                Deed::Poke { va: self.estate.playground.page(page), value: u64::MAX },
                "write through it",
            );
        }
        if self.random.once_in(2) {
            self.unmap_something();
        }
    }

    /// Maps one grant again and again over itself, until there are no handles left: for the rest of this life.
    fn exhaust_mappings(&mut self) {
        let reference = self.entry_number();
        let frame = self.own_frame() as u32;
        let entry = GrantEntry { flags: entry_flags::PERMIT_ACCESS, domid: self.estate.own, frame };
        self.push(Deed::Grant { reference, entry }, "a grant to ourselves");
        let argument = MapGrantRef {
            host_addr: self.estate.playground.va,
            flags: map_flags::HOST_MAP | map_flags::READ_ONLY,
            reference,
            dom: SELF,
            status: 1,
            handle: 0,
            dev_bus_addr: 0,
        };
        for _ in 0..=MAPPINGS_MAX / MAPPINGS_A_CALL {
            self.cursor = 0;
            let call = self.elements(Op::MapGrantRef, &[argument; MAPPINGS_A_CALL]);
            self.push_steady(call, "take every handle");
        }
    }

    fn copy_own(&mut self) {
        let references = [self.entry_number(), self.entry_number()];
        for reference in references {
            if self.random.once_in(2) {
                self.write_entry(reference);
            }
        }
        let elements: Vec<CopyGrant> =
            (0..1 + self.random.below(33)).map(|_| self.copy_element(references)).collect();
        let call = self.elements(Op::Copy, &elements);
        self.push_call(call, "copy");
    }

    fn copy_element(&mut self, references: [u32; 2]) -> CopyGrant {
        let mut flags = 0;
        let mut sides = [CopySide::zeroed(), CopySide::zeroed()];
        for (index, side) in sides.iter_mut().enumerate() {
            side.domid = SELF;
            side.offset = self.random.pick(&[0, 0, 1, 64, 2048, 4095, 4096, u16::MAX]);
            if self.random.once_in(2) {
                flags |= [copy_flags::SOURCE_GREF, copy_flags::DEST_GREF][index];
                side.frame_or_ref = references[index].into();
            } else {
                side.frame_or_ref = self.own_frame();
            }
        }
        let [source, dest] = sides;
        let room = 4096 - u64::from(source.offset.max(dest.offset).min(4096));
        let len = match self.random.below(5) {
            0 => self.random.pick(&[0, 1, 4096, 4097, u16::MAX]),
            _ => self.random.below(room + 1) as u16,
        };
        CopyGrant { source, dest, len, flags, status: 1, pad: 0 }
    }

    /// Another domain's references: none of them is for us.
    fn map_foreign(&mut self) {
        let page = self.page_number();
        let argument = MapGrantRef {
            host_addr: self.estate.playground.page(page),
            flags: map_flags::HOST_MAP,
            reference: self.foreign_reference(),
            dom: self.other_domain(),
            status: 1,
            handle: 0,
            dev_bus_addr: 0,
        };
        let call = self.elements(Op::MapGrantRef, &[argument]);
        self.push_call(Call { expect: Expect::Refusal, ..call }, "map another's grant");
    }

    fn copy_foreign(&mut self) {
        let here = CopySide { frame_or_ref: self.own_frame(), domid: SELF, offset: 0, pad: 0 };
        let by_frame = self.random.once_in(3);
        let domid = self.other_domain();
        let frame_or_ref = if by_frame { self.foreign_frame().0 } else { self.foreign_reference().into() };
        // One's own frame may be named with SELF alone; a foreign one never.
        let domid = if by_frame && self.random.once_in(2) { SELF } else { domid };
        let there = CopySide { frame_or_ref, domid, offset: 0, pad: 0 };
        let outwards = self.random.once_in(2);
        let gref = if outwards { copy_flags::DEST_GREF } else { copy_flags::SOURCE_GREF };
        let (source, dest) = if outwards { (here, there) } else { (there, here) };
        let flags = if by_frame { 0 } else { gref };
        let element = CopyGrant { source, dest, len: 4096, flags, status: 1, pad: 0 };
        let call = self.elements(Op::Copy, &[element]);
        self.push_call(Call { expect: Expect::Refusal, ..call }, "copy from or to another domain");
    }

    fn unmap_something(&mut self) {
        let known = if self.mappings.is_empty() {
            Mapping { handle: self.random.below(16) as u32, host_addr: self.estate.playground.va }
        } else {
            self.random.pick(&self.mappings.clone())
        };
        let mut argument = UnmapGrantRef {
            host_addr: known.host_addr,
            dev_bus_addr: 0,
            handle: known.handle,
            status: 1,
            pad: 0,
        };
        let spoilt = self.random.below(5);
        match spoilt {
            0 => argument.handle = self.random.any_size() as u32,
            1 => argument.host_addr = self.bad_pointer(),
            2 => argument.dev_bus_addr = self.rubbish(),
            _ => self.mappings.retain(|mapping| mapping.handle != known.handle),
        }
        for why in ["unmap", "unmap twice"] {
            let call = self.elements(Op::UnmapGrantRef, &[argument]);
            self.push_call(call, why);
        }
    }

    /// Unmaps all that is remembered.
    pub(super) fn give_grants_back(&mut self) {
        for mapping in core::mem::take(&mut self.mappings) {
            let Mapping { handle, host_addr } = mapping;
            let argument = UnmapGrantRef { host_addr, dev_bus_addr: 0, handle, status: 1, pad: 0 };
            let call = self.elements(Op::UnmapGrantRef, &[argument]);
            self.push_steady(call, "unmap what was mapped");
        }
        let (first, end) = self.estate.grant_entries;
        for reference in first..end.min(first + 16) {
            self.push(Deed::Grant { reference, entry: GrantEntry::zeroed() }, "end the grants");
        }
    }

    fn rewrite_entry(&mut self) {
        for _ in 0..=self.random.below(6) {
            let reference = self.entry_number();
            self.write_entry(reference);
        }
    }

    fn setup_table(&mut self) {
        let dom = if self.random.once_in(4) { self.other_domain() } else { SELF };
        let frames = self.random.pick(&[0, 1, 1, 2, 4, 64, 1024, u32::MAX]);
        let frame_list = if self.random.once_in(4) { self.bad_pointer() } else { self.place(8 * 64) };
        let argument = SetupTable { dom, pad: 0, frames, status: 1, pad2: [0; 3], frame_list };
        let call = self.elements(Op::SetupTable, &[argument]);
        self.push_call(call, "grow the table");
    }

    /// Writes an entry that grants something, rightly or not.
    fn write_entry(&mut self, reference: u32) {
        let frame = match self.random.below(8) {
            0 => self.foreign_frame().0,
            1 => self.estate.root.0,
            2 => self.estate.shared_info_frame.0,
            _ => self.own_frame(),
        };
        let flags = match self.random.below(8) {
            0 => self.random.bits() as u16,
            1 => entry_flags::INVALID,
            2 => 2,
            3 => entry_flags::PERMIT_ACCESS | entry_flags::READING | entry_flags::WRITING,
            4 | 5 => entry_flags::PERMIT_ACCESS | entry_flags::READ_ONLY,
            _ => entry_flags::PERMIT_ACCESS,
        };
        let domid = match self.random.below(4) {
            0 => self.other_domain(),
            _ => SELF,
        };
        let entry = GrantEntry { flags, domid, frame: frame as u32 };
        self.push(Deed::Grant { reference, entry }, "write a grant");
    }

    pub(super) fn entry_number(&mut self) -> u32 {
        let (first, end) = self.estate.grant_entries;
        first + self.random.below(u64::from(end.saturating_sub(first)).min(16)) as u32
    }

    /// A reference that no domain has given to us.
    fn foreign_reference(&mut self) -> u32 {
        let (first, end) = self.estate.grant_entries;
        let reference = match self.random.below(3) {
            0 => self.random.below(16) as u32,
            1 => self.random.below(512) as u32,
            _ => self.random.any_size() as u32,
        };
        if (first..end).contains(&reference) { end } else { reference }
    }

    /// One of the frames that may be lost.
    fn own_frame(&mut self) -> u64 {
        if self.estate.playground.frames.is_empty() {
            return 0;
        }
        self.random.pick(&self.estate.playground.frames.clone()).0
    }

    /// Remembers a new mapping.
    pub(super) fn observe_grant(&mut self, call: &Call, after: &[u8]) {
        use zerocopy::FromBytes;
        if call.args[0] as u32 == Op::MapGrantRef.raw()
            && let Ok((done, _)) = MapGrantRef::read_from_prefix(after)
            && self.mappings.len() < REMEMBERED
        {
            self.mappings.push(Mapping { handle: done.handle, host_addr: done.host_addr });
        }
    }

    /// A grant operation on these elements.
    pub(super) fn elements<T: IntoBytes + Immutable>(&mut self, op: Op, elements: &[T]) -> Call {
        let mut call = self.operate_bytes(Hypercall::GrantTableOp, op.raw(), elements.as_bytes());
        call.args[2] = elements.len() as u64;
        call
    }
}
