//! Domains of one image have its read-only pages in common, and none of them can change one.

mod hostile;

use alloc::vec::Vec;

use hypercall_abi::grant_table::{
    CopyGrant, CopySide, GrantEntry, GrantStatus, GrantTableOp, MapGrantRef, copy_flags, entry_flags,
    map_flags,
};
use hypercall_abi::mmu::{MmuUpdate, MmuextOp, MmuextRequest, UpdateKind, pte};
use hypercall_abi::sched::{SchedOp, Shutdown, ShutdownReason};
use hypercall_abi::start_info::StartInfo;
use hypercall_abi::{DomId, Errno, Hypercall, Mfn, Pfn};
use zerocopy::IntoBytes;

use super::system::{SCRATCH, System, domain};
use crate::config::{Domain, OnCrash};
use crate::frames::REFS_MAX;
use crate::guest_access;
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::IMAGE_ENTRIES_MAX;
use crate::testing::{BASE, PAGES, SHARED_PAGES, TestImage};

const SHARED: u64 = SHARED_PAGES.len() as u64;
/// A page of a domain's own.
const SPARE: u64 = 100;
const RW: u64 = pte::PRESENT | pte::WRITABLE | pte::USER;
const RO: u64 = pte::PRESENT | pte::USER;

fn system(domains: &[Domain]) -> System {
    System::of_image(&TestImage::sharing(BASE), domains.to_vec())
}

fn two() -> System {
    system(&[domain("a"), domain("b")])
}

fn mfn(system: &System, id: DomId, pfn: u64) -> Mfn {
    system.world.domains.get(id).unwrap().address_space.built_mfn(Pfn(pfn)).unwrap()
}

/// The place of the level 1 entry of a page, and the entry.
fn entry(system: &System, id: DomId, pfn: u64) -> (MachineAddress, u64) {
    let va = BASE + pfn * 4096;
    let root = system.world.domains.get(id).unwrap().vcpu.root();
    let l1 = guest_access::find_l1(&system.machine, root, va).unwrap();
    let at = MachineAddress::in_frame(l1, ((va >> 12) & 0x1ff) << 3);
    (at, system.machine.load(at))
}

fn update(system: &mut System, at: MachineAddress, kind: UpdateKind, val: u64) -> Result<u64, Errno> {
    let caller = system.current().unwrap();
    system.poke(caller, SCRATCH, &MmuUpdate { ptr: at.0 | kind.raw(), val });
    system.hypercall(Hypercall::MmuUpdate, [SCRATCH, 1, 0, u64::from(DomId::SELF.0), 0])
}

fn extended(system: &mut System, op: MmuextOp, arg1: u64, arg2: u64) -> Result<u64, Errno> {
    let caller = system.current().unwrap();
    system.poke(caller, SCRATCH, &MmuextRequest { cmd: op.raw(), pad: 0, arg1, arg2 });
    system.hypercall(Hypercall::MmuextOp, [SCRATCH, 1, 0, u64::from(DomId::SELF.0), 0])
}

fn grant(system: &mut System, id: DomId, reference: u64, to: DomId, frame: Mfn, flags: u16) {
    let table = system.world.domains.get(id).unwrap().grants.table_frames()[0];
    let entry = GrantEntry { flags, domid: to.0, frame: frame.0 as u32 };
    system.machine.write(MachineAddress::in_frame(table, reference * 8), entry.as_bytes());
}

fn map(system: &mut System, dom: DomId, flags: u32) -> Result<MapGrantRef, Errno> {
    let caller = system.current().unwrap();
    let host_addr = BASE + SPARE * 4096;
    let flags = flags | map_flags::HOST_MAP;
    let request =
        MapGrantRef { host_addr, flags, reference: 9, dom: dom.0, status: 99, handle: 0, dev_bus_addr: 0 };
    system.poke(caller, SCRATCH, &request);
    system.hypercall(Hypercall::GrantTableOp, [GrantTableOp::MapGrantRef.raw().into(), SCRATCH, 1, 0, 0])?;
    Ok(system.peek(caller, SCRATCH))
}

fn copy(system: &mut System, from: (DomId, u64), to: (DomId, u64), flags: u16) -> Result<i16, Errno> {
    let caller = system.current().unwrap();
    let side =
        |(domid, frame_or_ref): (DomId, u64)| CopySide { frame_or_ref, domid: domid.0, offset: 0, pad: 0 };
    let request = CopyGrant { source: side(from), dest: side(to), len: 8, flags, status: 99, pad: 0 };
    system.poke(caller, SCRATCH, &request);
    system.hypercall(Hypercall::GrantTableOp, [GrantTableOp::Copy.raw().into(), SCRATCH, 1, 0, 0])?;
    Ok(system.peek::<CopyGrant>(caller, SCRATCH).status)
}

fn crash(system: &mut System) {
    let caller = system.current().unwrap();
    system.poke(caller, SCRATCH, &Shutdown { reason: ShutdownReason::Crash.raw() });
    let _ = system.hypercall(Hypercall::SchedOp, [SchedOp::Shutdown.raw().into(), SCRATCH, 0, 0, 0]);
}

fn go_on(system: &mut System) {
    let _ = system.hypercall(Hypercall::SchedOp, [SchedOp::Yield.raw().into(), 0, 0, 0, 0]);
}

#[test]
fn domains_of_one_image_have_its_read_only_pages_in_common() {
    let alone = system(&[domain("a")]).world.frames.free_frames();
    let system = two();
    let (a, b) = (system.id("a"), system.id("b"));
    assert_eq!(system.world.frames.free_frames(), alone - (PAGES - SHARED));
    assert_eq!(system.world.frames.owned_by(a), (PAGES - SHARED) as u32);
    assert_eq!(system.world.frames.owned_by(DomId::COW), SHARED as u32);
    let rsi = system.world.domains.get(b).unwrap().vcpu.registers.rsi;
    let start: StartInfo = system.peek(b, rsi);
    assert_eq!(start.nr_pages, PAGES - 2, "a domain sees as many pages as one that shares nothing");
    for pfn in 0..PAGES - 2 {
        let is_shared = SHARED_PAGES.contains(&pfn);
        assert_eq!(mfn(&system, a, pfn) == mfn(&system, b, pfn), is_shared, "page {pfn}");
        for id in [a, b] {
            let (mfn, (_, entry)) = (mfn(&system, id, pfn), entry(&system, id, pfn));
            assert_eq!(entry & pte::ADDRESS, mfn.address());
            assert!(!is_shared || entry & pte::WRITABLE == 0, "page {pfn}: {entry:#x}");
            assert_eq!(system.peek::<u64>(id, start.mfn_list + pfn * 8), mfn.0);
            assert_eq!(system.machine.load(MachineAddress((4 << 12) + mfn.0 * 8)), pfn);
        }
    }
    // Each page holds what the image says, up to the zeros behind its last byte.
    assert_eq!(system.peek::<[u8; 2]>(b, BASE + 0x2000), [0xf4, 0x90]);
    assert_eq!(system.peek::<[u8; 2]>(b, BASE + 0x4122), [2, 0]);
    assert_eq!(system.peek::<u8>(b, BASE + 0x1000 + 32 * 29), 0x51, "the hypercall page");
    system.check();
}

#[test]
fn an_image_that_does_not_ask_is_copied_and_so_is_a_page_with_a_writable_part() {
    let common = |image: TestImage| {
        let system = System::of_image(&image, alloc::vec![domain("a"), domain("b")]);
        system.check();
        let (a, b) = (system.id("a"), system.id("b"));
        let shared = (0..PAGES - 2).filter(|pfn| mfn(&system, a, *pfn) == mfn(&system, b, *pfn));
        shared.collect::<Vec<_>>()
    };
    let image = || TestImage::sharing(BASE);
    assert_eq!(common(TestImage { shares: false, ..image() }), [0; 0]);
    assert_eq!(common(TestImage { read_only: alloc::vec![], ..image() }), [0; 0]);
    let mut mixed = image();
    mixed.segments.push((0x4200, alloc::vec![5; 4], 8));
    assert_eq!(common(mixed), [1, 2]);
    let mut covered = image();
    covered.segments.push((0x1800, alloc::vec![5; 4], 0x3000));
    assert_eq!(common(covered), [0; 0]);
}

#[test]
fn kernels_in_other_rings_have_other_hypercall_pages() {
    let one = |name| Domain { ring: 1, ..domain(name) };
    let system = system(&[domain("a"), one("c"), domain("b"), one("d")]);
    let frames = ["a", "b", "c", "d"].map(|name| mfn(&system, system.id(name), 1));
    assert_eq!((frames[0], frames[2]), (frames[1], frames[3]));
    assert_ne!(frames[0], frames[2]);
    let stub = BASE + 0x1000 + 32 * 29;
    assert_eq!(system.peek::<u8>(system.id("b"), stub), 0x51);
    assert_eq!(system.peek::<u8>(system.id("d"), stub), 0xb8);
    system.check();
}

#[test]
fn a_shared_page_is_read_and_never_written() {
    let mut system = two();
    let a = system.id("a");
    let own = system.current().unwrap();
    for pfn in SHARED_PAGES {
        let (frame, va) = (mfn(&system, a, pfn), BASE + pfn * 4096);
        let (at, _) = entry(&system, own, SPARE);
        // It may be mapped anywhere for reading, and nowhere for writing.
        let args = |bits| [BASE + SPARE * 4096, frame.address() | bits, 0, 0, 0];
        assert_eq!(system.hypercall(Hypercall::UpdateVaMapping, args(RW)), Err(Errno::Inval));
        assert_eq!(
            update(&mut system, at, UpdateKind::NormalPtUpdate, frame.address() | RW),
            Err(Errno::Inval)
        );
        assert_eq!(update(&mut system, at, UpdateKind::NormalPtUpdate, frame.address() | RO), Ok(0));
        assert_eq!(
            update(&mut system, at, UpdateKind::NormalPtUpdate, frame.address() | RW),
            Err(Errno::Inval)
        );
        assert_eq!(system.peek::<u64>(own, BASE + SPARE * 4096), system.peek::<u64>(own, va));
        system.check();
        // It is no data, no table and no number that the domain may change.
        let inside = MachineAddress::in_frame(frame, 8);
        assert_eq!(update(&mut system, inside, UpdateKind::NormalPtUpdate, 0), Err(Errno::Inval));
        assert_eq!(update(&mut system, inside, UpdateKind::MachphysUpdate, 0), Err(Errno::Inval));
        for op in [MmuextOp::PinL1Table, MmuextOp::PinL4Table, MmuextOp::NewUserBaseptr, MmuextOp::UnpinTable]
        {
            assert_eq!(extended(&mut system, op, frame.0, 0), Err(Errno::Inval), "{op:?}");
        }
        let spare = mfn(&system, own, SPARE).0;
        assert!(extended(&mut system, MmuextOp::ClearPage, frame.0, 0).is_err());
        assert!(extended(&mut system, MmuextOp::CopyPage, frame.0, spare).is_err());
        // No hypercall leaves an answer there.
        assert_eq!(system.hypercall(Hypercall::MmuUpdate, [SCRATCH, 0, va, 0x7ff0, 0]), Err(Errno::Fault));
        system.check();
    }
}

/// Makes a page of the domain whose turn it is a table of so many entries that map page 2.
fn pin_table(system: &mut System, page: u64, entries: u64) -> Result<u64, Errno> {
    let own = system.current().unwrap();
    let (frame, entry) = (mfn(system, own, page), mfn(system, own, 2).address() | RO);
    // From here on it is mapped for reading, as a table must be.
    let args = [BASE + page * 4096, frame.address() | RO, 0, 0, 0];
    system.hypercall(Hypercall::UpdateVaMapping, args)?;
    for index in 0..512 {
        let at = MachineAddress::in_frame(frame, index * 8);
        system.machine.store(at, if index < entries { entry } else { 0 });
    }
    extended(system, MmuextOp::PinL1Table, frame.0, 0)
}

#[test]
fn a_domain_that_maps_its_image_too_often_is_refused_and_no_other_feels_it() {
    let domains = u32::from(DomId::FIRST_RESERVED.0);
    assert!(domains.checked_mul(IMAGE_ENTRIES_MAX).unwrap() < REFS_MAX, "all domains at once");
    let mut system = two();
    let own = system.current().unwrap();
    let last = SPARE + u64::from(IMAGE_ENTRIES_MAX / 512) - 1;
    for page in SPARE..last {
        assert_eq!(pin_table(&mut system, page, 512), Ok(0), "page {page}");
    }
    let map = |system: &mut System| {
        let entry = mfn(system, system.current().unwrap(), 4).address() | RO;
        system.hypercall(Hypercall::UpdateVaMapping, [BASE + 250 * 4096, entry, 0, 0, 0])
    };
    // Its own tables map each shared page once.
    assert_eq!(pin_table(&mut system, last, 512 - SHARED + 1), Err(Errno::Busy));
    system.check();
    assert_eq!(pin_table(&mut system, last, 512 - SHARED), Ok(0));
    assert_eq!(map(&mut system), Err(Errno::Busy));
    system.check();
    while system.current() == Some(own) {
        go_on(&mut system);
    }
    assert_eq!(map(&mut system), Ok(0), "another one of the image");
    while system.current() != Some(own) {
        go_on(&mut system);
    }
    let frame = mfn(&system, own, SPARE).0;
    assert_eq!(extended(&mut system, MmuextOp::UnpinTable, frame, 0), Ok(0));
    assert_eq!(map(&mut system), Ok(0), "as soon as it has given some back");
    system.check();
}

#[test]
fn a_shared_page_cannot_be_granted() {
    let mut system = two();
    let own = system.current().unwrap();
    let other = [system.id("a"), system.id("b")].into_iter().find(|id| *id != own).unwrap();
    let frame = mfn(&system, own, 2);
    for (flags, map_with) in [
        (entry_flags::PERMIT_ACCESS, 0),
        (entry_flags::PERMIT_ACCESS | entry_flags::READ_ONLY, map_flags::READ_ONLY),
    ] {
        grant(&mut system, other, 9, own, frame, flags);
        assert_eq!(map(&mut system, other, map_with).unwrap().status, GrantStatus::BadPage.raw());
        let spare = mfn(&system, own, SPARE).0;
        for (from, to, copies) in [
            ((other, 9), (own, spare), copy_flags::SOURCE_GREF),
            ((own, spare), (other, 9), copy_flags::DEST_GREF),
            ((own, frame.0), (other, 9), copy_flags::DEST_GREF),
        ] {
            let status = copy(&mut system, from, to, copies);
            // A grant for reading is refused to writers before its frame is looked at.
            let refusals =
                [GrantStatus::BadPage, GrantStatus::PermissionDenied].map(|status| Ok(status.raw()));
            assert!(refusals.contains(&status), "{status:?}");
        }
        system.check();
    }
}

#[test]
fn what_is_shared_goes_with_the_last_domain_and_comes_again_with_the_next() {
    let again = |name| Domain { on_crash: OnCrash::Restart, ..domain(name) };
    let mut system = system(&[domain("a"), again("b")]);
    let total = system.world.frames.total_frames();
    while system.current() != Some(system.id("a")) {
        go_on(&mut system);
    }
    crash(&mut system);
    assert_eq!(system.world.frames.free_frames(), total - PAGES, "the other one and what it shares");
    system.check();
    for _ in 0..10 {
        let before = system.id("b");
        crash(&mut system);
        system.outwait();
        let b = system.id("b");
        assert_eq!(system.world.frames.free_frames(), total - PAGES, "{before} was the last");
        assert_eq!(system.peek::<u8>(b, BASE + 0x2000), 0xf4);
        system.check();
    }
    crate::control::command(&mut system.world, &mut system.machine, "destroy b");
    system.settle();
    assert_eq!(system.world.frames.free_frames(), total);
    system.check();
}

/// Plants a fault and says what the check makes of it.
fn found(plant: impl FnOnce(&mut System)) -> alloc::string::String {
    let mut system = two();
    plant(&mut system);
    system.world.check(&system.machine).expect_err("the fault is not found")
}

#[test]
fn planted_faults_are_found_by_the_check() {
    let writable = found(|system| {
        let (at, entry) = entry(system, system.id("a"), 2);
        system.machine.store(at, entry | pte::WRITABLE);
    });
    assert!(writable.contains("for writing that is not writable"), "{writable}");
    let changed = found(|system| {
        let at = MachineAddress::in_frame(mfn(system, system.id("a"), 4), 0x18);
        system.machine.store(at, 0);
    });
    assert!(changed.contains("has changed"), "{changed}");
    let lost = found(|system| system.world.frames.put(mfn(system, system.id("a"), 2)));
    assert!(lost.contains("5 entries lead to a share, but its users count 6"), "{lost}");
    let given = found(|system| system.world.frames.end_image(mfn(system, system.id("a"), 2)));
    assert!(given.contains("not kept as it should be"), "{given}");
    let left = found(|system| {
        let a = system.id("a");
        assert!(system.world.domains.get_mut(a).unwrap().address_space.end_sharing());
    });
    assert!(left.contains("2 users, but 1 domains"), "{left}");
}
