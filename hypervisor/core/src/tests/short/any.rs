//! Any sequence of what a guest can do, by the short ways and by the long ones.

use alloc::format;
use alloc::vec;

use hypercall_abi::sched::SchedOp;
use hypercall_abi::trap::{IRET_IN_SYSCALL, IretContext, Vector};
use hypercall_abi::{Hypercall, layout};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::super::system::{SCRATCH, System};
use super::{STACK, system};
use crate::events::SEND;
use crate::guest_access;
use crate::registers::rflags;
use crate::testing::BASE;
use crate::vcpu::Mode;

#[derive(Clone, Debug)]
enum Act {
    Send { port: u32, at: u64 },
    Iret(IretContext),
    Fault { error: u32, address: u64 },
    Flags(u64),
    Pending { word: u64, mask: u64 },
    Stack(u64),
    Rflags(u64),
    Sched(SchedOp),
    Pass(u64),
    Command(&'static str),
}

fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => Just(STACK),
        2 => (0u64..0x1000).prop_map(|offset| BASE + offset),
        1 => (0u64..0x1000).prop_map(|offset| BASE + 0x1000 + offset),
        1 => prop_oneof![Just(0u64), Just(0x800), Just(layout::HYPERVISOR_START), Just(1 << 47), any::<u64>()],
    ]
}

fn context() -> impl Strategy<Value = IretContext> {
    let rip = prop_oneof![
        8 => Just(BASE + 0x2000),
        1 => Just(u64::MAX - 0xfff),
        1 => Just(layout::HYPERVISOR_START),
        1 => Just(1 << 47),
    ];
    let cs = prop_oneof![4 => Just(0xe030u64), 4 => Just(0xe031u64), 4 => Just(0xe033u64), 1 => any::<u64>()];
    let flags = prop_oneof![4 => Just(0u64), 1 => Just(IRET_IN_SYSCALL)];
    (rip, cs, flags, any::<u64>(), place(), [any::<u64>(), any::<u64>(), any::<u64>()]).prop_map(
        |(rip, cs, flags, rflags, rsp, [rax, r11, rcx])| IretContext {
            rax,
            r11,
            rcx,
            flags,
            rip,
            cs,
            rflags,
            rsp,
            ss: 0xe02b,
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let at = prop_oneof![6 => Just(SCRATCH), 4 => (0u64..16).prop_map(|bytes| SCRATCH + bytes), 1 => place()];
    prop_oneof![
        8 => (0u32..8, at).prop_map(|(port, at)| Act::Send { port, at }),
        6 => context().prop_map(Act::Iret),
        5 => (any::<u32>(), any::<u64>()).prop_map(|(error, address)| Act::Fault { error, address }),
        4 => prop_oneof![Just(0u64), Just(0x100), Just(1), 0u64..0x1_0000].prop_map(Act::Flags),
        3 => (any::<u64>(), any::<u64>()).prop_map(|(word, mask)| Act::Pending { word: word & mask, mask: mask & word }),
        3 => Just(Act::Pending { word: 0, mask: 0 }),
        4 => place().prop_map(Act::Stack),
        1 => any::<u64>().prop_map(|bits| Act::Rflags((bits & rflags::GUEST) | rflags::RESERVED | rflags::INTERRUPT)),
        4 => prop_oneof![Just(SchedOp::Yield), Just(SchedOp::Block)].prop_map(Act::Sched),
        2 => (1u64..2_000_000).prop_map(Act::Pass),
        1 => prop_oneof![
            Just("delivery * synchronous"), Just("delivery * batched 3 500"), Just("trace on"), Just("trace off"),
        ].prop_map(Act::Command),
    ]
}

/// Writes what the guest itself would, where it can.
fn write(system: &mut System, va: u64, bytes: &[u8]) {
    let me = system.current().unwrap();
    let root = system.world.domains.get(me).unwrap().vcpu.root();
    let _ = guest_access::write_bytes(&mut system.machine, &system.world.frames, root, va, bytes);
}

fn perform(system: &mut System, act: &Act) {
    let me = system.current().unwrap();
    // A process of a kernel in ring 1 cannot make hypercalls; one beside a kernel in ring 3 makes system calls.
    let vcpu = &system.world.domain(me).unwrap().vcpu;
    let makes_calls = vcpu.mode == Mode::User || !vcpu.is_user(&system.regs);
    match act {
        Act::Send { .. } | Act::Iret(_) | Act::Sched(_) if !makes_calls => {}
        Act::Send { port, at } => {
            write(system, *at, port.as_bytes());
            let _ = system.hypercall(Hypercall::EventChannelOp, [SEND, *at, 0, 0, 0]);
        }
        Act::Iret(context) => {
            let at = system.regs.rsp;
            write(system, at, context.as_bytes());
            let _ = system.hypercall(Hypercall::Iret, [0; 5]);
        }
        Act::Fault { error, address } => system.exception(Vector::PageFault.raw(), *error, *address),
        Act::Flags(word) => system.set_shared(me, 0, *word),
        Act::Pending { word, mask } => {
            system.set_shared(me, 2048, *word);
            system.set_shared(me, 2048 + 512, *mask);
        }
        Act::Stack(rsp) => system.regs.rsp = *rsp,
        Act::Rflags(bits) => system.regs.rflags = *bits,
        Act::Sched(op) => {
            let _ = system.hypercall(Hypercall::SchedOp, [u64::from(op.raw()), 0, 0, 0, 0]);
        }
        Act::Pass(ns) => system.pass(*ns),
        Act::Command(text) => {
            crate::control::command(&mut system.world, &mut system.machine, text);
            system.settle();
        }
    }
}

fn compare(ring: u8, recorded: bool, acts: &[Act]) {
    let mut short = system(ring, false);
    let mut long = system(ring, true);
    if recorded {
        perform(&mut short, &Act::Command("trace on"));
        perform(&mut long, &Act::Command("trace on"));
    }
    for act in acts {
        if short.current().is_none() {
            break;
        }
        perform(&mut short, act);
        perform(&mut long, act);
        assert_eq!(short.regs, long.regs, "{act:?}");
        assert_eq!(short.current(), long.current(), "{act:?}");
        short.check();
    }
    assert_eq!(short.output, long.output);
    assert_eq!(short.todo, long.todo);
    assert_eq!(format!("{:?}", short.world), format!("{:?}", long.world));
    assert!(short.machine.traced() == long.machine.traced(), "traces differ");
    assert!(short.machine.memory == long.machine.memory, "memory differs");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_short_way_ends_as_the_long_one_does(
        ring in prop_oneof![Just(1u8), Just(3u8)],
        recorded: bool,
        acts in prop::collection::vec(act(), 1..60),
    ) {
        compare(ring, recorded, &acts);
    }
}
