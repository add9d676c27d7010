//! Each declared record is written by something: one that never comes is a promise that nobody keeps.

use alloc::collections::BTreeSet;

use hypercall_abi::event_channel::{BindIpi, BindVirq, EventChannelOp, PortArgument};
use hypercall_abi::extension::{Delivery, DeliveryPolicy, ExtensionOp, GuestRecord};
use hypercall_abi::grant_table::{CopyGrant, GrantTableOp, MapGrantRef};
use hypercall_abi::mmu::pte;
use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::sched::SchedOp;
use hypercall_abi::trap::{IretContext, Vector};
use hypercall_abi::{Hypercall, Pfn};

use super::system::{SCRATCH, System, domain};
use super::trace::{command, read};
use crate::config::{Domain, OnCrash};
use crate::testing::BASE;
use crate::trace::Record;
use crate::trace::records::DESCRIPTIONS;

/// A system whose trace is read after each step, as it is a small one.
struct Traced {
    system: System,
    seen: BTreeSet<&'static str>,
}

impl Traced {
    fn new() -> Self {
        let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
        command(&mut system, "trace on");
        Self { system, seen: BTreeSet::new() }
    }

    fn step(&mut self, act: impl FnOnce(&mut System)) {
        act(&mut self.system);
        let decoded = read(&self.system);
        self.seen.extend(decoded.entries.iter().map(|entry| entry.record.name()));
    }

    fn command(&mut self, text: &str) {
        self.step(|system| command(system, text));
    }
}

fn extension(system: &mut System, op: ExtensionOp, args: [u64; 3]) {
    let [a, b, c] = args;
    system.hypercall(Hypercall::Extension, [u64::from(op.raw()), a, b, c, 0]).unwrap();
}

fn events(traced: &mut Traced) {
    let channel = Hypercall::EventChannelOp;
    traced.step(|system| {
        system.take_upcalls();
        let a = system.current().unwrap();
        let bind = BindIpi { vcpu: 0, port: 0 };
        let port = system.with(channel, EventChannelOp::BindIpi.raw(), &bind).unwrap().port;
        system.set_shared(a, 2560, 1 << port);
        system.with(channel, EventChannelOp::Send.raw(), &PortArgument { port }).unwrap();
        system.with(channel, EventChannelOp::Unmask.raw(), &PortArgument { port }).unwrap();
        let _ = system.handle_events(a);
        let context = IretContext {
            rip: BASE + 0x2000,
            cs: 0xe030,
            rflags: 0x202,
            rsp: SCRATCH,
            ..IretContext::zeroed()
        };
        system.poke(a, SCRATCH + 0x1000, &context);
        system.regs.rsp = SCRATCH + 0x1000;
        let _ = system.hypercall(Hypercall::Iret, [0; 5]);
        let policy = DeliveryPolicy { delivery: Delivery::Batched.raw(), window_events: 2, window_ns: 5000 };
        system.poke(a, SCRATCH, &policy);
        extension(system, ExtensionOp::SetDelivery, [SCRATCH, 0, 0]);
    });
    traced.step(|system| {
        let bind = BindVirq { virq: 0, vcpu: 0, port: 0 };
        system.with(channel, EventChannelOp::BindVirq.raw(), &bind).unwrap();
        let first = system.current();
        system.hypercall(Hypercall::SetTimerOp, [1_000, 0, 0, 0, 0]).unwrap();
        system.block();
        assert_ne!(system.current(), first);
        system.block();
        assert_eq!(system.current(), None);
        system.pass(100_000);
        assert_eq!(system.current(), first);
    });
}

fn memory(traced: &mut Traced) {
    traced.step(|system| {
        let a = system.current().unwrap();
        let page = system.world.domains.get(a).unwrap().address_space.built_mfn(Pfn(120)).unwrap();
        let entry = (page.0 << 12) | pte::PRESENT | pte::USER;
        system.hypercall(Hypercall::UpdateVaMapping, [BASE + 120 * 4096, entry, 0, 0, 0]).unwrap();
        system.poke(a, SCRATCH, &MapGrantRef::zeroed());
        let op = u64::from(GrantTableOp::MapGrantRef.raw());
        system.hypercall(Hypercall::GrantTableOp, [op, SCRATCH, 1, 0, 0]).unwrap();
        system.poke(a, SCRATCH, &CopyGrant::zeroed());
        let op = u64::from(GrantTableOp::Copy.raw());
        system.hypercall(Hypercall::GrantTableOp, [op, SCRATCH, 1, 0, 0]).unwrap();
        let part = MulticallEntry { op: 17, ..MulticallEntry::zeroed() };
        system.poke(a, SCRATCH, &part);
        system.hypercall(Hypercall::Multicall, [SCRATCH, 1, 0, 0, 0]).unwrap();
    });
}

fn guests_own(traced: &mut Traced) {
    traced.step(|system| {
        extension(system, ExtensionOp::TraceEmit, [1, 2, 3]);
        for record in GuestRecord::ALL {
            extension(system, ExtensionOp::TraceRecord, [u64::from(record.raw()), 1, 2]);
        }
    });
}

#[test]
fn each_declared_record_is_written_by_something() {
    let mut traced = Traced::new();
    events(&mut traced);
    memory(&mut traced);
    guests_own(&mut traced);
    traced.command("trace off");
    traced.command("trace longer 1");
    traced.command("trace on");
    traced.step(|system| {
        system.machine.passing.set((10, 0));
        system.hypercall(Hypercall::SchedOp, [u64::from(SchedOp::Yield.raw()), 0, 0, 0, 0]).unwrap();
    });
    traced.step(|system| system.exception(Vector::Breakpoint.raw(), 0, 0));
    traced.command("trace stop death");
    traced.step(|system| {
        command(system, "destroy *");
        system.settle();
    });
    traced.command("trace stop never");
    traced.command("trace on");
    let restarted = Domain { on_crash: OnCrash::Restart, ..domain("a") };
    traced.system = System::new(alloc::vec![restarted, domain("b")]);
    traced.command("trace on");
    traced.step(|system| {
        command(system, "crash a");
        system.settle();
    });
    // A device and a non-maskable interrupt take a machine: runs in the emulator see to these.
    let elsewhere = [Record::DeviceInterrupt { pirq: 0 }.name(), Record::Nmi { rip: 0 }.name()];
    let never: BTreeSet<_> = DESCRIPTIONS
        .iter()
        .map(|description| description.name)
        .filter(|name| !elsewhere.contains(name) && !traced.seen.contains(name))
        .collect();
    assert!(never.is_empty(), "declared and never written: {never:?}");
}
