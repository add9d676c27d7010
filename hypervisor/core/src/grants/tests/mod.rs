//! Grants between domains that trust each other with nothing else, with the recount after each step.

mod copying;
mod hostile;
mod table;

use hypercall_abi::grant_table::{
    CopyGrant, CopySide, GrantEntry, GrantStatus, GrantTableOp, MapGrantRef, UnmapGrantRef, copy_flags,
    entry_flags, map_flags,
};
use hypercall_abi::mmu::{flush, pte};
use hypercall_abi::{DomId, Errno, Mfn};
use zerocopy::IntoBytes;

use super::*;
use crate::effects::Todo;
use crate::fake::FakeMemory;
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::update_va_mapping;
use crate::testing::{BASE, Fixture};

/// Where calls find their arguments.
const ARGUMENTS: u64 = BASE + 0x8_0000;
const SPARE: u64 = 100;
const RW: u64 = pte::PRESENT | pte::WRITABLE | pte::USER;
const RO: u64 = pte::PRESENT | pte::USER;

const fn va(pfn: u64) -> u64 {
    BASE + pfn * 4096
}

/// Two domains: who grants, who uses.
fn two() -> (Fixture<FakeMemory>, DomId, DomId) {
    let mut fixture = Fixture::new(1024);
    let granter = fixture.domain();
    let user = fixture.domain();
    (fixture, granter, user)
}

impl<T: MachineMemory> Fixture<T> {
    fn op<A: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable>(
        &mut self,
        caller: DomId,
        op: GrantTableOp,
        argument: &A,
    ) -> Result<A, Errno> {
        self.poke(caller, ARGUMENTS, argument);
        self.call(caller, |call| grant_table_op(call, [u64::from(op.raw()), ARGUMENTS, 1, 0, 0]))?;
        self.peek(caller, ARGUMENTS)
    }

    fn entry_place(&self, domain: DomId, reference: u32) -> MachineAddress {
        let frames = self.world.domains.get(domain).unwrap().grants.table_frames();
        MachineAddress::in_frame(frames[(reference / 512) as usize], u64::from(reference % 512) * 8)
    }

    fn entry(&self, domain: DomId, reference: u32) -> GrantEntry {
        let mut entry = GrantEntry::zeroed();
        self.machine.read(self.entry_place(domain, reference), entry.as_mut_bytes());
        entry
    }

    /// What a guest does to its own table.
    fn grant(&mut self, domain: DomId, reference: u32, flags: u16, to: DomId, frame: Mfn) {
        let entry = GrantEntry { flags, domid: to.0, frame: frame.0 as u32 };
        let place = self.entry_place(domain, reference);
        self.machine.write(place, entry.as_bytes());
    }

    fn map_grant(
        &mut self,
        caller: DomId,
        dom: DomId,
        reference: u32,
        flags: u32,
        host_addr: u64,
    ) -> MapGrantRef {
        let request = MapGrantRef {
            host_addr,
            flags: flags | map_flags::HOST_MAP,
            reference,
            dom: dom.0,
            status: 99,
            handle: 0,
            dev_bus_addr: 0,
        };
        self.op(caller, GrantTableOp::MapGrantRef, &request).unwrap()
    }

    fn unmap_grant(&mut self, caller: DomId, handle: u32, host_addr: u64) -> i16 {
        let request = UnmapGrantRef { host_addr, dev_bus_addr: 0, handle, status: 99, pad: 0 };
        self.op(caller, GrantTableOp::UnmapGrantRef, &request).unwrap().status
    }

    fn copy_grant(
        &mut self,
        caller: DomId,
        from: (DomId, u64, u16),
        to: (DomId, u64, u16),
        len: u16,
        flags: u16,
    ) -> i16 {
        let side = |(domid, frame_or_ref, offset): (DomId, u64, u16)| CopySide {
            frame_or_ref,
            domid: domid.0,
            offset,
            pad: 0,
        };
        let request = CopyGrant { source: side(from), dest: side(to), len, flags, status: 99, pad: 0 };
        self.op(caller, GrantTableOp::Copy, &request).unwrap().status
    }
}

const OKAY: i16 = GrantStatus::Okay.raw();

#[test]
fn a_granted_frame_is_mapped_used_and_unmapped() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.poke(granter, va(SPARE), &0x1234_u64);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, frame);
    let mapped = fixture.map_grant(user, granter, 9, 0, va(SPARE));
    assert_eq!((mapped.status, mapped.dev_bus_addr), (OKAY, frame.address()));
    fixture.check();
    assert_eq!(fixture.peek::<u64>(user, va(SPARE)), Ok(0x1234));
    fixture.poke(user, va(SPARE), &0x4321_u64);
    assert_eq!(fixture.peek::<u64>(granter, va(SPARE)), Ok(0x4321));
    let in_use = entry_flags::READING | entry_flags::WRITING;
    assert_eq!(fixture.entry(granter, 9).flags & in_use, in_use);
    fixture.world.effects = Default::default();
    assert_eq!(fixture.unmap_grant(user, mapped.handle, va(SPARE)), OKAY);
    assert!(fixture.world.effects.todo.contains(Todo::FLUSH_TLB));
    fixture.check();
    assert_eq!(fixture.entry(granter, 9).flags & in_use, 0);
    assert_eq!(fixture.peek::<u64>(user, va(SPARE)), Err(Errno::Fault));
    assert_eq!(fixture.unmap_grant(user, mapped.handle, va(SPARE)), GrantStatus::BadHandle.raw());
}

#[test]
fn read_only_is_respected() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS | entry_flags::READ_ONLY, user, frame);
    assert_eq!(fixture.map_grant(user, granter, 9, 0, va(SPARE)).status, GrantStatus::PermissionDenied.raw());
    let mapped = fixture.map_grant(user, granter, 9, map_flags::READ_ONLY, va(SPARE));
    assert_eq!(mapped.status, OKAY);
    assert_eq!(fixture.mapped(user, va(SPARE)).unwrap().1 & pte::WRITABLE, 0);
    assert_eq!(fixture.entry(granter, 9).flags & entry_flags::WRITING, 0);
    // Nor can the mapping domain make it writable by itself.
    let args = [va(SPARE), frame.address() | RW, flush::INVLPG, 0, 0];
    assert_eq!(fixture.call(user, |call| update_va_mapping(call, args)), Err(Errno::Inval));
    let own = fixture.mfn(user, SPARE).0;
    let to_grant = fixture.copy_grant(user, (user, own, 0), (granter, 9, 0), 8, copy_flags::DEST_GREF);
    assert_eq!(to_grant, GrantStatus::PermissionDenied.raw());
    fixture.check();
}

#[test]
fn a_writable_use_is_counted_apart_from_reading_ones() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, frame);
    let reading = fixture.map_grant(user, granter, 9, map_flags::READ_ONLY, va(SPARE));
    let writing = fixture.map_grant(user, granter, 9, 0, va(SPARE + 1));
    fixture.check();
    assert_eq!(
        fixture.unmap_grant(user, reading.handle, va(SPARE + 1)),
        GrantStatus::BadVirtAddr.raw(),
        "that entry is not the handle's"
    );
    assert_eq!(fixture.unmap_grant(user, writing.handle, va(SPARE + 1)), OKAY);
    assert_eq!(fixture.entry(granter, 9).flags & 0x18, entry_flags::READING);
    // A copy during the mapping leaves the mapping's bit alone.
    let own = fixture.mfn(user, SPARE + 2).0;
    assert_eq!(fixture.copy_grant(user, (user, own, 0), (granter, 9, 0), 8, copy_flags::DEST_GREF), OKAY);
    assert_eq!(fixture.entry(granter, 9).flags & 0x18, entry_flags::READING);
    assert_eq!(fixture.unmap_grant(user, reading.handle, va(SPARE)), OKAY);
    assert_eq!(fixture.entry(granter, 9).flags & 0x18, 0);
    fixture.check();
}

#[test]
fn what_was_not_granted_is_refused_and_nothing_changes() {
    let (mut fixture, granter, user) = two();
    let third = fixture.domain();
    let frame = fixture.mfn(granter, SPARE);
    let table = fixture.world.domains.get(granter).unwrap().vcpu.root();
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, third, frame);
    fixture.grant(granter, 10, 2, user, frame);
    fixture.grant(granter, 11, entry_flags::PERMIT_ACCESS, user, fixture.mfn(third, SPARE));
    fixture.grant(granter, 12, entry_flags::PERMIT_ACCESS, user, Mfn(1 << 20));
    fixture.grant(granter, 13, entry_flags::PERMIT_ACCESS, user, table);
    let before = fixture.mapped(user, va(SPARE));
    for (reference, wanted) in [
        (8, GrantStatus::BadGntref),
        (9, GrantStatus::BadGntref),
        (10, GrantStatus::BadGntref),
        (11, GrantStatus::BadPage),
        (12, GrantStatus::BadPage),
        (13, GrantStatus::BadPage),
        (512, GrantStatus::BadGntref),
        (u32::MAX, GrantStatus::BadGntref),
    ] {
        assert_eq!(
            fixture.map_grant(user, granter, reference, 0, va(SPARE)).status,
            wanted.raw(),
            "{reference}"
        );
        let own = fixture.mfn(user, SPARE).0;
        let copied = fixture.copy_grant(
            user,
            (user, own, 0),
            (granter, u64::from(reference), 0),
            8,
            copy_flags::DEST_GREF,
        );
        assert_eq!(copied, wanted.raw(), "{reference}");
        if reference < 512 {
            assert_eq!(fixture.entry(granter, reference).flags & 0x18, 0);
        }
        fixture.check();
    }
    assert_eq!(fixture.mapped(user, va(SPARE)), before);
    assert_eq!(fixture.map_grant(user, DomId(77), 9, 0, va(SPARE)).status, GrantStatus::BadDomain.raw());
}

#[test]
fn a_page_table_is_granted_for_reading_at_most() {
    let (mut fixture, granter, user) = two();
    let table = fixture.world.domains.get(granter).unwrap().vcpu.root();
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, table);
    let mapped = fixture.map_grant(user, granter, 9, map_flags::READ_ONLY, va(SPARE));
    assert_eq!(mapped.status, OKAY);
    fixture.check();
    let own = fixture.mfn(user, SPARE + 1).0;
    let copied = fixture.copy_grant(user, (user, own, 0), (granter, 9, 0), 8, copy_flags::DEST_GREF);
    assert_eq!(copied, GrantStatus::BadPage.raw());
    let copied = fixture.copy_grant(user, (granter, 9, 0), (user, own, 0), 8, copy_flags::SOURCE_GREF);
    assert_eq!(copied, OKAY);
    fixture.check();
}

#[test]
fn a_mapping_by_its_entrys_address_works_in_own_tables_alone() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, frame);
    let own = fixture.l1_place(user, va(SPARE)).0;
    let foreign = fixture.l1_place(granter, va(SPARE)).0;
    let upper = fixture.world.domains.get(user).unwrap().vcpu.root().address();
    for at in [foreign, upper, own | 4, frame.address(), !7] {
        let status = fixture.map_grant(user, granter, 9, map_flags::CONTAINS_PTE, at).status;
        assert_ne!(status, OKAY, "{at:#x}");
        assert_eq!(fixture.entry(granter, 9).flags & 0x18, 0);
        fixture.check();
    }
    let mapped = fixture.map_grant(user, granter, 9, map_flags::CONTAINS_PTE, own);
    assert_eq!(mapped.status, OKAY);
    assert_eq!(fixture.mapped(user, va(SPARE)).unwrap().0, frame);
    fixture.check();
    assert_eq!(fixture.unmap_grant(user, mapped.handle, va(SPARE)), GrantStatus::BadVirtAddr.raw());
    assert_eq!(fixture.unmap_grant(user, mapped.handle, own), OKAY);
    fixture.check();
}

#[test]
fn an_entry_overwritten_by_other_means_breaks_only_the_mappers_view() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, frame);
    let mapped = fixture.map_grant(user, granter, 9, 0, va(SPARE));
    fixture.world.effects = Default::default();
    fixture.call(user, |call| update_va_mapping(call, [va(SPARE), 0, 0, 0, 0])).unwrap();
    assert!(fixture.world.effects.todo.contains(Todo::FLUSH_TLB), "the granter must be able to rely on it");
    fixture.check();
    assert_eq!(fixture.unmap_grant(user, mapped.handle, va(SPARE)), GrantStatus::BadVirtAddr.raw());
    assert_ne!(fixture.entry(granter, 9).flags & entry_flags::READING, 0);
    fixture.kill(user);
    fixture.check();
    assert_eq!(fixture.entry(granter, 9).flags & 0x18, 0, "its death releases it");
}

#[test]
fn a_frame_mapped_by_another_outlives_its_owner() {
    let (mut fixture, granter, user) = two();
    let free = fixture.world.frames.free_frames();
    let frame = fixture.mfn(granter, SPARE);
    fixture.poke(granter, va(SPARE), &7_u64);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, frame);
    let mapped = fixture.map_grant(user, granter, 9, 0, va(SPARE));
    fixture.kill(granter);
    fixture.check();
    assert!(!crate::reclaim::is_gone(&fixture.world.frames, fixture.world.domains.get(granter).unwrap()));
    assert_eq!(fixture.world.frames.owned_by(granter), 1);
    assert_eq!(fixture.peek::<u64>(user, va(SPARE)), Ok(7));
    assert_eq!(
        fixture.map_grant(user, granter, 9, 0, va(SPARE + 1)).status,
        GrantStatus::BadDomain.raw(),
        "the dead grant nothing"
    );
    assert_eq!(fixture.unmap_grant(user, mapped.handle, va(SPARE)), OKAY);
    fixture.check();
    assert!(crate::reclaim::is_gone(&fixture.world.frames, fixture.world.domains.get(granter).unwrap()));
    assert_eq!(fixture.world.frames.free_frames(), free + crate::testing::PAGES);
}

#[test]
fn a_mapping_domains_death_releases_all_that_it_had_mapped() {
    let (mut fixture, granter, user) = two();
    for index in 0..50 {
        let frame = fixture.mfn(granter, SPARE + u64::from(index));
        fixture.grant(granter, 20 + index, entry_flags::PERMIT_ACCESS, user, frame);
        let flags = if index % 2 == 0 { map_flags::READ_ONLY } else { 0 };
        assert_eq!(
            fixture.map_grant(user, granter, 20 + index, flags, va(10 + u64::from(index))).status,
            OKAY
        );
    }
    fixture.check();
    fixture.kill(user);
    fixture.check();
    assert!(!fixture.world.domains.get(granter).unwrap().grants.is_mapped());
    for index in 0..50 {
        assert_eq!(fixture.entry(granter, 20 + index).flags & 0x18, 0);
        assert_eq!(fixture.world.frames.uses(fixture.mfn(granter, SPARE + u64::from(index))), 1);
    }
}

#[test]
fn a_domain_may_grant_to_itself() {
    let (mut fixture, granter, _) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, granter, frame);
    let mapped = fixture.map_grant(granter, DomId::SELF, 9, 0, va(SPARE + 1));
    assert_eq!(mapped.status, OKAY);
    fixture.check();
    fixture.kill(granter);
    fixture.check();
    assert_eq!(fixture.world.frames.owned_by(granter), 0);
}

#[test]
fn an_operation_that_cannot_be_answered_is_not_done() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, frame);
    let request = MapGrantRef {
        host_addr: va(SPARE),
        flags: map_flags::HOST_MAP,
        reference: 9,
        dom: granter.0,
        status: 0,
        handle: 0,
        dev_bus_addr: 0,
    };
    fixture.poke(user, ARGUMENTS, &request);
    let args = [ARGUMENTS, fixture.mapped(user, ARGUMENTS).unwrap().0.address() | RO, flush::INVLPG, 0, 0];
    fixture.call(user, |call| update_va_mapping(call, args)).unwrap();
    let call = |fixture: &mut Fixture<_>, op: GrantTableOp, count| {
        fixture.call(user, |call| grant_table_op(call, [u64::from(op.raw()), ARGUMENTS, count, 0, 0]))
    };
    assert_eq!(call(&mut fixture, GrantTableOp::MapGrantRef, 1), Err(Errno::Fault));
    assert_eq!(call(&mut fixture, GrantTableOp::Copy, 1), Err(Errno::Fault));
    assert_eq!(call(&mut fixture, GrantTableOp::Copy, COPIES_MAX + 1), Err(Errno::TooBig));
    assert_eq!(call(&mut fixture, GrantTableOp::MapGrantRef, OPERATIONS_MAX + 1), Err(Errno::TooBig));
    assert_eq!(call(&mut fixture, GrantTableOp::SetupTable, 2), Err(Errno::Inval));
    assert!(!fixture.world.domains.get(granter).unwrap().grants.is_mapped());
    fixture.check();
}
