//! Domains that ask for anything in any order: the core answers, and everything that must hold still does.

use alloc::vec;
use alloc::vec::Vec;

use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::sched::SchedOp;
use hypercall_abi::{DomId, Errno, Hypercall, layout};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::system::{SCRATCH, System, domain, synchronous};
use crate::config::{Device, Domain, OnCrash};
use crate::testing::BASE;

/// Where the parts of multicalls lie.
const PARTS: u64 = SCRATCH + 0x300;

#[derive(Clone, Debug)]
enum Act {
    Hypercall { number: u64, args: [u64; 5], argument: [u64; 5] },
    Multicall { parts: Vec<(u64, [u64; 6])>, argument: [u64; 5] },
    Exception { vector: u8, error: u32, address: u64 },
    Pass(u64),
    SharedWord { offset: u64, value: u64 },
    Stack(u64),
    Command(&'static str),
}

/// Numbers that a hostile guest would try: small ones, frames, addresses, borders.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0u64..8,
        2 => 0u64..64,
        2 => 0u64..5000,
        3 => Just(SCRATCH),
        1 => (0u64..0x100).prop_map(|page| BASE + page * 4096),
        1 => (0u64..4096).prop_map(|mfn| mfn << 12),
        1 => Just(0x7ff0u64),
        1 => Just(layout::HYPERVISOR_START),
        1 => Just(BASE + 0xffc),
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ]
}

fn hypercall() -> impl Strategy<Value = Act> {
    let number = prop_oneof![
        3 => Just(u64::from(Hypercall::EventChannelOp.raw())),
        2 => Just(u64::from(Hypercall::SchedOp.raw())),
        2 => Just(u64::from(Hypercall::Extension.raw())),
        1 => Just(u64::from(Hypercall::GrantTableOp.raw())),
        1 => Just(u64::from(Hypercall::MmuextOp.raw())),
        8 => 0u64..64,
        1 => any::<u64>(),
    ];
    let pointer = prop_oneof![6 => Just(SCRATCH), 4 => word()];
    (number, word(), pointer, [word(), word(), word()], [word(), word(), word(), word(), word()]).prop_map(
        |(number, first, second, [a, b, c], argument)| Act::Hypercall {
            number,
            args: [first, second, a, b, c],
            argument,
        },
    )
}

/// A part of a multicall: anything, and most often what sleeps, ends or sets a timer.
fn part() -> impl Strategy<Value = (u64, [u64; 6])> {
    let call = |call: Hypercall| Just(u64::from(call.raw()));
    let number = prop_oneof![
        6 => call(Hypercall::SchedOp),
        3 => call(Hypercall::SetTimerOp),
        3 => call(Hypercall::VcpuOp),
        2 => call(Hypercall::Extension),
        1 => call(Hypercall::EventChannelOp),
        1 => call(Hypercall::Multicall),
        2 => 0u64..64,
    ];
    // Yield, block, shut down, poll; `idle_until` among those of the extension.
    let first = prop_oneof![6 => 0u64..4, 2 => 0u64..16, 2 => time(), 1 => word()];
    let second = prop_oneof![4 => Just(SCRATCH), 2 => time(), 2 => word()];
    (number, first, second, [word(), word(), word()])
        .prop_map(|(number, first, second, [a, b, c])| (number, [first, second, a, b, c, 0]))
}

/// Times near the beginning, where tests run, and those that never come.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0u64..50_000_000, 1 => Just(u64::MAX), 1 => Just(0)]
}

fn multicall() -> impl Strategy<Value = Act> {
    // The third word of a poll's argument is its deadline.
    let argument = ([word(), word()], time(), [word(), word()]);
    (prop::collection::vec(part(), 0..12), argument)
        .prop_map(|(parts, ([a, b], time, [c, d]))| Act::Multicall { parts, argument: [a, b, time, c, d] })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => hypercall(),
        4 => multicall(),
        1 => (0u8..22, any::<u32>(), word()).prop_map(|(vector, error, address)| Act::Exception { vector, error, address }),
        3 => (1u64..3_000_000).prop_map(Act::Pass),
        2 => ((0u64..64).prop_map(|word| word * 8), any::<u64>()).prop_map(|(offset, value)| Act::SharedWord { offset, value }),
        1 => ((256u64..384).prop_map(|word| word * 8), any::<u64>()).prop_map(|(offset, value)| Act::SharedWord { offset, value }),
        1 => word().prop_map(Act::Stack),
        1 => prop_oneof![
            Just("delivery * synchronous"), Just("delivery * batched 3 500"), Just("snapshot x"), Just("trace on"),
            Just("trace off"), Just("destroy c"),
        ].prop_map(Act::Command),
    ]
}

fn scenario() -> Vec<Domain> {
    let front = |name: &str, last| Domain {
        devices: alloc::vec![Device::NetFront {
            backend: "b".into(),
            mac: [2, 0xde, 0, 0, 0, last],
            ipv4: [10, 16, 1, last],
            prefix: 16,
            gateway: [0; 4],
            suppress: true,
        }],
        on_crash: OnCrash::Restart,
        ..domain(name)
    };
    let b = Domain { on_crash: OnCrash::Restart, ..synchronous("b") };
    let c = Domain { on_crash: OnCrash::Restart, control: true, ..domain("c") };
    alloc::vec![front("a", 1), b, c, front("d", 2)]
}

/// Wakes the system if every domain sleeps for ever.
fn rouse(system: &mut System) {
    for _ in 0..3 {
        if system.current().is_some() {
            return;
        }
        system.pass(10_000_000);
    }
    system.outwait();
    if system.current().is_none() {
        crate::control::command(&mut system.world, &mut system.machine, "destroy *");
        system.settle();
    }
}

/// Lays bytes into memory, as the guest would. The page may be anything by now, also something that cannot be written.
fn lay(system: &mut System, me: DomId, va: u64, bytes: &[u8]) {
    let root = system.world.domains.get(me).unwrap().vcpu.root();
    let (machine, frames) = (&mut system.machine, &system.world.frames);
    let _ = crate::guest_access::write_bytes(machine, frames, root, va, bytes);
}

fn perform(system: &mut System, act: &Act) {
    let me = system.current().unwrap();
    match act {
        Act::Hypercall { number, args, argument } => {
            lay(system, me, SCRATCH, argument.as_bytes());
            let _ = system.raw_hypercall(*number, *args);
        }
        Act::Multicall { parts, argument } => {
            let entry = |&(op, args): &(u64, [u64; 6])| MulticallEntry { op, result: 0, args };
            let entries: Vec<_> = parts.iter().map(entry).collect();
            lay(system, me, SCRATCH, argument.as_bytes());
            lay(system, me, PARTS, entries.as_bytes());
            let _ = system.hypercall(Hypercall::Multicall, [PARTS, entries.len() as u64, 0, 0, 0]);
        }
        Act::Exception { vector, error, address } => system.exception(*vector, *error, *address),
        Act::Pass(ns) => system.pass(*ns),
        Act::SharedWord { offset, value } => {
            system.set_shared(me, *offset, *value);
            system.settle();
        }
        Act::Stack(rsp) => system.regs.rsp = *rsp,
        Act::Command(text) => {
            crate::control::command(&mut system.world, &mut system.machine, text);
            system.settle();
        }
    }
}

fn run(acts: &[Act]) {
    let mut system = System::new(scenario());
    for act in acts {
        rouse(&mut system);
        if system.current().is_none() {
            break;
        }
        perform(&mut system, act);
        system.check();
    }
    // In the end everything comes back.
    crate::control::command(&mut system.world, &mut system.machine, "destroy *");
    system.settle();
    system.check();
    assert_eq!(system.world.domains.len(), 0);
    assert_eq!(system.world.frames.free_frames(), system.world.frames.total_frames());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_requests_breaks_an_invariant(acts in prop::collection::vec(act(), 1..120)) {
        run(&acts);
    }
}

#[test]
fn every_unknown_number_is_refused_as_such() {
    let mut system = System::new(alloc::vec![domain("a")]);
    for number in (0..128).chain([u64::MAX, 1 << 32, 1 << 31]) {
        if u32::try_from(number).ok().and_then(Hypercall::from_raw).is_none() {
            assert_eq!(system.raw_hypercall(number, [0; 5]), Err(Errno::NoSys), "{number}");
        }
    }
    assert_eq!(system.hypercall(Hypercall::SchedOp, [99, 0, 0, 0, 0]), Err(Errno::NoSys));
    let yields = u64::from(SchedOp::Yield.raw());
    assert_eq!(system.hypercall(Hypercall::SchedOp, [yields, 0, 0, 0, 0]), Ok(0));
}

#[test]
fn an_event_storm_starves_nobody() {
    use hypercall_abi::event_channel::{EventChannelOp, PortArgument};
    let mut system = System::new(alloc::vec![synchronous("a"), synchronous("b"), domain("victim")]);
    let (a, b, victim) = (system.id("a"), system.id("b"), system.id("victim"));
    let (out, into) = crate::events::connect_pair(&mut system.world, a, b).unwrap();
    let mut last_run = 0;
    let mut worst = 0;
    for _ in 0..20_000 {
        let now = system.machine.now.0;
        match system.current().unwrap() {
            me if me == victim => {
                worst = worst.max(now - last_run);
                system.pass(10_000);
                last_run = system.machine.now.0;
            }
            me => {
                let port = if me == a { out.0 } else { into.0 };
                let _ = system.handle_events(me);
                system.mask(me, false);
                let send = PortArgument { port };
                system.with(Hypercall::EventChannelOp, EventChannelOp::Send.raw(), &send).unwrap();
                system.pass(1_000);
                if system.current() == Some(me) {
                    system.block();
                }
            }
        }
    }
    let limit = 2 * 2 * 1_000_000 + 100_000;
    assert!(last_run > 0 && worst <= limit, "the victim waited {worst} ns");
}
