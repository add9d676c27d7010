//! Events: connected, raised, masked, delivered by either policy, never lost and never made up.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hypercall_abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, EventChannelOp, PortArgument, PortState,
    Reset, Status,
};
use hypercall_abi::extension::{Delivery, DeliveryPolicy, ExtensionOp};
use hypercall_abi::sched::SchedOp;
use hypercall_abi::{DomId, Errno, Hypercall};
use proptest::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::system::{SCRATCH, System, UPCALL, domain, synchronous};

fn op<T: FromBytes + IntoBytes + Immutable>(
    system: &mut System,
    op: EventChannelOp,
    argument: &T,
) -> Result<T, Errno> {
    system.with(Hypercall::EventChannelOp, op.raw(), argument)
}

fn send(system: &mut System, port: u32) -> Result<PortArgument, Errno> {
    op(system, EventChannelOp::Send, &PortArgument { port })
}

fn ipi(system: &mut System) -> u32 {
    op(system, EventChannelOp::BindIpi, &BindIpi { vcpu: 0, port: 0 }).unwrap().port
}

fn yield_now(system: &mut System) {
    system.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Yield.raw()), 0, 0, 0, 0]).unwrap();
}

/// Connects the current domain and the one that comes after it; leaves the latter current. The ports of both.
fn connect(system: &mut System) -> (u32, u32) {
    let first = system.current().unwrap();
    let unbound = AllocUnbound { dom: DomId::SELF.0, remote_dom: 1, port: 0 };
    let port = op(system, EventChannelOp::AllocUnbound, &unbound).unwrap().port;
    yield_now(system);
    let bind = BindInterdomain { remote_dom: first.0, pad: 0, remote_port: port, local_port: 0 };
    let bound = op(system, EventChannelOp::BindInterdomain, &bind).unwrap();
    (port, bound.local_port)
}

#[test]
fn an_event_to_oneself_enters_the_upcall_handler() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let port = ipi(&mut system);
    system.take_upcalls();
    let before = system.regs;
    send(&mut system, port).unwrap();
    assert_eq!(system.regs.rip, UPCALL);
    assert_eq!(system.shared(a, 0) >> 8 & 0xff, 1, "upcalls are masked in the handler");
    let frame: [u64; 7] = system.peek(a, system.regs.rsp);
    assert_eq!(frame[2], before.rip);
    assert_eq!(frame[3], 0xe030, "the kernel, upcalls unmasked");
    assert_eq!(frame[5], before.rsp);
    assert_eq!(system.handle_events(a), [port]);
    assert!(system.handle_events(a).is_empty());
    let counters = &system.world.domains.get(a).unwrap().counters;
    assert_eq!((counters.raised, counters.merged, counters.upcalls), (1, 0, 1));
}

#[test]
fn a_masked_port_stays_pending_and_is_announced_when_it_is_unmasked() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let port = ipi(&mut system);
    system.take_upcalls();
    system.set_shared(a, 2560, 1 << port);
    send(&mut system, port).unwrap();
    send(&mut system, port).unwrap();
    assert_ne!(system.regs.rip, UPCALL);
    assert_eq!(system.shared(a, 8), 0);
    assert_eq!(system.world.domains.get(a).unwrap().counters.merged, 1);
    op(&mut system, EventChannelOp::Unmask, &PortArgument { port }).unwrap();
    assert_eq!(system.regs.rip, UPCALL);
    assert_eq!(system.handle_events(a), [port]);
}

#[test]
fn what_was_sent_before_the_peer_connected_arrives_and_nothing_else_does() {
    for sends in [0, 1, 3] {
        let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
        let (a, b) = (system.id("a"), system.id("b"));
        let unbound = AllocUnbound { dom: DomId::SELF.0, remote_dom: b.0, port: 0 };
        let port = op(&mut system, EventChannelOp::AllocUnbound, &unbound).unwrap().port;
        for _ in 0..sends {
            send(&mut system, port).unwrap();
        }
        yield_now(&mut system);
        let bind = BindInterdomain { remote_dom: a.0, pad: 0, remote_port: port, local_port: 0 };
        let local = op(&mut system, EventChannelOp::BindInterdomain, &bind).unwrap().local_port;
        let expected = if sends > 0 { alloc::vec![local] } else { Vec::new() };
        assert_eq!(system.handle_events(b), expected);
        system.check();
    }
}

#[test]
fn closing_one_end_leaves_the_other_waiting_for_the_same_domain() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let (a, b) = (system.id("a"), system.id("b"));
    let (port, local) = connect(&mut system);
    op(&mut system, EventChannelOp::Close, &PortArgument { port: local }).unwrap();
    assert_eq!(op(&mut system, EventChannelOp::Close, &PortArgument { port: local }), Err(Errno::Inval));
    yield_now(&mut system);
    assert_eq!(system.current(), Some(a));
    let status = Status { dom: DomId::SELF.0, port, ..Status::zeroed() };
    let status = op(&mut system, EventChannelOp::Status, &status).unwrap();
    assert_eq!((status.status, status.peer), (PortState::Unbound.raw(), u32::from(b.0)));
    system.check();
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let b = system.id("b");
    assert_eq!(send(&mut system, 0), Err(Errno::Inval));
    assert_eq!(send(&mut system, 5), Err(Errno::Inval));
    assert_eq!(send(&mut system, u32::MAX), Err(Errno::Inval));
    let virq = BindVirq { virq: 0, vcpu: 0, port: 0 };
    op(&mut system, EventChannelOp::BindVirq, &virq).unwrap();
    assert_eq!(op(&mut system, EventChannelOp::BindVirq, &virq), Err(Errno::Exist));
    assert_eq!(op(&mut system, EventChannelOp::BindVirq, &BindVirq { virq: 99, ..virq }), Err(Errno::Inval));
    assert_eq!(
        op(&mut system, EventChannelOp::BindVirq, &BindVirq { virq: 2, vcpu: 1, port: 0 }),
        Err(Errno::NoEnt)
    );
    assert_eq!(op(&mut system, EventChannelOp::BindVcpu, &BindVcpu { port: 1, vcpu: 0 }), Err(Errno::Inval));
    assert_eq!(op(&mut system, EventChannelOp::Reset, &Reset { dom: b.0 }), Err(Errno::Perm));
    assert_eq!(op(&mut system, EventChannelOp::Reset, &Reset { dom: 77 }), Err(Errno::Srch));
    let bind = BindInterdomain { remote_dom: b.0, pad: 0, remote_port: 1, local_port: 0 };
    assert_eq!(op(&mut system, EventChannelOp::BindInterdomain, &bind), Err(Errno::Inval));
    assert_eq!(system.hypercall(Hypercall::EventChannelOp, [4, 8, 0, 0, 0]), Err(Errno::Fault));
    assert_eq!(system.hypercall(Hypercall::EventChannelOp, [99, SCRATCH, 0, 0, 0]), Err(Errno::NoSys));
    let ports = system.world.domains.get(system.current().unwrap()).unwrap().events.iter().count();
    assert_eq!(ports, 1);
    op(&mut system, EventChannelOp::Reset, &Reset { dom: DomId::SELF.0 }).unwrap();
    system.check();
}

#[test]
fn synchronous_delivery_switches_to_the_target_at_once() {
    let mut system = System::new(alloc::vec![domain("a"), synchronous("b"), domain("c")]);
    let (a, b) = (system.id("a"), system.id("b"));
    let (port, local) = connect(&mut system);
    system.take_upcalls();
    system.block();
    yield_now(&mut system);
    assert_eq!(system.current(), Some(a));
    system.pass(300_000);
    send(&mut system, port).unwrap();
    assert_eq!((system.current(), system.regs.rip), (Some(b), UPCALL));
    assert_eq!(system.handle_events(b), [local]);
    system.mask(b, false);
    system.pass(200_000);
    system.block();
    assert_eq!(system.current(), Some(a), "the preempted domain was at the head of the queue");
    system.pass(699_999);
    assert_eq!(system.current(), Some(a), "and has kept its slice");
    system.pass(1);
    assert_ne!(system.current(), Some(a));
    system.check();
}

#[test]
fn batched_delivery_does_not_jump_the_queue() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b"), domain("c")]);
    let (a, b, c) = (system.id("a"), system.id("b"), system.id("c"));
    let (port, local) = connect(&mut system);
    system.take_upcalls();
    system.block();
    yield_now(&mut system);
    assert_eq!(system.current(), Some(a));
    for _ in 0..5 {
        send(&mut system, port).unwrap();
        assert_eq!(system.current(), Some(a));
    }
    system.pass(1_000_000);
    assert_eq!(system.current(), Some(c));
    system.pass(1_000_000);
    assert_eq!((system.current(), system.regs.rip), (Some(b), UPCALL));
    assert_eq!(system.handle_events(b), [local]);
    let counters = &system.world.domains.get(b).unwrap().counters;
    assert_eq!((counters.raised, counters.merged, counters.upcalls), (5, 4, 1));
}

fn window(system: &mut System, events: u32, ns: u64) {
    let policy = DeliveryPolicy { delivery: Delivery::Batched.raw(), window_events: events, window_ns: ns };
    let caller = system.current().unwrap();
    system.poke(caller, SCRATCH, &policy);
    let op = u64::from(ExtensionOp::SetDelivery.raw());
    system.hypercall(Hypercall::Extension, [op, SCRATCH, 0, 0, 0]).unwrap();
}

#[test]
fn a_window_ends_with_its_count_of_events() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let (a, b) = (system.id("a"), system.id("b"));
    let (port, _) = connect(&mut system);
    system.take_upcalls();
    window(&mut system, 3, 900_000);
    system.block();
    assert_eq!(system.current(), Some(a));
    for asleep in [true, true, false] {
        send(&mut system, port).unwrap();
        assert_eq!(system.world.scheduler.is_awake(b), !asleep);
        system.check();
    }
}

#[test]
fn a_window_ends_with_its_time() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let b = system.id("b");
    let (port, _) = connect(&mut system);
    system.take_upcalls();
    window(&mut system, 100, 400_000);
    system.block();
    send(&mut system, port).unwrap();
    system.pass(399_999);
    assert!(!system.world.scheduler.is_awake(b));
    system.check();
    system.pass(1);
    assert!(system.world.scheduler.is_awake(b));
    system.check();
}

#[test]
fn a_new_policy_does_not_leave_gathered_events_behind() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let b = system.id("b");
    let (port, _) = connect(&mut system);
    system.take_upcalls();
    window(&mut system, 100, 400_000_000);
    system.block();
    send(&mut system, port).unwrap();
    assert!(!system.world.scheduler.is_awake(b));
    crate::control::command(&mut system.world, &mut system.machine, "delivery b synchronous");
    system.settle();
    assert_eq!((system.current(), system.regs.rip), (Some(b), UPCALL));
    system.check();
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Send(usize),
    MaskPort(usize, bool),
    MaskUpcalls(bool),
    Handle,
    Block,
    Idle(u64),
    Timer(u64),
    Yield,
    Pass(u64),
    Policy(u32, u32, u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0usize..6).prop_map(Action::Send),
        2 => (0usize..6, any::<bool>()).prop_map(|(port, masked)| Action::MaskPort(port, masked)),
        2 => any::<bool>().prop_map(Action::MaskUpcalls),
        4 => Just(Action::Handle),
        3 => Just(Action::Block),
        2 => (1u64..3_000_000).prop_map(Action::Idle),
        2 => (1u64..3_000_000).prop_map(Action::Timer),
        2 => Just(Action::Yield),
        3 => (1u64..2_000_000).prop_map(Action::Pass),
        2 => (0u32..2, 0u32..6, 0u64..2_000_000).prop_map(|(policy, events, ns)| Action::Policy(policy, events, ns)),
    ]
}

/// For each port of each domain, whether it is raised and not yet handled.
type Model = BTreeSet<(DomId, u32)>;

fn pending(system: &System, id: DomId) -> BTreeSet<(DomId, u32)> {
    (0..64).filter(|port| system.shared(id, 2048) & (1 << port) != 0).map(|port| (id, port)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_raised_event_is_delivered_or_pending(actions in prop::collection::vec(action(), 1..150)) {
        let mut system = System::new(alloc::vec![synchronous("a"), domain("b"), domain("c")]);
        let ids = [system.id("a"), system.id("b"), system.id("c")];
        let mut model = Model::new();
        // Ports 1 to 3 of each: to itself, to the next, from the one before; 4: timer.
        let mut routes = Vec::new();
        system.each(|system, id| {
            assert_eq!(ipi(system), 1);
            system.take_upcalls();
            routes.push((id, 1, id, 1));
        });
        for step in 0..3 {
            let (one, other) = (ids[step], ids[(step + 1) % 3]);
            let (out, into) = crate::events::connect_pair(&mut system.world, one, other).unwrap();
            routes.push((one, out.0, other, into.0));
            routes.push((other, into.0, one, out.0));
        }
        let mut timers = [0; 3];
        system.each(|system, id| {
            let virq = BindVirq { virq: 0, vcpu: 0, port: 0 };
            timers[usize::from(id.0)] = op(system, EventChannelOp::BindVirq, &virq).unwrap().port;
        });
        for action in actions {
            let Some(me) = system.current() else {
                // All sleep. Wake one as its timer would, so that the sequence goes on.
                system.pass(5_000_000);
                if system.current().is_none() {
                    crate::events::raise_virq(
                        &mut system.world, &mut system.machine, ids[0], hypercall_abi::event_channel::Virq::Timer,
                    );
                    system.settle();
                    model.insert((ids[0], timers[0]));
                }
                for id in ids {
                    model.extend(pending(&system, id).into_iter().filter(|(_, port)| timers[usize::from(id.0)] == *port));
                }
                continue;
            };
            let mine: Vec<_> = routes.iter().copied().filter(|route| route.0 == me).collect();
            match action {
                Action::Send(which) => {
                    let (_, port, to, there) = mine[which % mine.len()];
                    send(&mut system, port).unwrap();
                    model.insert((to, there));
                }
                Action::MaskPort(which, masked) => {
                    let (_, port, _, _) = mine[which % mine.len()];
                    if masked {
                        let mask = system.shared(me, 2560) | (1 << port);
                        system.set_shared(me, 2560, mask);
                    } else {
                        op(&mut system, EventChannelOp::Unmask, &PortArgument { port }).unwrap();
                    }
                }
                Action::MaskUpcalls(masked) => {
                    system.mask(me, masked);
                    system.settle();
                }
                Action::Handle => {
                    for port in system.handle_events(me) {
                        prop_assert!(model.remove(&(me, port)), "port {} was made up", port);
                    }
                }
                Action::Block => system.block(),
                Action::Idle(ns) => { let _ = system.idle_until(system.machine.now.0 + ns); }
                Action::Timer(ns) => {
                    let at = system.machine.now.0 + ns;
                    system.hypercall(Hypercall::SetTimerOp, [at, 0, 0, 0, 0]).unwrap();
                }
                Action::Yield => yield_now(&mut system),
                Action::Pass(ns) => system.pass(ns),
                Action::Policy(delivery, window_events, window_ns) => {
                    let policy = DeliveryPolicy { delivery, window_events, window_ns };
                    system.poke(me, SCRATCH, &policy);
                    let op = u64::from(ExtensionOp::SetDelivery.raw());
                    system.hypercall(Hypercall::Extension, [op, SCRATCH, 0, 0, 0]).unwrap();
                }
            }
            let mut all = Model::new();
            for id in ids {
                let timer = (id, timers[usize::from(id.0)]);
                let now = pending(&system, id);
                if now.contains(&timer) {
                    model.insert(timer);
                }
                all.extend(now);
            }
            prop_assert_eq!(&all, &model, "pending bits against what was raised, after {:?}", action);
            system.check();
        }
        for domain in system.world.domains.iter() {
            prop_assert!(domain.counters.merged <= domain.counters.raised);
        }
    }
}
