//! Kernels in ring 1: what their roots show, how they are entered, left, and told from their processes.

use hypercall_abi::mmu::pte;
use hypercall_abi::trap::{CallbackRegister, IretContext, TrapInfo, Vector};
use hypercall_abi::{Hypercall, layout};

use super::system::{SCRATCH, System, domain};
use crate::config::Domain;
use crate::effects::Todo;
use crate::memory::{MachineAddress, MachineMemory};
use crate::registers::rflags;
use crate::ring::{RING1_CODE, RING1_DATA, Ring, SYSTEM_CALL_VECTOR};
use crate::testing::{BASE, RING1_SLOTS};

const HANDLER: u64 = BASE + 0x2010;
const KERNEL_STACK: u64 = BASE + 0x1000;
const USER_STACK: u64 = BASE + 0x800;

fn system() -> System {
    let mut system = System::new(alloc::vec![Domain { ring: 1, ..domain("a") }]);
    system.mask(system.id("a"), false);
    system.hypercall(Hypercall::StackSwitch, [0, KERNEL_STACK, 0, 0, 0]).unwrap();
    system
}

fn register(system: &mut System, vector: u8, flags: u8) {
    let caller = system.current().unwrap();
    let table = [
        TrapInfo { vector, flags, cs: layout::GUEST_CODE, pad: 0, address: HANDLER },
        TrapInfo { vector: 0, flags: 0, cs: 0, pad: 0, address: 0 },
    ];
    system.poke(caller, SCRATCH, &table);
    system.hypercall(Hypercall::SetTrapTable, [SCRATCH, 0, 0, 0, 0]).unwrap();
}

/// Goes to a process as its kernel does: by its own `iretq`.
fn enter_process(system: &mut System) {
    (system.regs.cs, system.regs.ss) = (Ring::USER.code, Ring::USER.stack);
    system.regs.rsp = USER_STACK;
}

fn kernel_selectors(system: &System) -> bool {
    (system.regs.cs, system.regs.ss) == (u64::from(RING1_CODE), u64::from(RING1_DATA))
}

#[test]
fn a_kernel_in_ring_1_starts_there_and_its_root_shows_only_the_entry_area() {
    let system = system();
    assert!(kernel_selectors(&system));
    let root = system.world.domain(system.id("a")).unwrap().vcpu.root();
    for (index, slot) in (256..).zip(RING1_SLOTS) {
        assert_eq!(system.machine.load(MachineAddress::in_frame(root, index << 3)), slot);
    }
    system.check();
}

#[test]
fn the_pages_of_a_kernel_in_ring_1_are_not_for_its_processes() {
    let mut system = system();
    let a = system.id("a");
    let root = system.world.domain(a).unwrap().vcpu.root();
    let l1 = crate::guest_access::find_l1(&system.machine, root, BASE).unwrap();
    for index in 0..512 {
        let entry = system.machine.load(MachineAddress::in_frame(l1, index << 3));
        assert_eq!(entry & pte::USER, 0, "{index}: {entry:#x}");
    }
    let at = SCRATCH & !0xfff;
    let entry = system.machine.load(MachineAddress::in_frame(l1, (at >> 12 & 0x1ff) << 3));
    system.hypercall(Hypercall::UpdateVaMapping, [at, entry | pte::USER | pte::GLOBAL, 0, 0, 0]).unwrap();
    let entry = system.machine.load(MachineAddress::in_frame(l1, (at >> 12 & 0x1ff) << 3));
    assert_eq!(entry & (pte::USER | pte::GLOBAL), pte::USER, "as the kernel says, and never global");
    system.check();
}

#[test]
fn an_exception_of_a_kernel_in_ring_1_comes_on_its_own_stack() {
    let mut system = system();
    register(&mut system, Vector::PageFault.raw(), 4);
    let before = system.regs;
    system.exception(Vector::PageFault.raw(), 6, 0x1234);
    assert_eq!(system.regs.rip, HANDLER);
    assert!(kernel_selectors(&system));
    let frame: [u64; 8] = system.peek(system.id("a"), system.regs.rsp);
    assert_eq!(frame[3..5], [before.rip, u64::from(RING1_CODE) & !3]);
    assert_eq!(frame[6..], [before.rsp, u64::from(RING1_DATA)]);
    system.check();
}

#[test]
fn an_exception_of_a_process_comes_on_the_stack_of_its_kernel_in_ring_1() {
    let mut system = system();
    register(&mut system, Vector::PageFault.raw(), 0);
    enter_process(&mut system);
    system.exception(Vector::PageFault.raw(), 6, 0x1234);
    assert!(kernel_selectors(&system));
    assert_eq!(system.regs.rsp, KERNEL_STACK - 64);
    let frame: [u64; 8] = system.peek(system.id("a"), system.regs.rsp);
    assert_eq!((frame[4], frame[6], frame[7]), (Ring::USER.code, USER_STACK, Ring::USER.stack));
    assert!(!system.todo.contains(Todo::SEGMENTS), "the kernel sees to GS itself");
    system.check();
}

#[test]
fn a_return_from_ring_1_goes_to_the_kernel_or_a_process_as_its_frame_says() {
    for (cs, to) in [
        (0xe030, Ring::One.kernel()),
        (0xe018, Ring::One.kernel()),
        (u64::from(RING1_CODE), Ring::One.kernel()),
        (0xe008, Ring::One.kernel()),
        (0xe033, Ring::USER),
        (0xe00b, Ring::USER),
    ] {
        let mut system = system();
        let a = system.id("a");
        let context = IretContext {
            rax: 1,
            r11: 2,
            rcx: 3,
            flags: 0,
            rip: HANDLER,
            cs,
            rflags: u64::MAX,
            rsp: USER_STACK,
            ss: 0xe010,
        };
        system.regs.rsp = SCRATCH;
        system.poke(a, SCRATCH, &context);
        let _ = system.hypercall(Hypercall::Iret, [0; 5]);
        assert_eq!((system.regs.cs, system.regs.ss), (to.code, to.stack), "{cs:#x}");
        assert_eq!(system.regs.rflags & (rflags::IOPL | rflags::NESTED), 0);
        assert_ne!(system.regs.rflags & rflags::INTERRUPT, 0);
        system.check();
    }
}

#[test]
fn a_system_call_beside_a_kernel_in_ring_1_is_never_a_hypercall() {
    let mut system = system();
    let a = system.id("a");
    let callback = CallbackRegister { kind: 2, flags: 0, pad: 0, address: HANDLER };
    system.poke(a, SCRATCH, &callback);
    system.hypercall(Hypercall::CallbackOp, [0, SCRATCH, 0, 0, 0]).unwrap();
    enter_process(&mut system);
    system.regs.rax = u64::from(Hypercall::SchedOp.raw());
    let counted = system.world.domain(a).unwrap().counters.hypercalls_total();
    system.world.system_call(&mut system.machine, &mut system.regs);
    system.settle();
    assert_eq!(system.world.domain(a).unwrap().counters.hypercalls_total(), counted);
    assert_eq!((system.regs.rip, system.regs.rsp), (HANDLER, KERNEL_STACK - 56));
    assert!(kernel_selectors(&system));
}

#[test]
fn the_processor_leads_processes_only_where_the_kernel_in_ring_1_opened_a_gate() {
    let mut system = system();
    let a = system.id("a");
    let gate = |system: &System| system.world.domain(a).unwrap().vcpu.system_call_gate();
    assert_eq!(gate(&system), None);
    for (vector, flags, expected) in [
        (SYSTEM_CALL_VECTOR, 3, Some(HANDLER)),
        (SYSTEM_CALL_VECTOR, 7, None),
        (SYSTEM_CALL_VECTOR, 1, None),
        (SYSTEM_CALL_VECTOR, 0, None),
    ] {
        system.todo = Todo::empty();
        register(&mut system, vector, flags);
        assert!(system.todo.contains(Todo::GATES));
        assert_eq!(gate(&system), expected, "flags {flags}");
    }
    let mut system = System::new(alloc::vec![domain("a")]);
    register(&mut system, SYSTEM_CALL_VECTOR, 3);
    assert_eq!(gate(&system), None, "a kernel in ring 3 has no ring of its own to be entered in");
    assert!(!system.todo.contains(Todo::GATES));
}

#[test]
fn a_processor_without_ring_1_refuses_such_a_kernel_by_name() {
    let mut fixture = crate::testing::Fixture::new(1024);
    fixture.world.frames.set_ring1_slots(None);
    let scenario = crate::config::System {
        name: "test".into(),
        slice_us: 1000,
        seed: 1,
        trace: false,
        trace_settings: alloc::vec![],
        domains: alloc::vec![Domain { ring: 1, ..domain("a") }],
    };
    fixture.world.create_domains(&mut fixture.machine, scenario, |_| None);
    let mut output = alloc::string::String::new();
    fixture.world.take_output(&mut |text| output.push_str(&alloc::string::String::from_utf8_lossy(text)));
    assert!(output.contains("a not started: ring = 1: a kernel cannot run there"), "{output}");
}
