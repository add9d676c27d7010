//! Adaptive delivery on a processor that has no time to spare, as domains see it: a driver that tells many goes on, and
//! what it leaves out meanwhile speaks for that.

use alloc::format;
use alloc::vec::Vec;

use hypercall_abi::device::{BACK_HALF, NetHalf};
use hypercall_abi::event_channel::{EventChannelOp, PortArgument};
use hypercall_abi::sched::SchedOp;
use hypercall_abi::{DomId, Hypercall, Pfn};

use super::system::{System, domain};
use crate::config::{self, Device, Domain};
use crate::memory::{MachineAddress, MachineMemory};

/// Turns of nearly a slice, in which nobody idles or computes: longer than it takes to be out of time to spare.
const BUSY: usize = 16;
/// Waits that are judged together, as the scheduler has it.
const SAMPLE: usize = 64;
/// Front ends: as many as make who tells them one that tells many.
const FRONTS: usize = 12;

fn adaptive(name: &str, backend: Option<&str>) -> Domain {
    let device = |backend: &str| Device::NetFront {
        backend: backend.into(),
        mac: [2, 0xde, 0, 0, 0, 1],
        ipv4: [10, 16, 1, 1],
        prefix: 16,
        gateway: [10, 16, 0, 2],
        suppress: true,
    };
    let delivery = config::Delivery { policy: config::Policy::Adaptive, window_events: 0, window_us: 0 };
    Domain { devices: backend.map(device).into_iter().collect(), delivery, ..domain(name) }
}

fn yield_now(system: &mut System) {
    system.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Yield.raw()), 0, 0, 0, 0]).unwrap();
}

/// The current domain sends an event.
fn send(system: &mut System, port: u32) {
    let op = EventChannelOp::Send.raw();
    system.with(Hypercall::EventChannelOp, op, &PortArgument { port }).unwrap();
}

/// A driver, front ends of it that sleep, and somebody who is always awake, where nobody has idled for long.
/// The driver is also served by the other one.
fn busy(fronts: usize) -> System {
    let names = (0..fronts).map(|number| format!("web-{number}"));
    let mut domains: Vec<_> = names.map(|name| adaptive(&name, Some("driver"))).collect();
    domains.push(adaptive("driver", Some("other")));
    domains.push(adaptive("other", None));
    let mut system = System::new(domains);
    for _ in 0..fronts {
        system.block();
    }
    for _ in 0..BUSY {
        system.pass(900_000);
        yield_now(&mut system);
    }
    assert_eq!(system.current(), Some(system.id("driver")));
    system
}

/// Where the driver says how many notifications it left out toward a front end.
fn left_out(system: &System, front: DomId) -> MachineAddress {
    let domain = system.world.domains.get(front).unwrap();
    let page = domain.directory.entries[0].page;
    let mfn = domain.address_space.built_mfn(Pfn(page)).unwrap();
    MachineAddress::in_frame(mfn, (BACK_HALF + core::mem::offset_of!(NetHalf, suppressed)) as u64)
}

/// The driver tells all front ends one after the other, another first each time, as often as waits are judged twice. How often one of them waited
/// for it to go on. When one does, `told` is called with it and the one that is told next.
fn waits(mut told: impl FnMut(&mut System, DomId, Option<DomId>)) -> usize {
    let mut system = busy(FRONTS);
    let driver = system.id("driver");
    let mut ports: Vec<_> = {
        let entries = &system.world.domains.get(driver).unwrap().directory.entries;
        entries.iter().skip(1).map(|entry| (DomId(entry.peer), entry.state_port)).collect()
    };
    assert_eq!(ports.len(), FRONTS);
    let mut waits = 0;
    for _ in 0..=2 * SAMPLE / FRONTS {
        let mut waiting = Vec::new();
        let next = ports.iter().skip(1).map(|&(next, _)| Some(next)).chain([None]);
        for (&(front, port), next) in ports.iter().zip(next) {
            send(&mut system, port);
            if system.current() == Some(driver) {
                told(&mut system, front, next);
                waiting.push(front);
            } else {
                answer(&mut system, front, driver);
            }
        }
        waits += waiting.len();
        if !waiting.is_empty() {
            yield_now(&mut system);
        }
        for front in waiting {
            let next = system.current();
            assert_eq!(next, Some(front));
            assert_eq!(system.handle_events(front).len(), 1);
            system.block();
        }
        to(&mut system, driver);
        system.check();
        ports.rotate_left(1);
    }
    waits
}

/// A front end that was let in at once has the processor; it gives it back.
fn answer(system: &mut System, front: DomId, driver: DomId) {
    assert_eq!(system.current(), Some(front));
    assert_eq!(system.handle_events(front).len(), 1);
    system.block();
    to(system, driver);
}

/// Others yield until a domain has the processor.
fn to(system: &mut System, id: DomId) {
    while system.current() != Some(id) {
        yield_now(system);
    }
}

/// The driver leaves out one notification more toward a front end.
fn leave_out(system: &mut System, front: DomId) {
    let at = left_out(system, front);
    let sum = system.machine.load(at) + 1;
    system.machine.store(at, sum);
}

#[test]
fn what_a_driver_leaves_out_while_its_target_waits_keeps_its_graces() {
    let all = waits(|system, front, _| leave_out(system, front));
    assert!(
        all > 2 * SAMPLE - SAMPLE / 8,
        "{all}: it has to tell a few before it counts as one that tells many"
    );
    let none = waits(|_, _, _| ());
    assert!(
        none < all - SAMPLE / 4,
        "{none} of {all}: waits that came to nothing are not given again for long"
    );
    let before = waits(|system, _, next| {
        if let Some(next) = next {
            leave_out(system, next);
        }
    });
    assert_eq!(before, none, "what a target was not told before it waited speaks for nothing");
}

#[test]
fn a_driver_that_serves_many_is_told_as_fast_as_one_that_serves_few() {
    let loads = |fronts: usize| {
        let mut system = busy(fronts);
        let (driver, other) = (system.id("driver"), system.id("other"));
        system.block();
        assert_eq!(system.current(), Some(other));
        let mut port = |to| crate::events::connect_pair(&mut system.world, other, to).unwrap().0.0;
        let to_fronts: Vec<_> = (0..).take(FRONTS).map(|number| port(DomId(number))).collect();
        let to_driver = port(driver);
        for port in to_fronts.into_iter().cycle().take(SAMPLE) {
            send(&mut system, port);
            if system.current() == Some(other) {
                break;
            }
            let front = system.current().unwrap();
            system.handle_events(front);
            system.block();
        }
        assert_eq!(system.current(), Some(other), "it tells many and may go on");
        let before = system.machine.loads.get();
        send(&mut system, to_driver);
        assert_eq!(system.world.scheduler.waits_for(driver), Some(other));
        yield_now(&mut system);
        yield_now(&mut system);
        assert_eq!(system.current(), Some(driver));
        system.machine.loads.get() - before
    };
    assert_eq!(loads(FRONTS), loads(3 * FRONTS));
}
