//! Random sequences of grants, mappings, copies and deaths between three domains, with the recount after each.

use hypercall_abi::DomId;
use hypercall_abi::grant_table::map_flags;
use proptest::prelude::*;

use super::{ARGUMENTS, OKAY, RO, RW, SPARE, va};
use crate::fake::FickleMemory;
use crate::memory::MachineMemory;
use crate::paging::update_va_mapping;
use crate::testing::{BASE, Fixture};

/// One thing that two hostile domains do to each other.
#[derive(Clone, Debug)]
enum Action {
    Grant { by: usize, reference: u32, flags: u16, to: usize, pfn: u64 },
    Map { by: usize, of: usize, reference: u32, flags: u32, pfn: u64 },
    Unmap { by: usize, handle: u32, pfn: u64 },
    Overwrite { by: usize, pfn: u64, frame: u64, write: bool },
    Copy { by: usize, from: (usize, u64, u16), to: (usize, u64, u16), len: u16, flags: u16 },
    Die { who: usize },
}

fn action() -> impl Strategy<Value = Action> {
    let who = || 0_usize..3;
    let pfn = || SPARE..SPARE + 5;
    let side = || (who(), prop_oneof![8_u64..14, Just(10_000_u64)], prop_oneof![Just(0_u16), 0_u16..4100]);
    prop_oneof![
        6 => (who(), 8_u32..14, prop_oneof![4 => Just(1_u16), 1 => 0_u16..32], who(), prop_oneof![6 => pfn(), 1 => 3_u64..14])
            .prop_map(|(by, reference, flags, to, pfn)| Action::Grant { by, reference, flags, to, pfn }),
        6 => (who(), who(), 8_u32..14, prop_oneof![Just(0_u32), Just(map_flags::READ_ONLY), Just(map_flags::CONTAINS_PTE), 0_u32..32], pfn())
            .prop_map(|(by, of, reference, flags, pfn)| Action::Map { by, of, reference, flags, pfn }),
        4 => (who(), 0_u32..6, pfn()).prop_map(|(by, handle, pfn)| Action::Unmap { by, handle, pfn }),
        2 => (who(), pfn(), pfn(), any::<bool>())
            .prop_map(|(by, pfn, frame, write)| Action::Overwrite { by, pfn, frame, write }),
        4 => (who(), side(), side(), 0_u16..4100, 0_u16..4)
            .prop_map(|(by, from, to, len, flags)| Action::Copy { by, from, to, len, flags }),
        1 => who().prop_map(|who| Action::Die { who }),
    ]
}

fn act<T: MachineMemory>(fixture: &mut Fixture<T>, ids: [DomId; 3], alive: &mut [bool; 3], action: &Action) {
    match *action {
        Action::Grant { by, reference, flags, to, pfn } if alive[by] => {
            let frame = fixture.mfn(ids[by], pfn);
            fixture.grant(ids[by], reference, flags, ids[to], frame);
        }
        Action::Map { by, of, reference, flags, pfn } if alive[by] => {
            let at = if flags & map_flags::CONTAINS_PTE != 0 {
                fixture.l1_place(ids[by], va(pfn)).0
            } else {
                va(pfn)
            };
            let _ = fixture.map_grant(ids[by], ids[of], reference, flags, at);
        }
        Action::Unmap { by, handle, pfn } if alive[by] => {
            let place = fixture.l1_place(ids[by], va(pfn)).0;
            if fixture.unmap_grant(ids[by], handle, va(pfn)) != OKAY {
                let _ = fixture.unmap_grant(ids[by], handle, place);
            }
        }
        Action::Overwrite { by, pfn, frame, write } if alive[by] => {
            let entry = fixture.mfn(ids[by], frame).address() | if write { RW } else { RO };
            let _ = fixture.call(ids[by], |call| update_va_mapping(call, [va(pfn), entry, 0, 0, 0]));
        }
        Action::Copy { by, from, to, len, flags } if alive[by] => {
            let side = |fixture: &Fixture<T>, (who, what, offset): (usize, u64, u16)| {
                let what = if what == 10_000 { fixture.mfn(ids[by], SPARE).0 } else { what };
                (ids[who], what, offset)
            };
            let (from, to) = (side(fixture, from), side(fixture, to));
            let _ = fixture.copy_grant(ids[by], from, to, len, flags);
        }
        Action::Die { who } if alive[who] => {
            alive[who] = false;
            fixture.kill(ids[who]);
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_sequence_of_grants_and_deaths_breaks_the_counts(actions in proptest::collection::vec(action(), 1..80)) {
        let mut fixture = Fixture::new(1024);
        let free = fixture.world.frames.free_frames();
        let ids = [fixture.domain(), fixture.domain(), fixture.domain()];
        let mut alive = [true; 3];
        for action in &actions {
            act(&mut fixture, ids, &mut alive, action);
            fixture.check();
        }
        for who in 0..3 {
            act(&mut fixture, ids, &mut alive, &Action::Die { who });
        }
        fixture.check();
        prop_assert_eq!(fixture.world.frames.free_frames(), free);
    }

    #[test]
    fn tables_that_change_while_they_are_judged_break_nothing(
        actions in proptest::collection::vec(action(), 1..50),
        seed in any::<u64>(),
    ) {
        let mut fixture = Fixture::new(1024);
        let free = fixture.world.frames.free_frames();
        let ids = [fixture.domain(), fixture.domain(), fixture.domain()];
        let mut hostile = alloc::vec::Vec::new();
        for id in ids {
            hostile.extend_from_slice(fixture.world.domains.get(id).unwrap().grants.table_frames());
            hostile.push(fixture.mfn(id, (ARGUMENTS - BASE) >> 12));
        }
        let mut fixture = fixture.map(|memory| {
            let mut fickle = FickleMemory::new(memory, seed);
            hostile.iter().for_each(|frame| fickle.make_fickle(*frame));
            fickle
        });
        let mut alive = [true; 3];
        for action in &actions {
            act(&mut fixture, ids, &mut alive, action);
            fixture.check();
        }
        for who in 0..3 {
            act(&mut fixture, ids, &mut alive, &Action::Die { who });
        }
        fixture.check();
        prop_assert_eq!(fixture.world.frames.free_frames(), free);
    }
}
