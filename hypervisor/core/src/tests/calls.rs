//! The small hypercalls: versions, multicalls, the console, vCPU operations, registers of the processor.

use alloc::vec::Vec;

use hypercall_abi::event_channel::{AllocUnbound, BindInterdomain, EventChannelOp};
use hypercall_abi::extension::{
    Control, ControlOp, DeliveryPolicy, DomainCounters, ExtensionOp, MAJOR, WINDOW_NS_MAX,
};
use hypercall_abi::mmu::{MmuextOp, MmuextRequest};
use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::sched::{SchedOp, Shutdown, ShutdownReason};
use hypercall_abi::trap::SegmentBase;
use hypercall_abi::vcpu::VcpuOp;
use hypercall_abi::version::{Feature, FeatureInfo, VersionOp};
use hypercall_abi::{DomId, Errno, Hypercall, layout};

use super::system::{SCRATCH, System, domain};
use crate::config::Domain;
use crate::effects::Todo;
use crate::testing::BASE;

fn part(call: Hypercall, args: [u64; 6]) -> MulticallEntry {
    MulticallEntry { op: u64::from(call.raw()), result: 77, args }
}

#[test]
fn versions_are_those_of_xen_4_17() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let version = |system: &mut System, op: VersionOp, at: u64| {
        system.hypercall(Hypercall::XenVersion, [u64::from(op.raw()), at, 0, 0, 0])
    };
    assert_eq!(version(&mut system, VersionOp::Version, 0), Ok(4 << 16 | 17));
    assert_eq!(version(&mut system, VersionOp::PageSize, 0), Ok(4096));
    version(&mut system, VersionOp::PlatformParameters, SCRATCH).unwrap();
    assert_eq!(system.peek::<u64>(a, SCRATCH), layout::HYPERVISOR_START);
    system.poke(a, SCRATCH, &FeatureInfo { submap_index: 0, submap: 0 });
    version(&mut system, VersionOp::GetFeatures, SCRATCH).unwrap();
    let features: FeatureInfo = system.peek(a, SCRATCH);
    assert_eq!(features.submap & (1 << Feature::WritablePageTables.raw()), 0);
    assert_ne!(features.submap & (1 << Feature::PaePgdirAbove4gb.raw()), 0);
    version(&mut system, VersionOp::Capabilities, SCRATCH).unwrap();
    assert!(system.peek::<[u8; 1024]>(a, SCRATCH).starts_with(b"xen-3.0-x86_64"));
    assert_eq!(version(&mut system, VersionOp::ExtraVersion, 8), Err(Errno::Fault));
    assert_eq!(system.hypercall(Hypercall::XenVersion, [99, 0, 0, 0, 0]), Err(Errno::NoSys));
}

#[test]
fn each_part_of_a_multicall_has_its_own_result() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let parts = [
        part(Hypercall::XenVersion, [0; 6]),
        part(Hypercall::XenVersion, [99, 0, 0, 0, 0, 0]),
        part(Hypercall::Multicall, [SCRATCH, 1, 0, 0, 0, 0]),
        part(Hypercall::Iret, [0; 6]),
        MulticallEntry { op: 1000, ..part(Hypercall::Iret, [0; 6]) },
    ];
    system.poke(a, SCRATCH, &parts);
    assert_eq!(system.hypercall(Hypercall::Multicall, [SCRATCH, 5, 0, 0, 0]), Ok(0));
    let parts: [MulticallEntry; 5] = system.peek(a, SCRATCH);
    let results: Vec<_> = parts.iter().map(|part| Errno::from_rax(part.result)).collect();
    let refused = [Err(Errno::NoSys), Err(Errno::Inval), Err(Errno::Inval), Err(Errno::NoSys)];
    assert_eq!(results[0], Ok(4 << 16 | 17));
    assert_eq!(results[1..], refused);
    let counters = &system.world.domains.get(a).unwrap().counters;
    assert_eq!((counters.hypercalls[17], counters.unknown), (2, 1));
}

#[test]
fn a_multicall_that_runs_off_its_memory_has_done_what_came_before() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let last = BASE + 0x1000;
    system.poke(a, last - 64, &part(Hypercall::XenVersion, [0; 6]));
    assert_eq!(system.hypercall(Hypercall::Multicall, [8, 1, 0, 0, 0]), Err(Errno::Fault));
    assert_eq!(system.hypercall(Hypercall::Multicall, [last - 64, 0, 0, 0, 0]), Ok(0));
    assert_eq!(system.hypercall(Hypercall::Multicall, [last - 64, 1, 0, 0, 0]), Ok(0));
}

#[test]
fn a_multicall_may_lie_anywhere() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let across = (SCRATCH | 0xfff) - 31;
    for at in [SCRATCH + 8, SCRATCH + 16, BASE + 0xfc0, BASE + 0xf80, SCRATCH + 4, across, across + 3] {
        system.poke(a, at, &part(Hypercall::XenVersion, [0; 6]));
        assert_eq!(system.hypercall(Hypercall::Multicall, [at, 1, 0, 0, 0]), Ok(0));
        assert_eq!(system.peek::<MulticallEntry>(a, at).result, 4 << 16 | 17, "{at:#x}");
    }
}

#[test]
fn a_multicall_ends_with_its_domain() {
    for shift in [0, 4] {
        let mut system = System::new(alloc::vec![domain("b"), domain("a")]);
        let (a, b) = (system.id("a"), system.id("b"));
        let question = AllocUnbound { dom: DomId::SELF.0, remote_dom: a.0, port: 0 };
        let alloc = EventChannelOp::AllocUnbound.raw();
        let unbound = system.with(Hypercall::EventChannelOp, alloc, &question).unwrap();
        system.block();
        assert_eq!(system.current(), Some(a));
        let (shutdown, bind, parts) = (SCRATCH, SCRATCH + 0x40, SCRATCH + 0x100 + shift);
        system.poke(a, shutdown, &Shutdown { reason: ShutdownReason::Poweroff.raw() });
        system.poke(
            a,
            bind,
            &BindInterdomain { remote_dom: b.0, remote_port: unbound.port, ..BindInterdomain::zeroed() },
        );
        let ends = part(Hypercall::SchedOp, [u64::from(SchedOp::Shutdown.raw()), shutdown, 0, 0, 0, 0]);
        let bind = [u64::from(EventChannelOp::BindInterdomain.raw()), bind, 0, 0, 0, 0];
        system.poke(a, parts, &[ends, part(Hypercall::EventChannelOp, bind)]);
        let _ = system.hypercall(Hypercall::Multicall, [parts, 2, 0, 0, 0]);
        assert!(system.world.living("a").is_none());
        system.check();
    }
}

#[test]
fn no_part_of_a_multicall_sleeps_until_a_deadline() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let op = u64::from(ExtensionOp::IdleUntil.raw());
    let sleeps = part(Hypercall::Extension, [op, 1_000_000, 0, 0, 0, 0]);
    let goes_on = part(Hypercall::Extension, [0; 6]);
    system.poke(a, SCRATCH, &[sleeps, goes_on]);
    assert_eq!(system.hypercall(Hypercall::Multicall, [SCRATCH, 2, 0, 0, 0]), Ok(0));
    system.pass(2_000_000);
    assert_eq!(Errno::from_rax(system.regs.rax), Ok(0), "the end of a sleep is no answer to a multicall");
    let parts: [MulticallEntry; 2] = system.peek(a, SCRATCH);
    assert_eq!(Errno::from_rax(parts[0].result), Err(Errno::Inval));
    assert_eq!(Errno::from_rax(parts[1].result).map(|version| version >> 16), Ok(MAJOR.into()));
}

#[test]
fn a_multicall_gives_way_after_a_part_that_took_long() {
    let flush = part(Hypercall::MmuextOp, [SCRATCH + 0x200, 40, 0, DomId::SELF.0.into(), 0, 0]);
    for (kind, done) in [(part(Hypercall::XenVersion, [0; 6]), 3), (flush, 1)] {
        let mut system = System::new(alloc::vec![domain("a")]);
        let a = system.id("a");
        let request = MmuextRequest { cmd: MmuextOp::TlbFlushLocal.raw(), ..MmuextRequest::zeroed() };
        system.poke(a, SCRATCH + 0x200, &[request; 40]);
        system.poke(a, SCRATCH, &[kind; 3]);
        // Each look at the clock finds that too much time has passed.
        system.machine.passing.set((1_000_000, 0));
        let _ = system.hypercall(Hypercall::Multicall, [SCRATCH, 3, 0, 0, 0]);
        let parts: [MulticallEntry; 3] = system.peek(a, SCRATCH);
        assert_eq!(parts.iter().filter(|part| part.result != 77).count(), done);
        if done < 3 {
            let again = (system.regs.rax, system.regs.rdi, system.regs.rsi);
            assert_eq!(
                again,
                (Hypercall::Multicall.raw().into(), SCRATCH + 64, 2),
                "the guest asks for the rest"
            );
        }
    }
}

#[test]
fn console_lines_carry_their_domains_name() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    system.poke(a, SCRATCH, b"hello\n@ok {}\nrest");
    system.output.clear();
    system.hypercall(Hypercall::ConsoleIo, [0, 17, SCRATCH, 0, 0]).unwrap();
    assert_eq!(system.output, "a| hello\na| @ok {}\n");
    assert_eq!(system.hypercall(Hypercall::ConsoleIo, [0, 17, 8, 0, 0]), Err(Errno::Fault));
    assert_eq!(system.hypercall(Hypercall::ConsoleIo, [1, 17, SCRATCH, 0, 0]), Ok(0));
    assert_eq!(system.hypercall(Hypercall::ConsoleIo, [7, 17, SCRATCH, 0, 0]), Err(Errno::NoSys));
    crate::control::command(&mut system.world, &mut system.machine, "destroy a");
    system.settle();
    assert!(system.output.contains("a| rest\n"), "the last words are not lost");
}

#[test]
fn there_is_one_vcpu() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let op = u64::from(VcpuOp::IsUp.raw());
    assert_eq!(system.hypercall(Hypercall::VcpuOp, [op, 0, 0, 0, 0]), Ok(1));
    assert_eq!(system.hypercall(Hypercall::VcpuOp, [op, 1, 0, 0, 0]), Err(Errno::NoEnt));
    assert_eq!(system.hypercall(Hypercall::VcpuOp, [99, 0, 0, 0, 0]), Err(Errno::NoSys));
}

#[test]
fn registers_of_the_processor_are_given_out_with_care() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let fs = u64::from(SegmentBase::Fs.raw());
    assert_eq!(system.hypercall(Hypercall::SetSegmentBase, [fs, BASE, 0, 0, 0]), Ok(0));
    assert!(system.todo.contains(Todo::FS));
    for base in [layout::HYPERVISOR_START, 1 << 47] {
        let result = system.hypercall(Hypercall::SetSegmentBase, [fs, base, 0, 0, 0]);
        assert_eq!(result, Err(Errno::Inval), "{base:#x}");
    }
    assert_eq!(system.hypercall(Hypercall::SetDebugreg, [7, 1, 0, 0, 0]), Err(Errno::Perm));
    assert_eq!(system.hypercall(Hypercall::SetDebugreg, [7, 0, 0, 0, 0]), Ok(0));
    assert_eq!(system.hypercall(Hypercall::GetDebugreg, [0; 5]), Ok(0));
    assert_eq!(system.hypercall(Hypercall::GetDebugreg, [4, 0, 0, 0, 0]), Err(Errno::Inval));
    assert_eq!(system.hypercall(Hypercall::SetGdt, [SCRATCH, 8, 0, 0, 0]), Err(Errno::OpNotSupp));
    assert_eq!(system.hypercall(Hypercall::SetGdt, [0; 5]), Ok(0));
    assert_eq!(system.hypercall(Hypercall::VmAssist, [0, 2, 0, 0, 0]), Err(Errno::Inval));
    assert_eq!(system.hypercall(Hypercall::SetCallbacks, [1 << 47, 0, 0, 0, 0]), Err(Errno::Inval));
}

fn extension(system: &mut System, op: ExtensionOp, at: u64) -> Result<u64, Errno> {
    system.hypercall(Hypercall::Extension, [u64::from(op.raw()), at, 0, 0, 0])
}

#[test]
fn a_guest_finds_the_extension_and_its_counters() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    assert_eq!(extension(&mut system, ExtensionOp::Version, 0).unwrap() >> 16, u64::from(MAJOR));
    extension(&mut system, ExtensionOp::Counters, SCRATCH).unwrap();
    let counters: DomainCounters = system.peek(a, SCRATCH);
    assert_eq!((counters.hypercalls, counters.frames, counters.switches), (2, 256, 1));
    assert_eq!(system.hypercall(Hypercall::Extension, [99, 0, 0, 0, 0]), Err(Errno::NoSys));
}

#[test]
fn a_bad_policy_is_refused_and_changes_nothing() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let before = system.world.domains.get(a).unwrap().delivery.policy();
    for policy in [
        DeliveryPolicy { delivery: 3, window_events: 0, window_ns: 0 },
        DeliveryPolicy { delivery: 1, window_events: 0, window_ns: WINDOW_NS_MAX + 1 },
        DeliveryPolicy { delivery: u32::MAX, window_events: 0, window_ns: 0 },
    ] {
        system.poke(a, SCRATCH, &policy);
        assert_eq!(extension(&mut system, ExtensionOp::SetDelivery, SCRATCH), Err(Errno::Inval));
    }
    assert_eq!(system.world.domains.get(a).unwrap().delivery.policy(), before);
}

#[test]
fn only_a_ruler_rules() {
    let ruler = Domain { control: true, ..domain("ruler") };
    let mut system = System::new(alloc::vec![domain("a"), ruler]);
    let (a, b) = (system.id("a"), system.id("ruler"));
    let destroy = Control { op: ControlOp::Destroy.raw(), domid: b.0, pad: 0, args: [0; 3] };
    system.poke(a, SCRATCH, &destroy);
    assert_eq!(extension(&mut system, ExtensionOp::Control, SCRATCH), Err(Errno::Perm));
    system.hypercall(Hypercall::SchedOp, [0; 5]).unwrap();
    assert_eq!(system.current(), Some(b));
    system.poke(b, SCRATCH, &Control { domid: 999, ..destroy });
    assert_eq!(extension(&mut system, ExtensionOp::Control, SCRATCH), Err(Errno::Srch));
    system.poke(b, SCRATCH, &Control { op: ControlOp::Snapshot.raw(), args: [5, 0, 0], ..destroy });
    system.output.clear();
    assert_eq!(extension(&mut system, ExtensionOp::Control, SCRATCH), Ok(0));
    assert!(system.output.starts_with(r#"@snapshot {"label":"5","#), "{}", system.output);
    system.poke(b, SCRATCH, &Control { domid: a.0, ..destroy });
    assert_eq!(extension(&mut system, ExtensionOp::Control, SCRATCH), Ok(0));
    assert!(system.world.domains.get(a).is_none());
    system.poke(b, SCRATCH, &Control { domid: DomId::SELF.0, ..destroy });
    let _ = extension(&mut system, ExtensionOp::Control, SCRATCH);
    assert!(system.world.domains.is_empty());
    system.check();
}
