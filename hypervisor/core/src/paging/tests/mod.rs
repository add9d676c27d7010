//! Page-table calls one by one, granted and refused, with the recount after each.

mod hostile;

use alloc::vec::Vec;

use hypercall_abi::mmu::{MmuUpdate, MmuextOp, MmuextRequest, flush, pte};
use hypercall_abi::{DomId, Errno, Mfn};

use super::*;
use crate::effects::Todo;
use crate::fake::FakeMemory;
use crate::frames::{Extent, FrameType, Level};
use crate::memory::{MachineAddress, MachineMemory};
use crate::testing::{BASE, Fixture, PAGES};

const RW: u64 = pte::PRESENT | pte::WRITABLE | pte::USER;
const RO: u64 = pte::PRESENT | pte::USER;
/// A page of the guest in which calls find their arguments.
const ARGUMENTS: u64 = BASE + 0x8_0000;
/// Where `done` goes.
const DONE: u64 = ARGUMENTS + 0xff8;
/// Frames that tests use freely, by pseudo-physical number.
const SPARE: u64 = 100;

fn fixture() -> (Fixture<FakeMemory>, DomId) {
    let mut fixture = Fixture::new(1024);
    let domain = fixture.domain();
    (fixture, domain)
}

const fn va(pfn: u64) -> u64 {
    BASE + pfn * 4096
}

impl<T: MachineMemory> Fixture<T> {
    fn update_va(&mut self, domain: DomId, va: u64, entry: u64) -> Result<u64, Errno> {
        self.call(domain, |call| update_va_mapping(call, [va, entry, flush::INVLPG, 0, 0]))
    }

    fn mmu(&mut self, domain: DomId, requests: &[(u64, u64)]) -> (Result<u64, Errno>, u32) {
        for (index, (ptr, val)) in requests.iter().enumerate() {
            self.poke(domain, ARGUMENTS + index as u64 * 16, &MmuUpdate { ptr: *ptr, val: *val });
        }
        self.poke(domain, DONE, &0_u32);
        let args = [ARGUMENTS, requests.len() as u64, DONE, u64::from(DomId::SELF.0), 0];
        let result = self.call(domain, |call| mmu_update(call, args));
        // A hostile request may have taken the page away.
        (result, self.peek(domain, DONE).unwrap_or(u32::MAX))
    }

    fn mmuext(&mut self, domain: DomId, op: MmuextOp, arg1: u64, arg2: u64) -> Result<u64, Errno> {
        self.poke(domain, ARGUMENTS, &MmuextRequest { cmd: op.raw(), pad: 0, arg1, arg2 });
        let args = [ARGUMENTS, 1, 0, u64::from(DomId::SELF.0), 0];
        self.call(domain, |call| mmuext_op(call, args))
    }

    /// Takes away the guest's writable mapping of a frame and fills it with entries; returns it.
    fn table(&mut self, domain: DomId, pfn: u64, entries: &[(u64, u64)]) -> Mfn {
        let mfn = self.mfn(domain, pfn);
        for (index, entry) in entries {
            self.poke(domain, va(pfn) + index * 8, entry);
        }
        self.update_va(domain, va(pfn), mfn.address() | RO).unwrap();
        mfn
    }
}

#[test]
fn an_address_can_be_mapped_to_another_frame_and_back() {
    let (mut fixture, domain) = fixture();
    let (one, other) = (fixture.mfn(domain, SPARE), fixture.mfn(domain, SPARE + 1));
    fixture.poke(domain, va(SPARE + 1), &77_u64);
    fixture.update_va(domain, va(SPARE), other.address() | RW).unwrap();
    fixture.check();
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE)), Ok(77));
    assert_eq!(fixture.world.frames.uses(other), 2);
    assert_eq!(fixture.world.frames.uses(one), 0);
    assert_eq!(fixture.machine.flushed, [va(SPARE)]);
    fixture.update_va(domain, va(SPARE), 0).unwrap();
    fixture.check();
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE)), Err(Errno::Fault));
}

#[test]
fn a_page_table_is_never_mapped_for_writing() {
    let (mut fixture, domain) = fixture();
    let root = fixture.world.domains.get(domain).unwrap().vcpu.root();
    assert_eq!(fixture.update_va(domain, va(SPARE), root.address() | RW), Err(Errno::Busy));
    assert_eq!(fixture.update_va(domain, va(SPARE), root.address() | RO), Ok(0));
    fixture.check();
}

#[test]
fn foreign_free_and_absent_frames_are_refused() {
    let (mut fixture, domain) = fixture();
    let other = fixture.domain();
    for mfn in [fixture.mfn(other, SPARE), Mfn(1000), Mfn(0), Mfn(4), Mfn(1 << 38), Mfn(5000)] {
        let before = fixture.mapped(domain, va(SPARE));
        assert!(fixture.update_va(domain, va(SPARE), mfn.address() | RO).is_err(), "{mfn}");
        assert!(fixture.update_va(domain, va(SPARE), mfn.address() | RW).is_err(), "{mfn}");
        assert_eq!(fixture.mapped(domain, va(SPARE)), before, "what is refused has changed nothing");
        fixture.check();
    }
}

#[test]
fn device_frames_are_mapped_only_where_permitted_and_may_be_uncached() {
    let (mut fixture, domain) = fixture();
    let device = Mfn(0xf_0000);
    let entry = device.address() | RW | pte::CACHE_DISABLE;
    assert_eq!(fixture.update_va(domain, va(SPARE), entry), Err(Errno::Perm));
    let space = &mut fixture.world.domains.get_mut(domain).unwrap().address_space;
    assert!(space.permit_device(Extent { first: device, count: 2 }));
    assert_eq!(fixture.update_va(domain, va(SPARE), entry), Ok(0));
    assert_eq!(fixture.mapped(domain, va(SPARE)), Some((device, entry)));
    fixture.check();
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE)), Err(Errno::Fault), "no pointer leads to a device");
    let beyond = Mfn(device.0 + 2).address() | RW;
    assert_eq!(fixture.update_va(domain, va(SPARE), beyond), Err(Errno::Perm));
    let place = fixture.l1_place(domain, va(SPARE + 1)).0;
    let args = (place, entry);
    assert_eq!(fixture.mmu(domain, &[args]), (Ok(0), 1));
    fixture.check();
    fixture.kill(domain);
    fixture.check();
}

#[test]
fn a_batch_says_how_far_it_came() {
    let (mut fixture, domain) = fixture();
    let place = |fixture: &Fixture<_>, pfn| fixture.l1_place(domain, va(pfn)).0;
    let good = fixture.mfn(domain, SPARE).address() | RO;
    let requests = [
        (place(&fixture, SPARE + 1), good),
        (place(&fixture, SPARE + 2), good | 2 << 60),
        (place(&fixture, SPARE + 3), good),
    ];
    assert_eq!(fixture.mmu(domain, &requests), (Err(Errno::Inval), 1));
    fixture.check();
    assert_eq!(fixture.mapped(domain, va(SPARE + 1)).unwrap().0, fixture.mfn(domain, SPARE));
    assert_eq!(fixture.mapped(domain, va(SPARE + 3)).unwrap().0, fixture.mfn(domain, SPARE + 3));
}

#[test]
fn a_batch_that_runs_into_no_memory_says_how_far_it_came() {
    let (mut fixture, domain) = fixture();
    let last = va(PAGES - 3) + 0xff0;
    let entry = fixture.mfn(domain, SPARE).address() | RO;
    fixture.poke(domain, last, &MmuUpdate { ptr: fixture.l1_place(domain, va(SPARE + 1)).0, val: entry });
    let args = [last, 2, DONE, u64::from(DomId::SELF.0), 0];
    assert_eq!(fixture.call(domain, |call| mmu_update(call, args)), Err(Errno::Fault));
    assert_eq!(fixture.peek::<u32>(domain, DONE), Ok(1));
    fixture.check();
}

#[test]
fn accessed_and_dirty_are_kept_only_where_asked_for() {
    let (mut fixture, domain) = fixture();
    let place = fixture.l1_place(domain, va(SPARE)).0;
    let entry = fixture.mfn(domain, SPARE).address() | RW;
    assert_eq!(fixture.mmu(domain, &[(place | 2, entry)]).0, Ok(0));
    let bits = pte::ACCESSED | pte::DIRTY;
    assert_eq!(fixture.machine.load(MachineAddress(place)), entry | bits);
    assert_eq!(fixture.mmu(domain, &[(place, entry)]).0, Ok(0));
    assert_eq!(fixture.machine.load(MachineAddress(place)), entry);
    assert_eq!(fixture.mmu(domain, &[(place | 3, entry)]).0, Err(Errno::NoSys));
    fixture.check();
}

#[test]
fn machine_to_physical_entries_are_set_for_own_frames_alone() {
    let (mut fixture, domain) = fixture();
    let other = fixture.domain();
    let (own, foreign) = (fixture.mfn(domain, SPARE), fixture.mfn(other, SPARE));
    assert_eq!(fixture.mmu(domain, &[(own.address() | 1, 4711)]).0, Ok(0));
    assert_eq!(fixture.machine.load(MachineAddress((4 << 12) + own.0 * 8)), 4711);
    assert_eq!(fixture.mmu(domain, &[(foreign.address() | 1, 4711)]), (Err(Errno::Inval), 0));
    assert_eq!(fixture.mmu(domain, &[(u64::MAX << 12 | 1, 4711)]).0, Err(Errno::Inval));
}

#[test]
fn another_domain_may_be_named_only_with_privilege() {
    let (mut fixture, domain) = fixture();
    let other = fixture.domain();
    let entry = fixture.mfn(other, SPARE).address() | RW;
    let request = MmuUpdate { ptr: fixture.l1_place(domain, va(SPARE)).0, val: entry };
    fixture.poke(domain, ARGUMENTS, &request);
    let args = [ARGUMENTS, 1, 0, u64::from(other.0), 0];
    assert_eq!(fixture.call(domain, |call| mmu_update(call, args)), Err(Errno::Perm));
    assert_eq!(fixture.call(domain, |call| mmuext_op(call, args)), Err(Errno::Perm));
    fixture.world.domains.get_mut(domain).unwrap().address_space.set_privileged();
    assert_eq!(fixture.call(domain, |call| mmu_update(call, args)), Ok(0));
    fixture.check();
    fixture.kill(other);
    assert_eq!(fixture.world.frames.owned_by(other), 1, "a mapped frame outlives its owner");
    fixture.kill(domain);
    assert_eq!(fixture.world.frames.owned_by(other), 0);
    fixture.check();
}

#[test]
fn a_new_address_space_is_built_pinned_entered_and_left() {
    let (mut fixture, domain) = fixture();
    let page = fixture.mfn(domain, SPARE).address() | RW;
    let l1 = fixture.table(domain, SPARE + 1, &[(0, page), (511, 0x1000)]);
    let l2 = fixture.table(domain, SPARE + 2, &[(2, l1.address() | RW)]);
    let l3 = fixture.table(domain, SPARE + 3, &[(0, l2.address() | RW)]);
    // The old tables of the kernel are shared, as guests do.
    let old = fixture.world.domains.get(domain).unwrap().vcpu.root();
    let old_l3 = fixture.machine.load(MachineAddress::in_frame(old, 0));
    let l4 = fixture.table(domain, SPARE + 4, &[(0, old_l3), (1, l3.address() | RW | pte::GLOBAL)]);
    assert_eq!(fixture.mmuext(domain, MmuextOp::PinL4Table, l4.0, 0), Ok(0));
    fixture.check();
    assert_eq!(fixture.world.frames.frame_type(l1), FrameType::Table(Level::L1));
    assert_eq!(fixture.update_va(domain, va(SPARE + 1), l1.address() | RW), Err(Errno::Busy));
    assert_eq!(fixture.mmuext(domain, MmuextOp::PinL4Table, l4.0, 0), Err(Errno::Inval), "pinned already");
    assert_eq!(fixture.mmuext(domain, MmuextOp::NewBaseptr, l4.0, 0), Ok(0));
    fixture.check();
    assert_eq!(fixture.machine.root, Some(l4), "entered before the old root can go");
    assert!(fixture.world.effects.todo.contains(Todo::FLUSH_TLB));
    assert_eq!(fixture.world.domains.get(domain).unwrap().vcpu.root(), l4);
    fixture.poke(domain, (1 << 39) | (2 << 21), &5_u64);
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE)), Ok(5));
    assert_eq!(fixture.mmuext(domain, MmuextOp::UnpinTable, l4.0, 0), Ok(0));
    fixture.check();
    assert_eq!(fixture.mmuext(domain, MmuextOp::NewBaseptr, old.0, 0), Ok(0));
    fixture.check();
    for pfn in SPARE + 1..SPARE + 5 {
        let mfn = fixture.mfn(domain, pfn);
        assert_eq!(
            fixture.world.frames.frame_type(mfn),
            FrameType::None,
            "tables are released with their root"
        );
        assert_eq!(fixture.update_va(domain, va(pfn), mfn.address() | RW), Ok(0));
    }
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE + 4) + 256 * 8), Ok(0), "no slot of ours is left in it");
    fixture.check();
}

#[test]
fn the_hypervisors_slots_cannot_be_written() {
    let (mut fixture, domain) = fixture();
    let root = fixture.world.domains.get(domain).unwrap().vcpu.root();
    for slot in [256, 263, 271] {
        assert_eq!(fixture.mmu(domain, &[(root.address() | slot << 3, 0)]).0, Err(Errno::Inval));
    }
    assert_eq!(fixture.mmu(domain, &[(root.address() | 272 << 3, 0)]).0, Ok(0));
    fixture.check();
}

#[test]
fn tables_that_refer_to_themselves_or_hold_large_pages_are_refused() {
    let (mut fixture, domain) = fixture();
    let mfn = fixture.mfn(domain, SPARE);
    let own = fixture.table(domain, SPARE, &[(3, mfn.address() | RW)]);
    for op in [MmuextOp::PinL1Table, MmuextOp::PinL2Table, MmuextOp::PinL3Table, MmuextOp::PinL4Table] {
        assert!(fixture.mmuext(domain, op, own.0, 0).is_err(), "{op:?}");
        fixture.check();
    }
    let large = fixture.table(domain, SPARE + 1, &[(0, RW | pte::LARGE)]);
    assert_eq!(fixture.mmuext(domain, MmuextOp::PinL2Table, large.0, 0), Err(Errno::Inval));
    // A table whose last entry is wrong gives back what the others had taken.
    let page = fixture.mfn(domain, SPARE + 5).address();
    let bad =
        fixture.table(domain, SPARE + 2, &[(0, page | RW), (510, page | RO), (511, page | RO | 1 << 55)]);
    assert_eq!(fixture.mmuext(domain, MmuextOp::PinL1Table, bad.0, 0), Err(Errno::Inval));
    fixture.check();
    assert_eq!(fixture.world.frames.frame_type(bad), FrameType::None);
}

#[test]
fn plain_data_can_be_written_through_the_call_as_on_xen() {
    let (mut fixture, domain) = fixture();
    let mfn = fixture.mfn(domain, SPARE);
    assert_eq!(fixture.mmu(domain, &[(mfn.address() | 0x10, 0xabcd)]).0, Ok(0));
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE) + 0x10), Ok(0xabcd));
    let other = fixture.domain();
    let foreign = fixture.mfn(other, SPARE);
    assert_eq!(fixture.mmu(domain, &[(foreign.address(), 0xabcd)]).0, Err(Errno::Inval));
    fixture.check();
}

#[test]
fn frames_are_cleared_and_copied_unless_they_are_tables() {
    let (mut fixture, domain) = fixture();
    fixture.poke(domain, va(SPARE), &9_u64);
    let (one, other) = (fixture.mfn(domain, SPARE), fixture.mfn(domain, SPARE + 1));
    assert_eq!(fixture.mmuext(domain, MmuextOp::CopyPage, other.0, one.0), Ok(0));
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE + 1)), Ok(9));
    assert_eq!(fixture.mmuext(domain, MmuextOp::ClearPage, one.0, 0), Ok(0));
    assert_eq!(fixture.peek::<u64>(domain, va(SPARE)), Ok(0));
    let root = fixture.world.domains.get(domain).unwrap().vcpu.root();
    assert_eq!(fixture.mmuext(domain, MmuextOp::ClearPage, root.0, 0), Err(Errno::Busy));
    assert_eq!(fixture.mmuext(domain, MmuextOp::CopyPage, root.0, one.0), Err(Errno::Busy));
    assert_eq!(fixture.mmuext(domain, MmuextOp::SetLdt, BASE, 4), Err(Errno::OpNotSupp));
    assert_eq!(fixture.mmuext(domain, MmuextOp::SetLdt, 0, 0), Ok(0));
    fixture.check();
}

#[test]
fn a_user_root_is_kept_and_let_go() {
    let (mut fixture, domain) = fixture();
    let user = fixture.table(domain, SPARE, &[]);
    assert_eq!(fixture.mmuext(domain, MmuextOp::NewUserBaseptr, user.0, 0), Ok(0));
    fixture.check();
    assert_eq!(fixture.world.frames.frame_type(user), FrameType::Table(Level::L4));
    assert_eq!(fixture.mmuext(domain, MmuextOp::NewUserBaseptr, 0, 0), Ok(0));
    fixture.check();
    assert_eq!(fixture.world.frames.frame_type(user), FrameType::None);
}

#[test]
fn death_returns_everything_in_bounded_pieces() {
    let mut fixture = Fixture::new(4096);
    let free = fixture.world.frames.free_frames();
    let domain = fixture.domain();
    // Many level 1 tables under one root, so that releasing them takes more than one piece of work.
    let count = 120;
    let page = fixture.mfn(domain, 20).address() | RO;
    let mut l2_entries = Vec::new();
    for pfn in 0..count {
        let entries: Vec<_> = (0..512).map(|index| (index, page)).collect();
        let l1 = fixture.table(domain, 132 + pfn, &entries);
        assert_eq!(fixture.mmuext(domain, MmuextOp::PinL1Table, l1.0, 0), Ok(0));
        l2_entries.push((pfn, l1.address() | RW));
    }
    let l2 = fixture.table(domain, 131, &l2_entries);
    assert_eq!(fixture.mmuext(domain, MmuextOp::PinL2Table, l2.0, 0), Ok(0));
    fixture.check();
    assert!(fixture.kill(domain) > 3, "so many tables are not given back at once");
    fixture.check();
    assert_eq!(fixture.world.frames.free_frames(), free);
}

#[test]
fn work_that_exceeds_one_call_is_finished_by_later_ones() {
    let (mut fixture, domain) = fixture();
    let page = fixture.mfn(domain, 20).address() | RO;
    let entries: Vec<_> = (0..512).map(|index| (index, page)).collect();
    let l1 = fixture.table(domain, 132, &entries);
    fixture.mmuext(domain, MmuextOp::PinL1Table, l1.0, 0).unwrap();
    let space = &mut fixture.world.domains.get_mut(domain).unwrap().address_space;
    let mut tables = Tables::new(&mut fixture.world.frames, &mut fixture.machine, space);
    tables.work = 100;
    tables.unpin(l1).unwrap();
    assert!(!tables.drain());
    fixture.check();
    assert_eq!(fixture.update_va(domain, va(132), l1.address() | RW), Err(Errno::Busy), "not released yet");
    assert_eq!(fixture.mmuext(domain, MmuextOp::TlbFlushLocal, 0, 0), Ok(0));
    fixture.check();
    assert_eq!(fixture.mmuext(domain, MmuextOp::PinL2Table, l1.0, 0), Err(Errno::Inval), "page is no table");
    assert_eq!(fixture.update_va(domain, va(132), l1.address() | RW), Ok(0));
    fixture.check();
}

#[test]
fn a_page_that_a_request_takes_away_is_gone_for_the_next() {
    let (mut fixture, domain) = fixture();
    let own = fixture.l1_place(domain, va(SPARE)).0;
    let other = fixture.l1_place(domain, va(SPARE + 1)).0;
    fixture.poke(domain, va(SPARE), &MmuUpdate { ptr: own, val: 0 });
    fixture.poke(domain, va(SPARE) + 16, &MmuUpdate { ptr: other, val: 0 });
    let args = [va(SPARE), 2, DONE, u64::from(DomId::SELF.0), 0];
    assert_eq!(fixture.call(domain, |call| mmu_update(call, args)), Err(Errno::Fault));
    fixture.check();
    assert_eq!(fixture.peek::<u32>(domain, DONE), Ok(1));
    assert!(fixture.mapped(domain, va(SPARE + 1)).is_some());
}

#[test]
fn a_page_made_read_only_from_above_is_not_written() {
    let (mut fixture, domain) = fixture();
    let root = fixture.world.domains.get(domain).unwrap().vcpu.root();
    let entry = fixture.machine.load(MachineAddress::in_frame(root, 0));
    let request = MmuUpdate { ptr: root.address(), val: entry & !pte::WRITABLE };
    fixture.poke(domain, ARGUMENTS, &request);
    fixture.poke(domain, DONE, &7_u32);
    let args = [ARGUMENTS, 1, DONE, u64::from(DomId::SELF.0), 0];
    assert_eq!(fixture.call(domain, |call| mmu_update(call, args)), Err(Errno::Fault));
    fixture.check();
    assert_eq!(fixture.peek::<u32>(domain, DONE), Ok(7));
}
