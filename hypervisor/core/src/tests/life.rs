//! Births, deaths and restarts: everything comes back.

use hypercall_abi::event_channel::{BindIpi, EventChannelOp};
use hypercall_abi::extension::{Control, ControlOp, ExtensionOp};
use hypercall_abi::sched::{SchedOp, Shutdown, ShutdownReason};
use hypercall_abi::start_info::StartInfo;
use hypercall_abi::{DomId, Errno, Hypercall};

use super::system::{System, domain};
use crate::config::{Domain, OnCrash};
use crate::control;
use crate::effects::Todo;
use crate::life::{FIRST_WAIT_NS, LONG_LIFE_NS, WAIT_MAX_NS};
use crate::records::Records;
use crate::testing::PAGES;
use crate::time::Time;

fn shut_down(system: &mut System, reason: ShutdownReason) {
    let _ = system.with(Hypercall::SchedOp, SchedOp::Shutdown.raw(), &Shutdown { reason: reason.raw() });
}

/// A domain that is built again after a crash.
fn lasting(name: &str) -> Domain {
    Domain { on_crash: OnCrash::Restart, ..domain(name) }
}

/// Has a domain crash after so many ns of life; ns until it is there again.
fn wait_after(system: &mut System, name: &str, life_ns: u64, reason: ShutdownReason) -> u64 {
    system.pass(life_ns);
    while system.current() != Some(system.id(name)) {
        system.hypercall(Hypercall::SchedOp, [0; 5]).unwrap();
    }
    let died = system.machine.now;
    shut_down(system, reason);
    system.check();
    while system.world.living(name).is_none() {
        assert_ne!(system.world.next_deadline(), Time::NEVER, "nobody waits");
        system.pass(1_000_000);
    }
    system.machine.now.since(died)
}

#[test]
fn who_dies_young_again_and_again_waits_longer_each_time_up_to_a_second() {
    for reason in [ShutdownReason::Crash, ShutdownReason::Reboot] {
        let mut system = System::new(alloc::vec![lasting("a"), domain("b")]);
        let free = system.world.frames.free_frames();
        let mut expected = u64::from(FIRST_WAIT_NS);
        for _ in 0..10 {
            let waited = wait_after(&mut system, "a", 1000, reason);
            assert!((expected..=expected + 1_000_000).contains(&waited), "{waited} ns, not {expected}");
            expected = (2 * expected).min(WAIT_MAX_NS.into());
            assert_eq!(system.world.frames.free_frames(), free);
        }
        let lines = system.output.lines().filter(|line| line.contains("\"a\"") || line.contains("@audit"));
        assert_eq!(lines.count(), 1 + 10 * 5, "{}", system.output);
        // A long life, and all is as at the beginning.
        assert_eq!(wait_after(&mut system, "a", LONG_LIFE_NS, reason), 0);
        assert_eq!(wait_after(&mut system, "a", LONG_LIFE_NS, reason), 0);
        let waited = wait_after(&mut system, "a", 1000, reason);
        assert!((10_000_000..=11_000_000).contains(&waited), "{waited} ns");
        system.check();
    }
}

#[test]
fn a_domain_that_waits_is_no_burden_and_keeps_nothing() {
    let mut system = System::new(alloc::vec![lasting("a"), domain("b")]);
    let free = system.world.frames.free_frames();
    shut_down(&mut system, ShutdownReason::Crash);
    assert_eq!((system.world.living("a"), system.current()), (None, Some(system.id("b"))));
    assert_eq!(system.world.frames.free_frames(), free + PAGES, "its memory is back meanwhile");
    assert!(!system.world.life.is_busy() && system.world.is_quiet(&system.machine), "others run as ever");
    assert!(system.output.contains(r#"{"id":null,"name":"a","state":"waiting","reason":"lived "#));
    // Nobody is left to run, and it comes all the same.
    system.block();
    assert_eq!(system.current(), None);
    let due = system.world.next_deadline();
    assert!(due != Time::NEVER && due > system.machine.now);
    system.pass(due.since(system.machine.now));
    assert_eq!(system.current(), system.world.living("a"));
    system.check();
}

#[test]
fn a_domain_that_waits_can_be_destroyed_and_the_end_waits_for_nobody() {
    let mut system = System::new(alloc::vec![lasting("a"), domain("b")]);
    shut_down(&mut system, ShutdownReason::Crash);
    control::command(&mut system.world, &mut system.machine, "destroy a");
    system.settle();
    assert!(system.output.contains(r#""name":"a","state":"dead","reason":"destroyed""#), "{}", system.output);
    assert!(system.output.contains("@ok"), "{}", system.output);
    system.pass(2 * u64::from(WAIT_MAX_NS));
    assert_eq!(system.world.living("a"), None);
    control::command(&mut system.world, &mut system.machine, "destroy a");
    system.settle();
    assert!(system.output.contains("no domain fits a"), "{}", system.output);

    let mut system = System::new(alloc::vec![lasting("a"), domain("b")]);
    shut_down(&mut system, ShutdownReason::Crash);
    control::command(&mut system.world, &mut system.machine, "poweroff");
    system.settle();
    assert!(system.todo.contains(Todo::POWEROFF));
}

#[test]
fn a_dead_domain_gives_everything_back() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let free = system.world.frames.free_frames();
    shut_down(&mut system, ShutdownReason::Poweroff);
    assert_eq!(system.world.frames.free_frames(), free + PAGES);
    assert_eq!(system.world.domains.len(), 1);
    assert!(system.output.contains(r#""name":"a","state":"dead","reason":"poweroff""#), "{}", system.output);
    assert!(system.output.contains(r#"@audit {"ok":true"#), "{}", system.output);
    system.check();
}

#[test]
fn free_memory_is_the_same_before_and_after_a_hundred_creations() {
    let again = Domain { on_crash: OnCrash::Restart, ..domain("a") };
    let mut system = System::new(alloc::vec![again, domain("b")]);
    let free = system.world.frames.free_frames();
    for _ in 0..100 {
        while system.current() != Some(system.id("a")) {
            system.hypercall(Hypercall::SchedOp, [0; 5]).unwrap();
        }
        shut_down(&mut system, ShutdownReason::Crash);
        system.outwait();
        assert_eq!(system.world.frames.free_frames(), free);
    }
    system.check();
}

#[test]
fn a_crash_is_answered_as_configured() {
    for (on_crash, living, end) in
        [(OnCrash::Destroy, false, false), (OnCrash::Restart, true, false), (OnCrash::Poweroff, false, true)]
    {
        let mut system = System::new(alloc::vec![Domain { on_crash, ..domain("a") }, domain("b")]);
        shut_down(&mut system, ShutdownReason::Crash);
        system.outwait();
        assert_eq!(system.world.living("a").is_some(), living, "{on_crash:?}");
        assert_eq!(system.todo.contains(Todo::POWEROFF), end, "{on_crash:?}");
        system.check();
    }
}

#[test]
fn a_reboot_starts_the_domain_again_and_a_poweroff_does_not() {
    for (reason, living) in [(ShutdownReason::Reboot, true), (ShutdownReason::Poweroff, false)] {
        let again = Domain { on_crash: OnCrash::Restart, ..domain("a") };
        let mut system = System::new(alloc::vec![again]);
        let before = system.id("a");
        shut_down(&mut system, reason);
        system.outwait();
        assert_eq!(system.world.living("a").is_some_and(|id| id != before), living);
    }
}

#[test]
fn a_domain_that_is_built_again_is_told_how_often() {
    let again = Domain { on_crash: OnCrash::Restart, command_line: "seed=7".into(), ..domain("a") };
    let mut system = System::new(alloc::vec![again]);
    for expected in ["seed=7", "seed=7 incarnation=1", "seed=7 incarnation=2"] {
        let info: StartInfo = system.peek(system.id("a"), system.regs.rsi);
        let text = core::str::from_utf8(&info.cmd_line).unwrap().trim_end_matches('\0');
        assert_eq!(text, expected);
        shut_down(&mut system, ShutdownReason::Crash);
        system.outwait();
    }
}

#[test]
fn a_bad_image_is_named_and_the_others_start() {
    let missing = Domain { image: "guests/none".into(), ..domain("a") };
    let small = Domain { memory_bytes: 4 << 12, ..domain("b") };
    let ring = Domain { ring: 2, ..domain("c") };
    let system = System::new(alloc::vec![missing, small, ring, domain("d")]);
    for text in [
        "a not started: no image guests/none",
        "b not started: guests/test ",
        "c not started: ring = 2: a kernel cannot run there",
        r#""name":"d","state":"running""#,
    ] {
        assert!(system.output.contains(text), "{text} in {}", system.output);
    }
    assert_eq!(system.world.domains.len(), 1);
    system.check();
}

#[test]
fn an_unknown_reason_is_refused() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let shutdown = Shutdown { reason: 99 };
    assert_eq!(system.with(Hypercall::SchedOp, SchedOp::Shutdown.raw(), &shutdown), Err(Errno::Inval));
    assert!(system.world.living("a").is_some());
}

#[test]
fn commands_are_answered_by_exactly_one_line() {
    let mut system = System::new(alloc::vec![domain("web-1"), domain("web-2")]);
    for (command, kind) in [
        ("delivery * batched 4 100", "@ok"),
        ("delivery web-* synchronous", "@ok"),
        ("delivery web-* adaptive", "@ok"),
        ("delivery nobody batched", "@error"),
        ("delivery * sometimes", "@error"),
        ("delivery * batched x", "@error"),
        ("delivery * batched 1 9999999", "@error"),
        ("snapshot before", "@snapshot"),
        ("trace on", "@ok"),
        ("trace off", "@ok"),
        ("crash nobody", "@error"),
        ("list", "@list"),
        ("audit", "@audit"),
        ("nonsense \"quoted\"", "@error"),
        ("poweroff", "@ok"),
    ] {
        system.output.clear();
        for byte in command.bytes().chain([b'\n']) {
            system.world.serial_input(&mut system.machine, byte);
        }
        system.settle();
        let lines: alloc::vec::Vec<_> = system.output.lines().collect();
        assert_eq!(lines.len(), 1, "{command}: {lines:?}");
        assert!(lines[0].starts_with(kind), "{command}: {lines:?}");
        let json = lines[0].split_once(' ').unwrap().1;
        assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
    }
    assert!(system.todo.contains(Todo::POWEROFF));
}

#[test]
fn a_brief_snapshot_adds_up_the_domains_of_an_image() {
    let ruler = Domain { control: true, ..domain("ruler") };
    let mut system = System::new(alloc::vec![ruler, domain("web-1"), domain("web-2")]);
    system.output.clear();
    let control = Control { op: ControlOp::Snapshot.raw(), domid: DomId::INVALID.0, pad: 0, args: [7, 1, 0] };
    system.with(Hypercall::Extension, ExtensionOp::Control.raw(), &control).unwrap();
    let json = system.output.trim().strip_prefix("@snapshot ").unwrap();
    let snapshot: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(snapshot["label"], "7");
    let images = snapshot["images"].as_array().unwrap();
    assert_eq!(images.len(), 1, "all three are of one image");
    assert_eq!((&images[0]["domains"], &images[0]["frames"]), (&3.into(), &(3 * 256).into()));
    assert_eq!(images[0]["hypercalls"]["extension"], 1);
}

#[test]
fn destroying_a_domain_spares_the_others() {
    let mut system = System::new(alloc::vec![domain("web-1"), domain("web-2"), domain("driver")]);
    crate::control::command(&mut system.world, &mut system.machine, "destroy web-*");
    system.settle();
    assert_eq!(system.current(), Some(system.id("driver")));
    assert_eq!(system.world.domains.len(), 1);
    system.check();
}

#[test]
fn a_domain_that_is_crashed_on_command_is_built_again_as_after_any_crash() {
    let mut system = System::new(alloc::vec![lasting("driver"), domain("web-1")]);
    // However often, it need not wait: that is for who commands.
    for _ in 0..20 {
        let before = system.id("driver");
        control::command(&mut system.world, &mut system.machine, "crash driver");
        system.settle();
        assert_ne!(system.id("driver"), before);
        assert_eq!(system.world.domains.len(), 2);
        system.check();
    }
}

#[test]
fn the_records_of_a_small_guest_take_at_most_four_kib() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    for _ in 0..8 {
        let bind = BindIpi { vcpu: 0, port: 0 };
        system.with(Hypercall::EventChannelOp, EventChannelOp::BindIpi.raw(), &bind).unwrap();
    }
    let [a, b] = ["a", "b"].map(|name| Records::of(system.world.domains.get(system.id(name)).unwrap()));
    assert!(a.total() > b.total() && a.total() <= 4096, "{} bytes: {a:?}", a.total());
    assert_eq!(Records::sum(system.world.domains.iter()).total(), a.total() + b.total());
}
