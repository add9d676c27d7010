//! What drivers record of their rings is what went through them, told once a look at a ring and not once a request.

use std::collections::BTreeMap;

use drivers_backend::block::Access;
use hypercall_abi::extension::{GuestRecord, RingSide};
use hypercall_abi::ring::RingRecord;
use tests::{DRIVER, Disks, TestDisk};

/// Writes of a page that are begun before anybody looks.
const WRITES: u32 = 20;

/// Per side and kind of record: how many there were, and how many entries they name.
fn told(all: &[(hypercall_abi::DomId, RingRecord)]) -> BTreeMap<(RingSide, u32), (u32, u32)> {
    let mut told = BTreeMap::new();
    for (domain, record) in all {
        let side = RingSide::from_raw(record.side).expect("a side that there is");
        let (at, ends) = match side {
            RingSide::FrontBlock => (Disks::domain(0), DRIVER),
            RingSide::BackBlock => (DRIVER, Disks::domain(0)),
            other => panic!("no ring of a disk: {other:?}"),
        };
        assert_eq!((*domain, record.peer), (at, ends.0), "{record:?}");
        let sum: &mut (u32, u32) = told.entry((side, record.record.raw())).or_default();
        *sum = (sum.0 + 1, sum.1 + record.step.count);
    }
    told
}

#[test]
fn both_ends_of_a_disks_ring_tell_what_went_through_it_once_a_look() {
    use GuestRecord::{RingConsumed, RingNotified, RingProduced, RingSuppressed};
    use RingSide::{BackBlock, FrontBlock};
    for suppress in [true, false] {
        let mut disks = Disks::new(vec![TestDisk::new(4096, 1)], suppress);
        disks.join(Disks::whole(0, Access::Write), 80);
        disks.world.state().traced = Some(Vec::new());
        let before = (*disks.fronts[0].counters(), disks.back().totals().answered);
        let tickets: Vec<_> = (0..WRITES)
            .map(|at| disks.fronts[0].begin_write(u64::from(at) * 8, &[1; 4096]).expect("it begins"))
            .collect();
        disks.run();
        for ticket in tickets {
            assert_eq!(disks.result(0, ticket, &mut []), Some(Ok(())));
        }
        assert_eq!(disks.back().totals().answered - before.1, u64::from(WRITES));
        let told = told(disks.world.state().traced.as_deref().unwrap_or_default());
        let of = |side, record: GuestRecord| told.get(&(side, record.raw())).copied().unwrap_or_default();
        for (side, record) in [
            (FrontBlock, RingProduced),
            (FrontBlock, RingConsumed),
            (BackBlock, RingConsumed),
            (BackBlock, RingProduced),
        ] {
            let (records, entries) = of(side, record);
            assert_eq!(entries, WRITES, "{side:?} {record:?}");
            assert!(records > 0 && records <= WRITES, "{records} of {side:?} {record:?}");
        }
        // All requests are shown and taken together: a record each, not one a request.
        assert_eq!(of(FrontBlock, RingProduced).0, 1);
        assert_eq!(of(BackBlock, RingConsumed).0, 1);
        let counters = *disks.fronts[0].counters();
        let counted = (counters.notified - before.0.notified, counters.suppressed - before.0.suppressed);
        let notified = (of(FrontBlock, RingNotified).0, of(FrontBlock, RingSuppressed).0);
        assert_eq!((u64::from(notified.0), u64::from(notified.1)), counted);
        assert!(suppress || of(BackBlock, RingSuppressed).0 == 0, "each answer is told of");
    }
}
