//! Split devices: front ends and back ends find each other, over deaths and restarts of both.

use alloc::vec::Vec;

use hypercall_abi::device::{DeviceKind, DirectoryEntry, NetHalf, XenbusState, block_access};
use hypercall_abi::event_channel::{BindVirq, EventChannelOp, PortArgument, Virq};
use hypercall_abi::extension::{DeviceDirectoryInfo, ExtensionOp};
use hypercall_abi::grant_table::{GrantTableOp, MapGrantRef, UnmapGrantRef, map_flags};
use hypercall_abi::physdev::{MapPirq, PhysdevOp};
use hypercall_abi::{DomId, Errno, Hypercall, Pfn};
use zerocopy::FromBytes;

use super::system::{SCRATCH, System, domain};
use crate::config::{Device, Domain, OnCrash};
use crate::memory::{MachineAddress, MachineMemory};
use crate::testing::BASE;

fn front(name: &str, last: u8) -> Domain {
    let device = Device::NetFront {
        backend: "driver".into(),
        mac: [2, 0xde, 0, 0, 0, last],
        ipv4: [10, 16, 1, last],
        prefix: 16,
        gateway: [10, 16, 0, 2],
        suppress: last != 2,
    };
    Domain { devices: alloc::vec![device], on_crash: OnCrash::Restart, ..domain(name) }
}

fn driver() -> Domain {
    let devices = alloc::vec![Device::Pci { vendor: 0x1af4, device: 0x1041, slot: None, disk: None }];
    Domain { devices, on_crash: OnCrash::Restart, ..domain("driver") }
}

fn system() -> System {
    System::new(alloc::vec![front("web-1", 1), driver(), front("web-2", 2)])
}

fn frame(system: &System, id: DomId, pfn: u64) -> hypercall_abi::Mfn {
    system.world.domains.get(id).unwrap().address_space.built_mfn(Pfn(pfn)).unwrap()
}

/// The directory as the guest finds it.
fn directory(system: &mut System, name: &str) -> Vec<DirectoryEntry> {
    let id = system.id(name);
    while system.current() != Some(id) {
        system.hypercall(Hypercall::SchedOp, [0; 5]).unwrap();
    }
    let op = u64::from(ExtensionOp::Devices.raw());
    system.hypercall(Hypercall::Extension, [op, SCRATCH, 0, 0, 0]).unwrap();
    let info: DeviceDirectoryInfo = system.peek(id, SCRATCH);
    let mfn = frame(system, id, info.first_pfn);
    (0..info.entries)
        .map(|index| {
            let mut bytes = [0; 128];
            system.machine.read(MachineAddress::in_frame(mfn, u64::from(index) * 128), &mut bytes);
            DirectoryEntry::read_from_bytes(&bytes).unwrap()
        })
        .collect()
}

#[test]
fn both_directories_describe_the_same_device() {
    let mut system = system();
    let fronts = directory(&mut system, "web-2");
    let backs = directory(&mut system, "driver");
    assert_eq!((fronts.len(), backs.len()), (1, 3));
    let (front, back) = (fronts[0], backs[2]);
    assert_eq!((front.kind, back.kind), (DeviceKind::NetFront.raw(), DeviceKind::NetBack.raw()));
    assert_eq!((front.peer, back.peer), (system.id("driver").0, system.id("web-2").0));
    assert_eq!((front.mac, front.ipv4, front.options), (back.mac, back.ipv4, back.options));
    assert_eq!(front.options, 1, "suppression is off for this one");
    assert!(front.name.starts_with(b"driver\0") && back.name.starts_with(b"web-2\0"));
    assert_eq!(backs[0].kind, DeviceKind::None.raw(), "there is no such PCI device");
    assert!(system.output.contains("driver: no PCI device 1af4:1041"), "{}", system.output);
    system.check();
}

#[test]
fn the_state_ports_are_connected() {
    let mut system = system();
    let front = directory(&mut system, "web-1")[0];
    let back = directory(&mut system, "driver")[1];
    let driver = system.id("driver");
    let web = system.id("web-1");
    while system.current() != Some(web) {
        system.hypercall(Hypercall::SchedOp, [0; 5]).unwrap();
    }
    let send = PortArgument { port: front.state_port };
    system.with(Hypercall::EventChannelOp, EventChannelOp::Send.raw(), &send).unwrap();
    assert_eq!(system.handle_events(driver), [back.state_port]);
}

fn map_page(system: &mut System, back: &DirectoryEntry) -> i16 {
    let map = MapGrantRef {
        host_addr: BASE,
        flags: map_flags::HOST_MAP,
        reference: back.page as u32,
        dom: back.peer,
        ..MapGrantRef::zeroed()
    };
    let driver = system.current().unwrap();
    system.poke(driver, SCRATCH + 0x1000, &map);
    let op = u64::from(GrantTableOp::MapGrantRef.raw());
    system.hypercall(Hypercall::GrantTableOp, [op, SCRATCH + 0x1000, 1, 0, 0]).unwrap();
    let map: MapGrantRef = system.peek(driver, SCRATCH + 0x1000);
    map.status
}

#[test]
fn the_back_end_is_granted_the_device_page() {
    let mut system = system();
    let back = directory(&mut system, "driver")[1];
    assert_eq!(map_page(&mut system, &back), 0);
    let front = directory(&mut system, "web-1")[0];
    let page = frame(&system, system.id("web-1"), front.page);
    system.machine.store(MachineAddress::in_frame(page, 64), 77);
    let driver = system.id("driver");
    assert_eq!(system.peek::<u64>(driver, BASE + 64), 77);
    system.check();
}

#[test]
fn the_death_of_a_front_end_is_told_to_the_back_end() {
    let mut system = system();
    let old = directory(&mut system, "driver")[1];
    let driver = system.id("driver");
    let virq = BindVirq { virq: Virq::Devices.raw(), vcpu: 0, port: 0 };
    let port = system.with(Hypercall::EventChannelOp, EventChannelOp::BindVirq.raw(), &virq).unwrap().port;
    assert_eq!(map_page(&mut system, &old), 0);
    let before = system.id("web-1");
    crate::life::end(
        &mut system.world,
        &mut system.machine,
        before,
        crate::life::End::Unhandled { vector: 6, error: 0, rip: 0, address: 0 },
    );
    let state: NetHalf = system.peek(driver, BASE);
    assert_eq!(state.state, XenbusState::Closed.raw());
    assert!(system.handle_events(driver).contains(&port));
    system.outwait();
    system.check();
    let new = directory(&mut system, "driver")[1];
    let after = system.id("web-1");
    assert_ne!(after, before);
    assert_eq!(new.peer, after.0, "the restarted front end takes the old one's place");
    assert!(new.generation > old.generation);
    assert!(system.world.domains.get(before).is_some(), "its page is still mapped");
    assert!(system.handle_events(driver).contains(&port));
    system.check();
}

#[test]
fn a_dead_front_end_is_gone_as_soon_as_its_last_page_is_unmapped() {
    let stays_dead = |last| Domain { on_crash: OnCrash::Destroy, ..front("web-1", last) };
    let mut system = System::new(alloc::vec![stays_dead(1), driver(), front("web-2", 2)]);
    let back = directory(&mut system, "driver")[1];
    assert_eq!(map_page(&mut system, &back), 0);
    let (driver, dead) = (system.id("driver"), system.id("web-1"));
    crate::life::end(&mut system.world, &mut system.machine, dead, crate::life::End::Destroyed);
    system.settle();
    assert!(system.world.domains.get(dead).is_some(), "its page is still mapped");
    let unmap = UnmapGrantRef { host_addr: BASE, ..UnmapGrantRef::zeroed() };
    system.poke(driver, SCRATCH + 0x1000, &unmap);
    let op = u64::from(GrantTableOp::UnmapGrantRef.raw());
    system.hypercall(Hypercall::GrantTableOp, [op, SCRATCH + 0x1000, 1, 0, 0]).unwrap();
    // No timer has fired, no domain has ended: nobody else would look for a long time.
    assert!(system.world.domains.get(dead).is_none(), "nothing holds it any more");
    system.check();
}

#[test]
fn the_death_of_the_back_end_is_told_to_each_front_end_and_mended_by_its_restart() {
    let mut system = system();
    let old = directory(&mut system, "web-1")[0];
    let driver = system.id("driver");
    crate::life::end(
        &mut system.world,
        &mut system.machine,
        driver,
        crate::life::End::Unhandled { vector: 6, error: 0, rip: 0, address: 0 },
    );
    let web = system.id("web-1");
    let page = frame(&system, web, old.page);
    let half = system.machine.load(MachineAddress::in_frame(page, 2048)) & 0xffff_ffff;
    assert_eq!(half, u64::from(XenbusState::Closed.raw()));
    system.outwait();
    let new = directory(&mut system, "web-1")[0];
    assert_eq!(new.peer, system.id("driver").0);
    assert!(new.generation >= old.generation + 2);
    let backs = directory(&mut system, "driver");
    assert_eq!((backs[1].peer, backs[2].peer), (system.id("web-1").0, system.id("web-2").0));
    assert_eq!(map_page(&mut system, &backs[2]), 0);
    system.check();
}

#[test]
fn nobody_reaches_a_device_that_is_not_assigned() {
    let mut system = system();
    let map = MapPirq { domid: DomId::SELF.0, kind: 0, pirq: u32::MAX, ..MapPirq::zeroed() };
    let result = system.with(Hypercall::PhysdevOp, PhysdevOp::MapPirq.raw(), &map);
    assert_eq!(result, Err(Errno::NoDev));
    let op = u64::from(ExtensionOp::PciConfig.raw());
    assert_eq!(system.hypercall(Hypercall::Extension, [op, SCRATCH, 0, 0, 0]), Err(Errno::NoDev));
}

#[test]
fn a_block_device_is_described_to_its_back_end_as_the_scenario_says() {
    let disk = Device::BlockFront {
        backend: "driver".into(),
        disk: 2,
        access: block_access::OVERLAY,
        first_sector: 2048,
        sectors: 4096,
        memory_bytes: 1 << 20,
        suppress: true,
    };
    let guest = Domain { devices: alloc::vec![disk], on_crash: OnCrash::Restart, ..domain("files") };
    let mut system = System::new(alloc::vec![guest, driver(), front("web-1", 1)]);
    let fronts = directory(&mut system, "files");
    let backs = directory(&mut system, "driver");
    let (front, back) = (fronts[0], backs[1]);
    assert_eq!((front.kind, back.kind), (DeviceKind::BlockFront.raw(), DeviceKind::BlockBack.raw()));
    assert_eq!((back.disk, back.access, back.memory_bytes), (2, block_access::OVERLAY, 1 << 20));
    assert_eq!((back.first_sector, back.sectors), (2048, 4096));
    assert_eq!(front.sectors, 0, "a front end is told by its back end");
    assert_eq!(backs[2].kind, DeviceKind::NetBack.raw(), "both kinds share a directory");
    assert!(back.name.starts_with(b"files\0"));
    assert_eq!(map_page(&mut system, &back), 0);
    let before = system.id("files");
    crate::life::end(
        &mut system.world,
        &mut system.machine,
        before,
        crate::life::End::Unhandled { vector: 6, error: 0, rip: 0, address: 0 },
    );
    system.outwait();
    let again = directory(&mut system, "driver")[1];
    assert_eq!((again.kind, again.peer), (DeviceKind::BlockBack.raw(), system.id("files").0));
    assert_eq!((again.disk, again.access), (back.disk, back.access), "what it may do outlives a restart");
    system.check();
}

#[test]
fn a_back_end_charges_whom_it_serves_for_what_it_ran() {
    let mut system = system();
    let (driver, web) = (system.id("driver"), system.id("web-1"));
    let _ = directory(&mut system, "driver");
    let charge = |system: &mut System, whom: DomId, part, of| {
        let op = u64::from(ExtensionOp::Charge.raw());
        system.hypercall(Hypercall::Extension, [op, whom.0.into(), part, of, 0])
    };
    system.pass(500_000);
    assert_eq!(system.current(), Some(driver));
    let half = charge(&mut system, web, 1, 2).unwrap();
    assert!((250_000..=300_000).contains(&half), "{half}");
    let rest = charge(&mut system, web, 7, 7).unwrap();
    assert!(rest.abs_diff(half) < 10_000, "{rest}: the other half");
    assert!(charge(&mut system, web, 1, 1).unwrap() < 10_000, "no time is charged twice");
    assert_eq!(charge(&mut system, web, 0, 1), Ok(0));
    for (part, of) in [(0, 0), (2, 1), (u64::MAX, 1)] {
        assert_eq!(charge(&mut system, web, part, of), Err(Errno::Inval), "{part} of {of}");
    }
    assert_eq!(charge(&mut system, driver, 1, 1), Err(Errno::Perm), "not itself");
    assert_eq!(charge(&mut system, DomId(999), 1, 1), Err(Errno::Perm));
    while system.current() != Some(web) {
        system.hypercall(Hypercall::SchedOp, [0; 5]).unwrap();
    }
    assert_eq!(charge(&mut system, driver, 1, 1), Err(Errno::Perm), "a front end serves nobody");
    system.check();
}
