//! The short ways and the long ones beside them: whatever a guest does, both end in the same.

mod any;

use alloc::vec::Vec;

use hypercall_abi::event_channel::{BindIpi, EventChannelOp};
use hypercall_abi::mmu::{MmuextOp, MmuextRequest};
use hypercall_abi::trap::{IRET_IN_SYSCALL, IretContext, SegmentBase, TrapInfo, Vector};
use hypercall_abi::{DomId, Hypercall, layout};

use super::system::{SCRATCH, System, UPCALL, domain, synchronous};
use crate::config::Domain;
use crate::control;
use crate::dispatch::Begun;
use crate::events::{SEND, connect_pair};
use crate::ring::Ring;
use crate::testing::BASE;
use crate::world::Short;

const HANDLER: u64 = BASE + 0x2010;
/// Where system calls enter.
const SYSTEM_CALL: u64 = BASE + 0x2020;
/// Where a kernel is entered from its processes, in the page of the arguments.
const KERNEL_STACK: u64 = BASE + 0xc00;
/// A stack in the page of the arguments.
const STACK: u64 = BASE + 0x800;

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
