//! Sleeping, waking, turns and timers, as guests see them.

use hypercall_abi::event_channel::{BindIpi, BindVirq, EventChannelOp, PortArgument, Virq};
use hypercall_abi::sched::{Poll, SchedOp};
use hypercall_abi::vcpu::{RunState, RunstateInfo, SetSingleshotTimer, VcpuOp};
use hypercall_abi::{DomId, Errno, Hypercall};
use proptest::prelude::*;

use super::system::{SCRATCH, System, UPCALL, domain};
use crate::time::Time;
use crate::timers::{Kind, Timer};

fn yield_now(system: &mut System) {
    system.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Yield.raw()), 0, 0, 0, 0]).unwrap();
}

#[test]
fn domains_take_turns_of_their_slice() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let (a, b) = (system.id("a"), system.id("b"));
    assert_eq!(system.current(), Some(a));
    system.pass(999_999);
    assert_eq!(system.current(), Some(a));
    system.pass(1);
    assert_eq!(system.current(), Some(b));
    system.pass(1_000_000);
    assert_eq!(system.current(), Some(a));
    system.check();
}

#[test]
fn many_timers_at_one_instant_are_seen_to_in_portions() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let (a, instant) = (system.id("a"), system.machine.now.after(100));
    let timers = &mut system.world.timers;
    for number in 100..400 {
        timers.admit(DomId(number)).unwrap();
        timers.set(Timer { domain: DomId(number), kind: Kind::Sleep }, instant);
    }
    system.machine.now = instant;
    for _ in 0..300_u32.div_ceil(64) {
        assert_eq!(system.world.next_deadline(), instant, "the processor's timer is set to at once");
        system.world.timer_interrupt(&mut system.machine);
        system.settle();
        // Between two portions the guest runs.
        assert_eq!(system.current(), Some(a));
    }
    assert!(system.world.next_deadline() > instant);
    system.check();
}

#[test]
fn whose_timer_it_is_pays_for_its_interrupt() {
    let looks_ns = 1_000;
    // `a` runs and `b` sleeps or waits; their next whole turns, after an interrupt by the timer of one of them.
    let turns = |owner: &str| {
        let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
        yield_now(&mut system);
        assert_eq!(system.current(), Some(system.id("b")));
        if owner == "b" {
            let _ = system.idle_until(100_000);
        } else {
            yield_now(&mut system);
            system.hypercall(Hypercall::SetTimerOp, [100_000, 0, 0, 0, 0]).unwrap();
        }
        assert_eq!(system.current(), Some(system.id("a")));
        system.machine.now = Time(100_000);
        system.machine.passing.set((looks_ns, 0));
        system.world.timer_interrupt(&mut system.machine);
        let (_, took) = system.machine.passing.replace((0, 0));
        system.machine.now = system.machine.now.after(took);
        system.settle();
        let turns = ["b", "a"].map(|name| {
            yield_now(&mut system);
            assert_eq!(system.current(), Some(system.id(name)));
            system.world.scheduler.deadline().since(system.machine.now)
        });
        (turns, took)
    };
    let ([b, a], took) = turns("b");
    assert_eq!(a, 1_000_000, "it does not pay for what interrupted it");
    assert!((1_000_000 - took..=1_000_000 - looks_ns).contains(&b), "{b} of {took}");
    assert_eq!(turns("a").0, [1_000_000; 2], "whose own timer it is has paid with the turn that it is in");
}

#[test]
fn registers_stay_with_their_domain() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    system.regs.rbx = 0xaaaa;
    yield_now(&mut system);
    assert_ne!(system.regs.rbx, 0xaaaa);
    system.regs.rbx = 0xbbbb;
    yield_now(&mut system);
    assert_eq!(system.regs.rbx, 0xaaaa);
    yield_now(&mut system);
    assert_eq!(system.regs.rbx, 0xbbbb);
}

#[test]
fn idle_until_ends_at_its_deadline_and_says_so() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let _ = system.idle_until(5_000);
    assert_eq!(system.current(), None);
    assert_eq!(system.world.next_deadline(), Time(5_000));
    system.check();
    system.pass(4_999);
    assert_eq!(system.current(), None);
    system.pass(1);
    assert_eq!((system.current(), system.regs.rax), (Some(system.id("a")), 1));
    assert_eq!(system.idle_until(4_000), Ok(1), "a deadline in the past is over at once");
    system.check();
}

#[test]
fn an_event_ends_idle_until_and_its_timer_is_gone() {
    let mut system = System::new(alloc::vec![domain("a")]);
    system.take_upcalls();
    system
        .with(
            Hypercall::EventChannelOp,
            EventChannelOp::BindVirq.raw(),
            &BindVirq { virq: 0, vcpu: 0, port: 0 },
        )
        .unwrap();
    system.hypercall(Hypercall::SetTimerOp, [1_000, 0, 0, 0, 0]).unwrap();
    let _ = system.idle_until(5_000);
    system.pass(1_000);
    assert_eq!(system.regs.rip, UPCALL);
    assert_eq!(system.world.next_deadline(), Time::NEVER);
    let a = system.id("a");
    assert_eq!(system.handle_events(a), [1]);
    system.check();
}

#[test]
fn a_timer_in_the_past_fires_at_once() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let virq = BindVirq { virq: Virq::Timer.raw(), vcpu: 0, port: 0 };
    let port = system.with(Hypercall::EventChannelOp, EventChannelOp::BindVirq.raw(), &virq).unwrap().port;
    system.pass(10_000);
    system.hypercall(Hypercall::SetTimerOp, [9_000, 0, 0, 0, 0]).unwrap();
    let a = system.id("a");
    assert_eq!(system.handle_events(a), [port]);
    let timer = SetSingleshotTimer { timeout_abs_ns: 9_000, flags: 1, pad: 0 };
    system.poke(a, SCRATCH, &timer);
    let op = u64::from(VcpuOp::SetSingleshotTimer.raw());
    assert_eq!(system.hypercall(Hypercall::VcpuOp, [op, 0, SCRATCH, 0, 0]), Err(Errno::Time));
    assert!(system.handle_events(a).is_empty(), "what is refused has changed nothing");
}

#[test]
fn a_stopped_timer_does_not_fire() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let virq = BindVirq { virq: Virq::Timer.raw(), vcpu: 0, port: 0 };
    system.with(Hypercall::EventChannelOp, EventChannelOp::BindVirq.raw(), &virq).unwrap();
    system.hypercall(Hypercall::SetTimerOp, [9_000, 0, 0, 0, 0]).unwrap();
    system.hypercall(Hypercall::SetTimerOp, [0; 5]).unwrap();
    system.pass(10_000);
    let a = system.id("a");
    assert!(system.handle_events(a).is_empty());
}

#[test]
fn polling_ends_with_its_port_although_upcalls_are_masked() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let a = system.id("a");
    let port = system
        .with(
            Hypercall::EventChannelOp,
            EventChannelOp::BindVirq.raw(),
            &BindVirq { virq: 0, vcpu: 0, port: 0 },
        )
        .unwrap()
        .port;
    let other = system
        .with(Hypercall::EventChannelOp, EventChannelOp::BindIpi.raw(), &BindIpi { vcpu: 0, port: 0 })
        .unwrap()
        .port;
    system.hypercall(Hypercall::SetTimerOp, [100_000, 0, 0, 0, 0]).unwrap();
    system.poke(a, SCRATCH + 64, &port);
    let poll = Poll { ports: SCRATCH + 64, count: 1, pad: 0, timeout_ns: 900_000 };
    let _ = system.with(Hypercall::SchedOp, SchedOp::Poll.raw(), &poll);
    assert_eq!(system.current(), Some(system.id("b")));
    system.check();
    system.pass(100_000);
    let op = u64::from(SchedOp::Block.raw());
    let _ = system.hypercall(Hypercall::SchedOp, [op, 0, 0, 0, 0]);
    assert_eq!(system.current(), Some(a));
    let send = PortArgument { port: other };
    system.with(Hypercall::EventChannelOp, EventChannelOp::Send.raw(), &send).unwrap();
    let _ = system.with(Hypercall::SchedOp, SchedOp::Poll.raw(), &poll);
    assert_eq!(system.current(), Some(a), "a pending port needs no sleep");
    system.check();
}

#[test]
fn polling_ends_at_its_timeout() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let poll = Poll { ports: 0, count: 0, pad: 0, timeout_ns: 50_000 };
    let _ = system.with(Hypercall::SchedOp, SchedOp::Poll.raw(), &poll);
    assert_eq!(system.current(), None);
    system.pass(50_000);
    assert!(system.current().is_some());
    let far = Poll { count: 129, ..poll };
    assert_eq!(system.with(Hypercall::SchedOp, SchedOp::Poll.raw(), &far), Err(Errno::Inval));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_times_of_the_run_states_add_up_to_the_time_that_passed(
        steps in prop::collection::vec((0u8..5, 1u64..2_000_000), 1..60)
    ) {
        let mut system = System::new(alloc::vec![domain("a"), domain("b"), domain("c")]);
        for (action, ns) in steps {
            if system.current().is_some() {
                match action {
                    0 => yield_now(&mut system),
                    1 => { let _ = system.idle_until(system.machine.now.0 + ns); }
                    _ => {}
                }
            }
            system.pass(ns);
            let now = system.machine.now;
            for domain in system.world.domains.iter() {
                let total: u64 = domain.vcpu.times.spent_at(now).iter().sum();
                prop_assert_eq!(total, now.0, "{}", domain.name);
            }
            let ran: u64 = system.world.domains.iter().map(|domain| domain.vcpu.times.spent_at(now)[0]).sum();
            prop_assert_eq!(ran + system.world.idle_ns_at(now), now.0);
            system.check();
        }
        if system.current().is_some() {
            let me = system.current().unwrap();
            let op = u64::from(VcpuOp::GetRunstateInfo.raw());
            system.hypercall(Hypercall::VcpuOp, [op, 0, SCRATCH, 0, 0]).unwrap();
            let info: RunstateInfo = system.peek(me, SCRATCH);
            prop_assert_eq!(info.state, RunState::Running.raw());
            prop_assert_eq!(info.time.iter().sum::<u64>(), system.machine.now.0);
        }
    }
}
