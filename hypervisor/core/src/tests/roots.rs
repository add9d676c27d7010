//! Roots that come and go under the processor's feet.

use hypercall_abi::mmu::{MmuextOp, MmuextRequest, flush, pte};
use hypercall_abi::{DomId, Hypercall, Mfn};

use super::system::{SCRATCH, System, domain};
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
