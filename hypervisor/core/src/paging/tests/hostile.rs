//! Random sequences of page-table calls by a guest that means harm, with the recount after each.

use hypercall_abi::mmu::{MmuUpdate, MmuextOp, pte};
use hypercall_abi::{DomId, Mfn};
use proptest::prelude::*;

use super::{ARGUMENTS, DONE, RO, RW, SPARE, va};
use crate::builder::Share;
use crate::fake::FickleMemory;
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::mmu_update;
use crate::testing::{BASE, Fixture, TestImage};

/// One thing that a hostile guest does.
#[derive(Clone, Debug)]
enum Action {
    UpdateVa { pfn: u64, target: u64, bits: u64 },
    Update { from: u64, table: u64, index: u64, target: u64, bits: u64, kind: u64 },
    Poke { pfn: u64, index: u64, target: u64, bits: u64 },
    Extended { op: u32, target: u64, arg2: u64 },
}

/// Bits that entries are made of, likely ones more often.
fn bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(RW),
        3 => Just(RO),
        1 => Just(0_u64),
        1 => Just(RW | pte::LARGE),
        1 => Just(RW | pte::GLOBAL | pte::CACHE_DISABLE),
        1 => any::<u64>().prop_map(|bits| bits & !pte::ADDRESS),
    ]
}

/// Few targets, so that sequences meet the same frames again: spare frames, the builder's tables (pages 5 to 12), foreign ones.
fn target() -> impl Strategy<Value = u64> {
    prop_oneof![6 => SPARE..SPARE + 8, 3 => 3_u64..14, 1 => 1000_u64..1004]
}

fn action() -> impl Strategy<Value = Action> {
    let from = prop_oneof![Just((ARGUMENTS - BASE) >> 12), SPARE..SPARE + 8];
    let entry = (from, target(), prop_oneof![0_u64..12, SPARE..SPARE + 8], target(), bits(), 0_u64..4);
    prop_oneof![
        3 => (target(), target(), bits()).prop_map(|(pfn, target, bits)| Action::UpdateVa { pfn, target, bits }),
        3 => entry.prop_map(|(from, table, index, target, bits, kind)| Action::Update { from, table, index, target, bits, kind }),
        3 => (SPARE..SPARE + 8, 0_u64..12, target(), bits())
            .prop_map(|(pfn, index, target, bits)| Action::Poke { pfn, index, target, bits }),
        4 => (0_u32..19, target(), target()).prop_map(|(op, target, arg2)| Action::Extended { op, target, arg2 }),
    ]
}

/// Pages below 1000 are the guest's own, the others another domain's.
fn resolve<T: MachineMemory>(fixture: &Fixture<T>, domain: DomId, other: DomId, target: u64) -> Mfn {
    if target < 1000 { fixture.mfn(domain, target) } else { fixture.mfn(other, target - 1000) }
}

/// Writes as the guest would, if it can.
fn try_poke<T: MachineMemory, V: zerocopy::IntoBytes + zerocopy::Immutable>(
    fixture: &mut Fixture<T>,
    domain: DomId,
    va: u64,
    value: &V,
) {
    let root = fixture.world.domains.get(domain).unwrap().vcpu.root();
    let _ = crate::guest_access::write(&mut fixture.machine, &fixture.world.frames, root, va, value);
}

fn act<T: MachineMemory>(fixture: &mut Fixture<T>, domain: DomId, other: DomId, action: &Action) {
    // Whatever the guest did to its mappings, calls find their arguments in a page that it leaves alone.
    match *action {
        Action::UpdateVa { pfn, target, bits } => {
            let entry = resolve(fixture, domain, other, target).address() | bits;
            let _ = fixture.update_va(domain, va(pfn % 1000), entry);
        }
        Action::Update { from, table, index, target, bits, kind } => {
            let at = resolve(fixture, domain, other, table).address() | index << 3 | kind;
            let entry = resolve(fixture, domain, other, target).address() | bits;
            if reaches_arguments(fixture, domain, at) {
                return;
            }
            // Twice, so that the second is read from wherever the first has led.
            for place in [va(from) + 0x800, va(from) + 0x810] {
                try_poke(fixture, domain, place, &MmuUpdate { ptr: at, val: entry });
            }
            let args = [va(from) + 0x800, 2, DONE, u64::from(DomId::SELF.0), 0];
            let _ = fixture.call(domain, |call| mmu_update(call, args));
        }
        Action::Poke { pfn, index, target, bits } => {
            let entry = resolve(fixture, domain, other, target).address() | bits;
            try_poke(fixture, domain, va(pfn) + index * 8, &entry);
        }
        Action::Extended { op, target, arg2 } => {
            let Some(op) = MmuextOp::from_raw(op) else { return };
            // A root that does not map the arguments would only end the game early.
            if op == MmuextOp::NewBaseptr {
                return;
            }
            let arg1 = resolve(fixture, domain, other, target).0;
            let arg2 = resolve(fixture, domain, other, arg2).0;
            let _ = fixture.mmuext(domain, op, arg1, arg2);
        }
    }
}

/// Whether an entry is one of those through which the arguments are found.
fn reaches_arguments<T: MachineMemory>(fixture: &Fixture<T>, domain: DomId, at: u64) -> bool {
    let root = fixture.world.domains.get(domain).unwrap().vcpu.root();
    let table = Mfn::containing(at);
    let mut frame = root;
    for shift in [39, 30, 21, 12] {
        let place = frame.address() | ((ARGUMENTS >> shift) & 0x1ff) << 3;
        if place == at & !7 {
            return true;
        }
        frame = Mfn::containing(fixture.machine.load(MachineAddress(place)) & pte::ADDRESS);
    }
    table == frame
}

proptest! {

    #[test]
    fn no_sequence_of_updates_breaks_the_counts(actions in proptest::collection::vec(action(), 1..60)) {
        let mut fixture = Fixture::new(1024);
        let free = fixture.world.frames.free_frames();
        let domain = fixture.domain();
        let other = fixture.domain();
        for action in &actions {
            act(&mut fixture, domain, other, action);
            fixture.check();
        }
        fixture.kill(domain);
        fixture.check();
        fixture.kill(other);
        fixture.check();
        prop_assert_eq!(fixture.world.frames.free_frames(), free);
    }

    #[test]
    fn no_sequence_of_updates_changes_what_is_shared(actions in proptest::collection::vec(action(), 1..60)) {
        let mut fixture = Fixture::new(1024);
        let free = fixture.world.frames.free_frames();
        let mut common = None;
        let image = TestImage::sharing(BASE);
        let domain = fixture.domain_of(&image, &mut common);
        let other = fixture.domain_of(&image, &mut common);
        for action in &actions {
            // The other one's pages 1 and 2 are this one's too, and so is page 4.
            act(&mut fixture, domain, other, action);
            fixture.check();
            let share = common.as_ref().expect("two domains use it");
            let spaces = fixture.world.domains.iter().map(|domain| &domain.address_space);
            prop_assert_eq!(share.check(&fixture.machine, &fixture.world.frames, spaces), Ok(()));
        }
        for domain in [domain, other] {
            fixture.kill(domain);
            prop_assert!(fixture.world.domains.get_mut(domain).unwrap().address_space.end_sharing());
            Share::leave(&mut common, &mut fixture.world.frames);
            fixture.check();
        }
        prop_assert_eq!(fixture.world.frames.free_frames(), free);
    }

    #[test]
    fn arguments_that_change_while_they_are_read_break_nothing(
        actions in proptest::collection::vec(action(), 1..40),
        seed in any::<u64>(),
    ) {
        let mut fixture = Fixture::new(1024);
        let domain = fixture.domain();
        let other = fixture.domain();
        let arguments = fixture.mfn(domain, (ARGUMENTS - BASE) >> 12);
        let root = fixture.world.domains.get(domain).unwrap().vcpu.root();
        let mut fixture = fixture.map(|memory| {
            let mut fickle = FickleMemory::new(memory, seed);
            fickle.make_fickle(arguments);
            fickle
        });
        for action in &actions {
            act(&mut fixture, domain, other, action);
            fixture.check();
            // The writer may have talked us into another root; that is its right, but it ends what we can call.
            let space = fixture.world.domains.get(domain).unwrap();
            if space.vcpu.root() != root || fixture.mapped_or_none(domain, ARGUMENTS) != Some(arguments) {
                break;
            }
        }
        prop_assert!(fixture.kill(domain) > 0);
        fixture.check();
    }
}

impl<T: MachineMemory> Fixture<T> {
    fn mapped_or_none(&self, domain: DomId, va: u64) -> Option<Mfn> {
        let root = self.world.domains.get(domain).unwrap().vcpu.root();
        crate::guest_access::translate(
            &self.machine,
            &self.world.frames,
            root,
            va,
            crate::guest_access::Access::Write,
        )
        .ok()
        .map(MachineAddress::frame)
    }
}
