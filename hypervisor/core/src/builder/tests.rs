//! Images that are right or wrong in one thing, and what the builder makes of them.

use alloc::string::ToString;
use alloc::vec;

use hypercall_abi::DomId;
use hypercall_abi::elf_note::NoteType;
use hypercall_abi::layout::{GUEST_CODE, HYPERVISOR_START};
use hypercall_abi::mmu::pte;
use hypercall_abi::shared_info::SharedInfo;
use hypercall_abi::start_info::StartInfo;
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::fake::FakeMemory;
use crate::memory::MachineAddress;
use crate::testing::{BASE, Fixture, PAGES, SHARED_PAGES, SLOTS, TestImage, frame_table, order};

fn try_build(image: &[u8], order: &Order<'_>) -> Result<Built, BuildError> {
    let mut memory = FakeMemory::new(1024);
    let mut frames = frame_table(1024);
    let free = frames.free_frames();
    let built = build(&mut memory, &mut frames, image, &mut None, order);
    if built.is_err() {
        assert_eq!(frames.free_frames(), free, "a refused image keeps no memory");
        assert_eq!(frames.check_free_lists(), Ok(()));
    }
    built
}

fn refused(image: &TestImage) -> BuildError {
    try_build(&image.file(), &order(DomId(1))).expect_err("should be refused")
}

#[test]
fn a_domain_finds_what_the_start_of_day_promises() {
    let mut fixture = Fixture::new(1024);
    let domain = fixture.domain();
    fixture.check();
    let registers = fixture.world.domains.get(domain).unwrap().vcpu.registers;
    assert_eq!(registers.rip, BASE + 0x2000);
    assert_eq!(registers.cs, u64::from(GUEST_CODE));
    let start: StartInfo = fixture.peek(domain, registers.rsi).unwrap();
    assert!(start.magic.starts_with(b"xen-3.0-x86_64\0"));
    assert!(start.cmd_line.starts_with(b"colour=red\0"));
    assert_eq!(start.nr_pages, PAGES - 2);
    assert_eq!(start.nr_pt_frames, 4);
    // The stack lies right behind the page tables, and it is memory.
    assert_eq!(registers.rsp, start.pt_base + (start.nr_pt_frames + 1) * 4096);
    fixture.poke(domain, registers.rsp - 8, &1_u64);
    // Code and hypercall page are where the image wanted them.
    assert_eq!(fixture.peek::<u8>(domain, BASE + 0x2000), Ok(0xf4));
    assert_eq!(fixture.peek::<u8>(domain, BASE + 0x2100), Ok(0));
    let stub: [u8; 14] = fixture.peek(domain, BASE + 0x1000 + 32 * 29).unwrap();
    assert_eq!(stub, [0x51, 0x41, 0x53, 0xb8, 29, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]);
    let iret: [u8; 11] = fixture.peek(domain, BASE + 0x1000 + 32 * 23).unwrap();
    assert_eq!(iret, [0x51, 0x41, 0x53, 0x50, 0xb8, 23, 0, 0, 0, 0x0f, 0x05]);
}

#[test]
fn all_memory_is_mapped_from_the_base_and_page_tables_are_read_only() {
    let mut fixture = Fixture::new(1024);
    let domain = fixture.domain();
    let rsi = fixture.world.domains.get(domain).unwrap().vcpu.registers.rsi;
    let start: StartInfo = fixture.peek(domain, rsi).unwrap();
    for pfn in 0..start.nr_pages {
        let va = BASE + pfn * 4096;
        let (mfn, entry) = fixture.mapped(domain, va).expect("mapped");
        assert_eq!(mfn, fixture.mfn(domain, pfn));
        assert_eq!(fixture.peek::<u64>(domain, start.mfn_list + pfn * 8), Ok(mfn.0));
        assert_eq!(fixture.machine.load(MachineAddress((4 << 12) + mfn.0 * 8)), pfn);
        let is_table = (start.pt_base..start.pt_base + start.nr_pt_frames * 4096).contains(&va);
        assert_eq!(entry & pte::WRITABLE == 0, is_table, "{va:#x}");
    }
    assert!(fixture.peek::<u64>(domain, BASE - 8).is_err());
    assert!(fixture.peek::<u64>(domain, BASE + start.nr_pages * 4096).is_err());
}

#[test]
fn upcalls_are_masked_at_the_start_and_the_hypervisors_slots_are_there() {
    let mut fixture = Fixture::new(1024);
    let id = fixture.domain();
    let domain = fixture.world.domains.get(id).unwrap();
    let mut shared = SharedInfo::new_zeroed();
    fixture.machine.read(MachineAddress::in_frame(domain.shared_info, 0), shared.as_mut_bytes());
    assert_eq!(shared.vcpu_info[0].evtchn_upcall_mask, 1);
    shared.vcpu_info[0].evtchn_upcall_mask = 0;
    assert!(shared.as_bytes().iter().all(|byte| *byte == 0), "nothing of a former owner is left");
    for (index, slot) in SLOTS.iter().enumerate() {
        let at = MachineAddress::in_frame(domain.vcpu.kernel_root, (256 + index as u64) * 8);
        assert_eq!(fixture.machine.load(at), *slot);
    }
}

#[test]
fn a_domain_high_in_the_address_space_is_built_too() {
    let base = 0xffff_ffff_8000_0000;
    let built = try_build(&TestImage::good(base).file(), &order(DomId(1))).unwrap();
    assert_eq!(built.registers.rip, base + 0x2000);
    let base = 0x7f_ffff_f000;
    let built = try_build(&TestImage::good(base).file(), &order(DomId(1))).unwrap();
    assert_eq!(built.registers.rip, base + 0x2000, "with tables on both sides of every boundary");
}

#[test]
fn an_image_says_by_name_what_is_wrong_with_it() {
    let good = TestImage::good(BASE);
    assert!(matches!(try_build(b"#!/bin/sh", &order(DomId(1))), Err(BuildError::NotElf { .. })));
    assert!(matches!(try_build(&[], &order(DomId(1))), Err(BuildError::NotElf { .. })));
    assert!(matches!(refused(&TestImage { class: 1, ..good.clone() }), BuildError::NotElf { .. }));
    assert_eq!(refused(&TestImage { kind: 3, ..good.clone() }), BuildError::NotExecutable { kind: 3 });
    assert_eq!(
        refused(&TestImage { machine: 183, ..good.clone() }),
        BuildError::WrongMachine { machine: 183 }
    );
    assert_eq!(refused(&TestImage { notes: vec![], ..good.clone() }), BuildError::NoNotes);
    assert_eq!(refused(&TestImage { segments: vec![], ..good.clone() }), BuildError::NothingToLoad);
    let note = |kind, value: &[u8]| refused(&good.clone().with_note(kind, value));
    assert_eq!(note(NoteType::XenVersion, &[]), BuildError::NoXenVersion);
    assert_eq!(
        note(NoteType::XenVersion, b"xen-4.0\0"),
        BuildError::OtherAbi { wanted: "xen-4.0".to_string() }
    );
    assert_eq!(note(NoteType::Loader, b"kexec\0"), BuildError::OtherLoader { wanted: "kexec".to_string() });
    assert_eq!(
        note(NoteType::Features, b"pae_pgdir_above_4gb|!auto_translated_physmap\0"),
        BuildError::MissingFeature { name: "auto_translated_physmap".to_string() }
    );
    assert_eq!(note(NoteType::Entry, &[1, 2, 3]), BuildError::BadNote { name: "Entry" });
    assert_eq!(note(NoteType::Entry, &[0; 8]), BuildError::EntryOutside { address: 0 });
    let page = (BASE + 0x1008).to_le_bytes();
    assert_eq!(
        note(NoteType::HypercallPage, &page),
        BuildError::HypercallPageOutside { address: BASE + 0x1008 }
    );
    assert_eq!(note(NoteType::InitP2m, &[0; 8]), BuildError::OwnPhysicalList);
    let mut long = good.clone();
    long.segments[0].2 = 0x1000;
    assert!(matches!(refused(&long), BuildError::SegmentOutside { .. }));
}

#[test]
fn how_much_of_an_image_is_shared_is_known_before_a_domain_is_built() {
    let shared = |image: TestImage| shared_pages(&image.file());
    assert_eq!(shared(TestImage::sharing(BASE)), SHARED_PAGES.len() as u64);
    assert_eq!(shared(TestImage { shares: false, ..TestImage::sharing(BASE) }), 0);
    assert_eq!(shared_pages(b"no image"), 0);
}

#[test]
fn an_image_in_the_reserved_range_is_refused() {
    for base in [HYPERVISOR_START, HYPERVISOR_START - 0x1000, 0x7fff_ffff_f000, u64::MAX - 0x2fff] {
        assert!(
            matches!(refused(&TestImage::good(base)), BuildError::OverlapsHypervisor { .. }),
            "{base:#x}"
        );
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_it_ends() {
    let file = TestImage::good(BASE).file();
    for length in (0..file.len()).step_by(97) {
        assert!(try_build(&file[..length], &order(DomId(1))).is_err(), "{length} bytes of {}", file.len());
    }
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    let image = TestImage::good(BASE).file();
    let mut small = order(DomId(1));
    small.memory_bytes = 8 << 12;
    let Err(BuildError::TooLittleMemory { needed_pages, given_pages: 8 }) = try_build(&image, &small) else {
        panic!("eight pages cannot be enough");
    };
    small.memory_bytes = needed_pages << 12;
    assert!(try_build(&image, &small).is_ok(), "what was said to be enough is");
    small.memory_bytes = (needed_pages - 1) << 12;
    assert!(try_build(&image, &small).is_err());
    small.memory_bytes = 2048 << 12;
    assert!(matches!(try_build(&image, &small), Err(BuildError::NoMemory { wanted_pages: 2048, .. })));
    let long = "x".repeat(1024);
    let mut wordy = order(DomId(1));
    wordy.command_line = &long;
    assert_eq!(try_build(&image, &wordy).unwrap_err(), BuildError::CommandLineTooLong { bytes: 1024 });
}

#[test]
fn a_domain_with_a_device_needs_its_memory_in_one_piece() {
    let mut memory = FakeMemory::new(1024);
    let mut frames = FrameTable::new(1024).unwrap();
    // Two islands, each too small for the domain alone.
    frames.add_ram(Mfn(128), 128);
    frames.add_ram(Mfn(512), 200);
    frames.set_maps(SLOTS, MachineAddress(4 << 12));
    let image = TestImage::good(BASE).file();
    let mut wanted = order(DomId(1));
    wanted.contiguous = true;
    let free = frames.free_frames();
    assert_eq!(
        build(&mut memory, &mut frames, &image, &mut None, &wanted).unwrap_err(),
        BuildError::NotContiguous { wanted_pages: PAGES - 2 }
    );
    assert_eq!(frames.free_frames(), free);
    wanted.contiguous = false;
    let built = build(&mut memory, &mut frames, &image, &mut None, &wanted).unwrap();
    assert!(built.address_space.extents().len() > 1);
    assert_eq!(built.address_space.frames(), PAGES - 2);
}

#[test]
fn a_hundred_domains_come_and_go_and_leave_nothing_behind() {
    let mut fixture = Fixture::new(2048);
    let free = fixture.world.frames.free_frames();
    for _ in 0..100 {
        let domain = fixture.domain();
        fixture.kill(domain);
        let dead = fixture.world.domains.remove(domain).unwrap();
        assert!(crate::reclaim::is_gone(&fixture.world.frames, &dead));
        assert_eq!(fixture.world.frames.free_frames(), free);
    }
    fixture.check();
}
