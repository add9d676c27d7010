//! Exceptions, handlers, returns: what a guest's kernel registers and how it is entered.

use hypercall_abi::trap::{IretContext, TrapInfo, Vector};
use hypercall_abi::{Errno, Hypercall, layout};

use super::system::{SCRATCH, System, domain};
use crate::effects::Todo;
use crate::registers::rflags;
use crate::testing::BASE;

const HANDLER: u64 = BASE + 0x2010;

fn register(system: &mut System, vector: u8, flags: u8) {
    let caller = system.current().unwrap();
    let table = [
        TrapInfo { vector, flags, cs: layout::GUEST_CODE, pad: 0, address: HANDLER },
        TrapInfo { vector: 0, flags: 0, cs: 0, pad: 0, address: 0 },
    ];
    system.poke(caller, SCRATCH, &table);
    system.hypercall(Hypercall::SetTrapTable, [SCRATCH, 0, 0, 0, 0]).unwrap();
}

#[test]
fn a_page_fault_is_bounced_with_its_address_and_error() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    register(&mut system, Vector::PageFault.raw(), 4);
    system.mask(a, false);
    let before = system.regs;
    system.exception(Vector::PageFault.raw(), 6, 0x1234);
    assert_eq!(system.regs.rip, HANDLER);
    assert_eq!(system.shared(a, 16), 0x1234);
    assert_eq!(system.regs.rsp % 16, 0);
    let frame: [u64; 8] = system.peek(a, system.regs.rsp);
    assert_eq!(frame[2], 6);
    assert_eq!(frame[3], before.rip);
    assert_eq!(frame[4], 0xe030);
    assert_eq!(frame[5] & rflags::INTERRUPT, rflags::INTERRUPT);
    assert_eq!(frame[6], before.rsp);
    assert_eq!(system.shared(a, 0) >> 8 & 0xff, 1, "the handler wants upcalls masked");
    system.check();
}

#[test]
fn iret_returns_to_where_the_exception_was() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    register(&mut system, Vector::Breakpoint.raw(), 4);
    system.mask(a, false);
    let before = system.regs;
    system.exception(Vector::Breakpoint.raw(), 0, 0);
    let frame: [u64; 7] = system.peek(a, system.regs.rsp);
    let context = IretContext {
        rax: 7,
        r11: frame[1],
        rcx: frame[0],
        flags: 0,
        rip: frame[2],
        cs: frame[3],
        rflags: frame[4],
        rsp: frame[5],
        ss: frame[6],
    };
    system.poke(a, SCRATCH, &context);
    system.regs.rsp = SCRATCH;
    let _ = system.hypercall(Hypercall::Iret, [0; 5]);
    assert_eq!((system.regs.rip, system.regs.rsp, system.regs.rax), (before.rip, before.rsp, 7));
    assert_eq!(system.shared(a, 0) >> 8 & 0xff, 0, "the mask is as it was");
    assert_eq!(system.regs.rflags & rflags::IOPL, 0);
}

#[test]
fn an_iret_cannot_gain_privileges() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    let context =
        IretContext { rip: BASE, rflags: u64::MAX, cs: 0x8, ss: 0x10, rsp: SCRATCH, ..IretContext::zeroed() };
    system.poke(a, SCRATCH, &context);
    system.regs.rsp = SCRATCH;
    let _ = system.hypercall(Hypercall::Iret, [0; 5]);
    assert_eq!(system.regs.cs, u64::from(layout::GUEST_CODE));
    assert_eq!(system.regs.ss, u64::from(layout::GUEST_DATA));
    assert_eq!(system.regs.rflags & (rflags::IOPL | rflags::NESTED), 0);
    assert_eq!(system.regs.rflags & rflags::INTERRUPT, rflags::INTERRUPT);
}

#[test]
fn a_return_to_the_hypervisors_addresses_ends_the_domain() {
    for rip in [layout::HYPERVISOR_START, 0x8000_0000_0000, layout::HYPERVISOR_END - 1] {
        let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
        let a = system.id("a");
        system.poke(a, SCRATCH, &IretContext { rip, cs: 0xe030, ..IretContext::zeroed() });
        system.regs.rsp = SCRATCH;
        let _ = system.hypercall(Hypercall::Iret, [0; 5]);
        assert_eq!(system.current(), Some(system.id("b")));
        assert!(system.output.contains("a: bad return frame"), "{}", system.output);
        system.check();
    }
}

#[test]
fn an_exception_without_handler_ends_the_domain_and_says_why() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    system.exception(Vector::PageFault.raw(), 4, 0xdead_0000);
    assert!(system.output.contains("a: unhandled page fault at 0xdead0000"), "{}", system.output);
    assert_eq!(system.current(), Some(system.id("b")));
    assert!(system.world.living("a").is_none());
    system.check();
}

#[test]
fn a_handler_without_stack_ends_the_domain() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    register(&mut system, Vector::Breakpoint.raw(), 0);
    for rsp in [0, 8, layout::HYPERVISOR_START + 4096, u64::MAX] {
        let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
        register(&mut system, Vector::Breakpoint.raw(), 0);
        system.regs.rsp = rsp;
        system.exception(Vector::Breakpoint.raw(), 0, 0);
        assert_eq!(system.current(), Some(system.id("b")), "{rsp:#x}");
        system.check();
    }
}

#[test]
fn a_software_interrupt_goes_through_gates_that_are_open() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    register(&mut system, 0x80, 3);
    system.poke(a, BASE + 0x2000, &[0xcd_u8, 0x80]);
    let before = system.regs;
    // Not every processor has the vector at the right place in the error code.
    system.exception(Vector::GeneralProtection.raw(), 0x80 << 4 | 2, 0);
    assert_eq!(system.regs.rip, HANDLER);
    let frame: [u64; 7] = system.peek(a, system.regs.rsp);
    assert_eq!(frame[2], before.rip + 2);
}

#[test]
fn segment_bases_are_set_through_model_specific_registers() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    system.poke(a, BASE + 0x2000, &[0x0f_u8, 0x30]);
    (system.regs.rcx, system.regs.rax, system.regs.rdx) = (0xc000_0101, 0x1234_5000, 0x7f);
    let rip = system.regs.rip;
    system.exception(Vector::GeneralProtection.raw(), 0, 0);
    assert_eq!(system.regs.rip, rip + 2);
    assert_eq!(system.world.domains.get(a).unwrap().vcpu.segments.gs_base_kernel, 0x7f_1234_5000);
    assert!(system.todo.contains(Todo::GS_KERNEL));
}

#[test]
fn other_model_specific_registers_are_refused() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    register(&mut system, Vector::GeneralProtection.raw(), 0);
    system.poke(a, BASE + 0x2000, &[0x0f_u8, 0x30]);
    system.regs.rcx = 0xc000_0080;
    system.exception(Vector::GeneralProtection.raw(), 0, 0);
    assert_eq!(system.regs.rip, HANDLER);
}

/// `ud2; "xen"; cpuid`.
const FORCED_CPUID: [u8; 7] = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];

#[test]
fn cpuid_after_xens_prefix_is_carried_out() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    system.poke(a, BASE + 0x2000, &FORCED_CPUID);
    let before = system.regs;
    (system.regs.rax, system.regs.rcx) = (0xffff_ffff_4000_0000, u64::MAX);
    system.exception(Vector::InvalidOpcode.raw(), 0, 0);
    assert_eq!(system.regs.rip, before.rip + 7);
    assert_eq!(system.regs.rax, 0x4000_0002);
    assert_eq!(system.regs.rbx, u64::from(u32::from_le_bytes(*b"XenV")));
    assert_eq!((system.regs.rsp, system.regs.rsi), (before.rsp, before.rsi));
}

#[test]
fn an_invalid_instruction_with_anything_else_behind_it_is_the_guests_own() {
    for at in 0..FORCED_CPUID.len() {
        let mut system = System::new(alloc::vec![domain("a")]);
        let a = system.id("a");
        register(&mut system, Vector::InvalidOpcode.raw(), 0);
        let mut code = FORCED_CPUID;
        code[at] ^= 1;
        system.poke(a, BASE + 0x2000, &code);
        system.exception(Vector::InvalidOpcode.raw(), 0, 0);
        assert_eq!(system.regs.rip, HANDLER, "byte {at}");
    }
}

#[test]
fn a_bad_trap_table_changes_nothing() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let a = system.id("a");
    register(&mut system, Vector::Breakpoint.raw(), 0);
    let entry = |vector, address| TrapInfo { vector, flags: 0, cs: 0, pad: 0, address };
    let table = [entry(14, HANDLER), entry(3, layout::HYPERVISOR_START), entry(0, 0)];
    system.poke(a, SCRATCH, &table);
    assert_eq!(system.hypercall(Hypercall::SetTrapTable, [SCRATCH, 0, 0, 0, 0]), Err(Errno::Inval));
    assert_eq!(system.hypercall(Hypercall::SetTrapTable, [8, 0, 0, 0, 0]), Err(Errno::Fault));
    let traps = &system.world.domains.get(a).unwrap().vcpu.traps;
    assert!(traps.handler(14).is_none() && traps.handler(3).is_some());
}

#[test]
fn a_guest_that_wants_to_know_of_the_fpus_use_is_told_once() {
    let mut system = System::new(alloc::vec![domain("a")]);
    register(&mut system, Vector::DeviceNotAvailable.raw(), 0);
    system.hypercall(Hypercall::FpuTaskswitch, [1, 0, 0, 0, 0]).unwrap();
    assert!(system.todo.contains(Todo::FPU));
    system.exception(Vector::DeviceNotAvailable.raw(), 0, 0);
    assert_eq!(system.regs.rip, HANDLER);
    let a = system.id("a");
    assert!(!system.world.domains.get(a).unwrap().vcpu.fpu.trap);
}

#[test]
fn a_guest_without_user_mode_cannot_enter_it() {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    let a = system.id("a");
    system.poke(a, SCRATCH, &IretContext { rip: BASE, cs: 0xe033, rsp: SCRATCH, ..IretContext::zeroed() });
    system.regs.rsp = SCRATCH;
    let _ = system.hypercall(Hypercall::Iret, [0; 5]);
    assert_eq!(system.current(), Some(system.id("b")));
}
