//! Roots that come and go under the processor's feet, and those that stay while nobody runs.

use hypercall_abi::mmu::{MmuextOp, MmuextRequest, flush, pte};
use hypercall_abi::multicall::MulticallEntry;
use hypercall_abi::sched::SchedOp;
use hypercall_abi::{DomId, Hypercall, Mfn};

use super::system::{SCRATCH, System, domain};
use crate::config::Domain;
use crate::control::command;
use crate::memory::{MachineAddress, MachineMemory};
use crate::testing::BASE;

/// A page of the domain that nobody uses.
const PAGE: u64 = BASE + 120 * 4096;

fn extend(system: &mut System, requests: &[(MmuextOp, Mfn, Mfn)]) {
    let me = system.current().unwrap();
    for (index, (op, mfn, other)) in (0..).zip(requests) {
        let request = MmuextRequest { cmd: op.raw(), pad: 0, arg1: mfn.0, arg2: other.0 };
        system.poke(me, SCRATCH + index * 24, &request);
    }
    let args = [SCRATCH, requests.len() as u64, 0, u64::from(DomId::SELF.0), 0];
    system.hypercall(Hypercall::MmuextOp, args).unwrap();
    system.check();
}

/// A domain that runs on a copy of its root, which nothing but its running there holds.
fn on_a_root_of_its_own() -> (System, Mfn, Mfn) {
    let mut system = System::new(alloc::vec![domain("a")]);
    let me = system.id("a");
    let root = system.world.domains.get(me).unwrap().vcpu.kernel_root;
    let other =
        system.world.domains.get(me).unwrap().address_space.built_mfn(hypercall_abi::Pfn(120)).unwrap();
    extend(&mut system, &[(MmuextOp::CopyPage, other, root)]);
    let read_only = other.address() | pte::PRESENT | pte::USER;
    system.hypercall(Hypercall::UpdateVaMapping, [PAGE, read_only, flush::INVLPG, 0, 0]).unwrap();
    extend(&mut system, &[(MmuextOp::NewBaseptr, other, Mfn(0))]);
    assert_eq!(system.machine.root, Some(other));
    (system, root, other)
}

#[test]
fn a_root_that_is_left_is_not_the_processors_any_more_when_it_is_released() {
    let (mut system, root, other) = on_a_root_of_its_own();
    extend(&mut system, &[(MmuextOp::NewBaseptr, root, Mfn(0))]);
    assert_eq!(system.machine.root, Some(root));
    assert_eq!(system.machine.load(MachineAddress::in_frame(other, 0x800)), 0, "it is no root any more");
}

#[test]
fn a_root_may_be_cleared_in_the_call_that_leaves_it() {
    let (mut system, root, other) = on_a_root_of_its_own();
    extend(&mut system, &[(MmuextOp::NewBaseptr, root, Mfn(0)), (MmuextOp::ClearPage, other, Mfn(0))]);
    assert_eq!(system.machine.root, Some(root));
}

/// The root of a domain.
fn root_of(system: &System, id: DomId) -> Mfn {
    system.world.domains.get(id).unwrap().vcpu.root()
}

/// Two domains, of which the second has just slept until `deadline` and the first for good, so that nobody runs.
fn asleep(deadline: u64) -> (System, DomId) {
    let mut system = System::new(alloc::vec![domain("a"), domain("b")]);
    system.block();
    let last = system.current().unwrap();
    system.idle_until(deadline).unwrap();
    assert_eq!(system.current(), None);
    (system, last)
}

#[test]
fn the_root_of_who_slept_last_stays_until_somebody_else_runs() {
    let (mut system, last) = asleep(1000);
    let (root, loaded) = (root_of(&system, last), system.machine.loaded_ahead);
    assert_eq!(system.machine.root, Some(root));
    system.check();
    system.pass(2000);
    assert_eq!(system.current(), Some(last));
    assert_eq!(system.machine.loaded_ahead, loaded, "it is still there");
    assert_eq!(system.world.kept_root(), None, "it may change again");

    system.block();
    let other = system.world.domains.iter().find(|domain| domain.id != last).unwrap().id;
    crate::delivery::wake(&mut system.world, &mut system.machine, other);
    system.settle();
    assert_eq!(system.current(), Some(other));
    assert_eq!(
        (system.machine.root, system.machine.loaded_ahead),
        (Some(root_of(&system, other)), loaded + 1)
    );
    system.check();
}

#[test]
fn a_root_that_is_kept_is_left_before_its_domain_is_taken_apart() {
    let (mut system, last) = asleep(u64::MAX);
    let root = root_of(&system, last);
    command(&mut system.world, &mut system.machine, "destroy *");
    assert_eq!(system.machine.root, Some(root), "nothing of it has changed yet");
    system.check();
    // The machine here fails when the root in use loses the hypervisor.
    system.settle();
    assert_eq!((system.machine.root, system.world.kept_root()), (None, None));
    assert_eq!(system.machine.load(MachineAddress::in_frame(root, 0x800)), 0, "it is no root any more");
    system.check();
}

#[test]
fn the_root_of_who_ended_itself_is_not_kept() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let me = system.current().unwrap();
    crate::life::end(&mut system.world, &mut system.machine, me, crate::life::End::Destroyed);
    let next = system.world.before_return(&mut system.machine, &mut system.regs);
    assert_eq!((next, system.world.kept_root()), (crate::world::Next::Idle { from: Some(me) }, None));
}

#[test]
fn a_flush_that_is_due_is_not_put_off_by_sleeping() {
    let mut system = System::new(alloc::vec![domain("a")]);
    let me = system.current().unwrap();
    let parts_at = SCRATCH + 256;
    let request = MmuextRequest { cmd: MmuextOp::TlbFlushLocal.raw(), pad: 0, arg1: 0, arg2: 0 };
    system.poke(me, SCRATCH, &request);
    let part = |call: Hypercall, args| MulticallEntry { op: u64::from(call.raw()), result: 77, args };
    let flush = part(Hypercall::MmuextOp, [SCRATCH, 1, 0, u64::from(DomId::SELF.0), 0, 0]);
    let block = part(Hypercall::SchedOp, [u64::from(SchedOp::Block.raw()), 0, 0, 0, 0, 0]);
    system.poke(me, parts_at, &[flush, block]);
    system.hypercall(Hypercall::Multicall, [parts_at, 2, 0, 0, 0]).unwrap();
    assert_eq!((system.current(), system.world.kept_root()), (None, None));

    crate::delivery::wake(&mut system.world, &mut system.machine, me);
    system.settle();
    system.block();
    assert_eq!(system.world.kept_root(), Some(root_of(&system, me)), "with none due it is kept");
}

#[test]
fn a_root_that_does_not_show_the_hypervisor_is_not_kept() {
    let mut system = System::new(alloc::vec![Domain { ring: 1, ..domain("a") }]);
    system.block();
    assert_eq!((system.current(), system.world.kept_root()), (None, None));
}
