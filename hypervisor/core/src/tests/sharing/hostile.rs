//! Sequences of whatever a domain can try on pages that it shares.

use hypercall_abi::Hypercall;
use hypercall_abi::mmu::{MmuextOp, UpdateKind, pte};
use proptest::prelude::*;

use super::super::system::{SCRATCH, System, domain};
use super::{RO, RW, SPARE, copy, crash, extended, go_on, grant, map, mfn, system, update};
use crate::config::{Domain, OnCrash};
use crate::memory::MachineAddress;
use crate::testing::BASE;

/// What a hostile domain does to a page of its image or its own.
#[derive(Clone, Debug)]
enum Act {
    Map { at: u64, target: u64, bits: u64 },
    Write { target: u64, kind: UpdateKind, bits: u64 },
    Extended { op: u32, target: u64, other: u64 },
    Grant { target: u64, flags: u16 },
    MapGrant { flags: u32 },
    Copy { from: u64, to: u64, flags: u16 },
    Answer { page: u64 },
    GoOn,
    Crash,
}

/// Pages of the image, and two of the domain's own.
fn page() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..6, 1 => SPARE..SPARE + 2]
}

fn any_act() -> impl Strategy<Value = Act> {
    let bits = prop_oneof![Just(RW), Just(RO), Just(0), Just(RW | pte::LARGE)];
    let kind = prop_oneof![
        Just(UpdateKind::NormalPtUpdate),
        Just(UpdateKind::MachphysUpdate),
        Just(UpdateKind::PtUpdatePreserveAd)
    ];
    prop_oneof![
        4 => (page(), page(), bits.clone()).prop_map(|(at, target, bits)| Act::Map { at, target, bits }),
        2 => (page(), kind, bits).prop_map(|(target, kind, bits)| Act::Write { target, kind, bits }),
        3 => (0_u32..19, page(), page()).prop_map(|(op, target, other)| Act::Extended { op, target, other }),
        2 => (page(), 0_u16..8).prop_map(|(target, flags)| Act::Grant { target, flags }),
        2 => (0_u32..8).prop_map(|flags| Act::MapGrant { flags }),
        2 => (page(), page(), 0_u16..4).prop_map(|(from, to, flags)| Act::Copy { from, to, flags }),
        1 => page().prop_map(|page| Act::Answer { page }),
        2 => Just(Act::GoOn),
        1 => Just(Act::Crash),
    ]
}

fn perform(system: &mut System, act: &Act) {
    let Some(own) = system.current() else { return };
    let other =
        ["a", "b", "c"].into_iter().filter_map(|name| system.world.living(name)).find(|id| *id != own);
    match *act {
        Act::Map { at, target, bits } => {
            // Where arguments lie, everybody needs memory.
            if at != 0 {
                let entry = mfn(system, own, target).address() | bits;
                let _ = system.hypercall(Hypercall::UpdateVaMapping, [BASE + at * 4096, entry, 0, 0, 0]);
            }
        }
        Act::Write { target, kind, bits } => {
            let at = MachineAddress::in_frame(mfn(system, own, target), 0x500);
            let _ = update(system, at, kind, mfn(system, own, 2).address() | bits);
        }
        Act::Extended { op, target, other } => {
            let Some(op) = MmuextOp::from_raw(op).filter(|op| *op != MmuextOp::NewBaseptr) else { return };
            // Page 0 holds the arguments.
            let [target, other] = [target, other].map(|pfn| mfn(system, own, pfn.max(1)).0);
            let _ = extended(system, op, target, other);
        }
        Act::Grant { target, flags } => {
            if let Some(other) = other {
                let frame = mfn(system, own, target);
                grant(system, own, 9, other, frame, flags);
            }
        }
        Act::MapGrant { flags } => {
            if let Some(other) = other {
                let _ = map(system, other, flags);
            }
        }
        Act::Copy { from, to, flags } => {
            if let Some(other) = other {
                let side = |pfn, granted| if granted { (other, 9) } else { (own, mfn(system, own, pfn).0) };
                let (from, to) = (side(from, flags & 1 != 0), side(to.max(1), flags & 2 != 0));
                let _ = copy(system, from, to, flags);
            }
        }
        Act::Answer { page } => {
            let _ = system.hypercall(Hypercall::MmuUpdate, [SCRATCH, 0, BASE + page * 4096, 0x7ff0, 0]);
        }
        Act::GoOn => go_on(system),
        Act::Crash => crash(system),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_acts_changes_what_is_shared(acts in proptest::collection::vec(any_act(), 1..60)) {
        let again = Domain { on_crash: OnCrash::Restart, ..domain("b") };
        let mut system = system(&[domain("a"), again, Domain { ring: 1, ..domain("c") }]);
        for act in &acts {
            perform(&mut system, act);
            // The recount, and a digest of all that is shared.
            if let Err(broken) = system.world.check(&system.machine) {
                panic!("{act:?}: {broken}");
            }
        }
        for name in ["a", "b", "c"] {
            crate::control::command(&mut system.world, &mut system.machine, &alloc::format!("destroy {name}"));
            system.settle();
        }
        prop_assert_eq!(system.world.check(&system.machine), Ok(()));
        prop_assert_eq!(system.world.frames.free_frames(), system.world.frames.total_frames());
    }
}
