//! The short ways and the long ones beside them: whatever a guest does, both end in the same.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use hypercall_abi::event_channel::{BindIpi, EventChannelOp};
use hypercall_abi::mmu::{MmuextOp, MmuextRequest};
use hypercall_abi::sched::SchedOp;
use hypercall_abi::trap::{IRET_IN_SYSCALL, IretContext, SegmentBase, TrapInfo, Vector};
use hypercall_abi::{DomId, Hypercall, layout};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::system::{SCRATCH, System, UPCALL, domain, synchronous};
use crate::config::Domain;
use crate::control;
use crate::dispatch::Begun;
use crate::events::{SEND, connect_pair};
use crate::guest_access;
use crate::registers::rflags;
use crate::ring::Ring;
use crate::testing::BASE;
use crate::vcpu::Mode;
use crate::world::Short;

const HANDLER: u64 = BASE + 0x2010;
/// Where system calls enter.
const SYSTEM_CALL: u64 = BASE + 0x2020;
/// Where a kernel is entered from its processes, in the page of the arguments.
const KERNEL_STACK: u64 = BASE + 0xc00;
/// A stack in the page of the arguments.
const STACK: u64 = BASE + 0x800;

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

/// Three domains that can all send to each other and themselves, with handlers and a stack.
fn system(ring: u8, long_ways: bool) -> System {
    let domains = [domain("a"), domain("b"), synchronous("c")];
    let mut system = System::new(domains.map(|domain| Domain { ring, ..domain }).into());
    system.long_ways = long_ways;
    let [a, b, c] = ["a", "b", "c"].map(|name| system.id(name));
    for (one, other) in [(a, b), (b, c), (c, a)] {
        connect_pair(&mut system.world, one, other).unwrap();
    }
    system.each(|system, _| {
        let bind = BindIpi { vcpu: 0, port: 0 };
        system.with(Hypercall::EventChannelOp, EventChannelOp::BindIpi.raw(), &bind).unwrap();
        register(system);
        system.regs.rsp = STACK;
        system.take_upcalls();
        with_processes(system);
    });
    system
}

/// A kernel with processes, which have all its memory too. One of them has a GS of its own.
fn with_processes(system: &mut System) {
    let me = system.current().unwrap();
    let c = system.id("c");
    let root = system.world.domain(me).unwrap().vcpu.kernel_root;
    if system.world.domain(me).unwrap().vcpu.ring == Ring::Three {
        let switch = MmuextRequest { cmd: MmuextOp::NewUserBaseptr.raw(), pad: 0, arg1: root.0, arg2: 0 };
        system.poke(me, SCRATCH, &switch);
        system.hypercall(Hypercall::MmuextOp, [SCRATCH, 1, 0, u64::from(DomId::SELF.0), 0]).unwrap();
    }
    system.hypercall(Hypercall::StackSwitch, [0, KERNEL_STACK, 0, 0, 0]).unwrap();
    system.hypercall(Hypercall::SetCallbacks, [UPCALL, UPCALL, SYSTEM_CALL, 0, 0]).unwrap();
    if me == c {
        system
            .hypercall(Hypercall::SetSegmentBase, [SegmentBase::GsUser.raw().into(), BASE, 0, 0, 0])
            .unwrap();
    }
}

fn register(system: &mut System) {
    let caller = system.current().unwrap();
    let vector = Vector::PageFault.raw();
    // The first one's handler masks upcalls.
    let flags = if system.id("a") == caller { 4 } else { 0 };
    let table = [
        TrapInfo { vector, flags, cs: layout::GUEST_CODE, pad: 0, address: HANDLER },
        TrapInfo { vector: 0, flags: 0, cs: 0, pad: 0, address: 0 },
    ];
    system.poke(caller, SCRATCH, &table);
    system.hypercall(Hypercall::SetTrapTable, [SCRATCH, 0, 0, 0, 0]).unwrap();
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

#[test]
fn a_page_fault_of_a_process_goes_the_short_way_in_ring_1_and_one_of_its_kernel_does_not() {
    let mut system = system(1, false);
    let me = system.current().unwrap();
    let kernel = system.world.domain(me).unwrap().vcpu.ring.kernel();
    // The page of the stack for entries is remembered.
    system.poke(me, SCRATCH, &0_u32);
    let _ = system.hypercall(Hypercall::EventChannelOp, [SEND, SCRATCH, 0, 0, 0]);
    let before = system.regs;
    let fault = |system: &mut System| {
        system.world.page_fault_in_ring1(&mut system.machine, &mut system.regs, 6, 0x1234)
    };
    assert_eq!((fault(&mut system), system.regs), (Short::No, before));

    (system.regs.cs, system.regs.ss) = (Ring::USER.code, Ring::USER.stack);
    (system.regs.rip, system.regs.rsp) = (0x7000, 0x8000);
    assert_eq!(fault(&mut system), Short::Done);
    assert_eq!((system.regs.rip, system.regs.rsp), (HANDLER, KERNEL_STACK - 64));
    assert_eq!((system.regs.cs, system.regs.ss), (kernel.code, kernel.stack));
    let frame: [u64; 8] = system.peek(me, system.regs.rsp);
    assert_eq!((frame[2], frame[3], frame[4], frame[6]), (6, 0x7000, Ring::USER.code, 0x8000));
    assert_eq!(system.shared(me, 16), 0x1234);

    // Upcalls are masked now, so a process would go the long way.
    (system.regs.cs, system.regs.ss) = (Ring::USER.code, Ring::USER.stack);
    let before = system.regs;
    assert_eq!((fault(&mut system), system.regs), (Short::No, before));
    system.check();
}

/// Takes one hypercall the short way and says what that came to.
fn begin(system: &mut System, call: Hypercall, args: [u64; 2]) -> (Begun, Short) {
    system.regs.rax = u64::from(call.raw());
    [system.regs.rdi, system.regs.rsi] = args;
    let begun = system.world.begin_hypercall(&system.machine, &mut system.regs);
    let short = match begun {
        Begun::Send(caller) => system.world.send(&mut system.machine, &mut system.regs, caller),
        Begun::Return(caller) => {
            system.world.return_from_handler(&mut system.machine, &mut system.regs, caller)
        }
        Begun::ReturnToProcess(caller) => {
            assert_eq!(
                system.world.return_to_process(&mut system.machine, &mut system.regs, caller),
                Short::No
            );
            system.world.return_from_handler(&mut system.machine, &mut system.regs, caller)
        }
        _ => Short::No,
    };
    (begun, short)
}

#[test]
fn what_is_usual_goes_the_short_way() {
    let mut system = system(3, false);
    let me = system.current().unwrap();
    let ipi = (1..8_u32)
        .find(|port| {
            let channel = system.world.domain(me).unwrap().events.get(hypercall_abi::Port(*port));
            channel == Some(crate::events::Channel::Ipi)
        })
        .unwrap();
    system.poke(me, SCRATCH, &ipi);
    let before = system.regs;
    let sent = begin(&mut system, Hypercall::EventChannelOp, [SEND, SCRATCH]);
    assert_eq!(sent, (Begun::Send(me), Short::Done));
    assert_eq!((system.regs.rip, system.regs.rax), (UPCALL, 0));
    assert_eq!(system.handle_events(me), [ipi]);

    let frame: [u64; 7] = system.peek(me, system.regs.rsp);
    let [rcx, r11, rip, cs, rflags, rsp, ss] = frame;
    system.regs.rsp -= 16;
    let context = IretContext { rax: 9, r11, rcx, flags: 0, rip, cs, rflags, rsp, ss };
    system.poke(me, system.regs.rsp, &context);
    let returned = begin(&mut system, Hypercall::Iret, [0; 2]);
    assert_eq!(returned, (Begun::ReturnToProcess(me), Short::Done));
    assert_eq!((system.regs.rip, system.regs.rsp, system.regs.rax), (before.rip, before.rsp, 9));
    assert_eq!(system.shared(me, 0) & 0xffff, 0, "upcalls are unmasked and none is due");

    let fault = system.world.page_fault(&mut system.machine, &mut system.regs, 6, 0x1234);
    assert_eq!(fault, Short::Done);
    assert_eq!((system.regs.rip, system.shared(me, 16)), (HANDLER, 0x1234));
    system.check();
}

#[test]
fn what_is_recorded_goes_short_ways_of_its_own() {
    for (category, plain) in [("hypercall", false), ("event", false), ("trap", false), ("grant", true)] {
        let mut system = system(3, false);
        for command in [alloc::format!("trace categories {category}"), "trace on".into()] {
            control::command(&mut system.world, &mut system.machine, &command);
        }
        let fault = system.world.page_fault(&mut system.machine, &mut system.regs, 6, 0x1234);
        assert_eq!(fault == Short::Done, plain, "{category}");
        let fault = system.world.recorded_page_fault(&mut system.machine, &mut system.regs, 6, 0x1234);
        assert_eq!(fault == Short::Done, !plain, "{category}");
        system.regs.rax = u64::from(Hypercall::Iret.raw());
        let begun = system.world.begin_hypercall(&system.machine, &mut system.regs);
        assert_eq!(matches!(begun, Begun::Recorded(_)), !plain, "{category}");
    }
    // What is timed goes the long way.
    let mut system = system(3, false);
    for command in ["trace longer 5", "trace on"] {
        control::command(&mut system.world, &mut system.machine, command);
    }
    system.regs.rax = u64::from(Hypercall::Iret.raw());
    assert_eq!(system.world.begin_hypercall(&system.machine, &mut system.regs), Begun::Odd);
    let fault = system.world.recorded_page_fault(&mut system.machine, &mut system.regs, 6, 0x1234);
    assert_eq!(fault, Short::No);
}

#[test]
fn an_event_for_somebody_awake_goes_the_short_way_and_one_that_wakes_does_not() {
    let mut system = system(3, false);
    let me = system.current().unwrap();
    let ports: Vec<_> = system.world.domain(me).unwrap().events.iter().collect();
    let (port, peer) = ports
        .iter()
        .find_map(|(port, channel)| match channel {
            crate::events::Channel::Interdomain { remote, .. } => Some((*port, *remote)),
            _ => None,
        })
        .unwrap();
    system.poke(me, SCRATCH, &port.0);
    let raised = |system: &System| system.world.domain(peer).unwrap().counters.raised;
    let before = raised(&system);
    assert_eq!(
        begin(&mut system, Hypercall::EventChannelOp, [SEND, SCRATCH]),
        (Begun::Send(me), Short::Done)
    );
    assert_eq!(raised(&system), before + 1);
    crate::control::command(&mut system.world, &mut system.machine, "delivery * synchronous");
    system.settle();
    assert_eq!(begin(&mut system, Hypercall::EventChannelOp, [SEND, SCRATCH]), (Begun::Send(me), Short::No));
    assert_eq!(raised(&system), before + 1, "what the short way refuses it has not begun");
}

#[test]
fn a_process_and_its_kernel_in_ring_3_call_and_return_the_short_way() {
    let mut system = system(3, false);
    let me = system.current().unwrap();
    let root = system.world.domain(me).unwrap().vcpu.kernel_root;
    let context = IretContext {
        rax: 1,
        r11: 2,
        rcx: 3,
        flags: IRET_IN_SYSCALL,
        rip: BASE + 0x2000,
        cs: 0xe033,
        rflags: 0x202,
        rsp: STACK + 0x100,
        ss: 0xe02b,
    };
    let enter = |system: &mut System| {
        system.poke(me, STACK, &context);
        system.regs.rsp = STACK;
        system.regs.rax = u64::from(Hypercall::Iret.raw());
        let begun = system.world.begin_hypercall(&system.machine, &mut system.regs);
        assert_eq!(begun, Begun::ReturnToProcess(me));
        system.machine.root = None;
        let returned = system.world.return_to_process(&mut system.machine, &mut system.regs, me);
        assert_eq!((returned, system.machine.root), (Short::Done, Some(root)));
        assert_eq!((system.regs.rip, system.regs.rsp), (context.rip, context.rsp));
        assert!(system.world.domain(me).unwrap().vcpu.is_user(&system.regs));
    };
    enter(&mut system);
    // The number of a hypercall means nothing in a process.
    system.regs.rax = u64::from(Hypercall::SchedOp.raw());
    assert_eq!(system.world.begin_hypercall(&system.machine, &mut system.regs), Begun::Process(me));
    let called = system.world.call_of_process(&mut system.machine, &mut system.regs, me);
    assert_eq!((called, system.regs.rip), (Short::Done, SYSTEM_CALL));
    let frame: [u64; 7] = system.peek(me, system.regs.rsp);
    assert_eq!((frame[2], frame[3], frame[5]), (context.rip, 0xe033, context.rsp));
    assert_eq!(system.regs.rsp, KERNEL_STACK - 56);

    enter(&mut system);
    assert_eq!(system.world.page_fault(&mut system.machine, &mut system.regs, 6, 0x1234), Short::No);
    let fault = system.world.page_fault_of_process(&mut system.machine, &mut system.regs, 6, 0x1234);
    assert_eq!((fault, system.regs.rip, system.shared(me, 16)), (Short::Done, HANDLER, 0x1234));
    assert_eq!(system.regs.rsp, KERNEL_STACK - 64);
    assert!(!system.world.domain(me).unwrap().vcpu.is_user(&system.regs));
    system.check();
}
