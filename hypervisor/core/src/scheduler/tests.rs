//! The scheduler's promises: shares by weight, turns kept over preemption, nobody starves.

mod ahead;

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const SLICE: u64 = 1_000_000;

fn scheduler(weights: &[u32]) -> Scheduler {
    let mut scheduler = Scheduler::default();
    for (weight, number) in weights.iter().zip(0..) {
        scheduler.admit(DomId(number), SLICE, *weight).unwrap();
    }
    scheduler
}

/// Runs CPU-bound domains for a time with a timer that fires up to `late` ns late; returns who ran how long.
fn run(scheduler: &mut Scheduler, count: usize, ns: u64, late: u64) -> Vec<u64> {
    let mut ran = vec![0; count];
    let mut now = Time(0);
    while now.0 < ns {
        let Some(current) = scheduler.pick(now) else { break };
        let until = scheduler.deadline().min(Time(ns)) + late;
        ran[usize::from(current.0)] += until.since(now).max(1);
        now = until.max(now + 1);
    }
    ran
}

#[test]
fn shares_follow_weights() {
    let weights = [256, 512, 1024, 128];
    let mut scheduler = scheduler(&weights);
    for number in 0..4 {
        scheduler.wake(DomId(number), Time(0));
    }
    let ran = run(&mut scheduler, 4, 1_000 * SLICE, 30_000);
    let total: u64 = ran.iter().sum();
    for (ran, weight) in ran.iter().zip(weights) {
        let fair = total * u64::from(weight) / 1920;
        assert!(ran.abs_diff(fair) < fair / 50, "{ran} of {fair}");
    }
}

#[test]
fn a_domain_pays_for_what_others_ran_for_it() {
    // Domain 2 works for domain 1 whenever it has the processor.
    let mut scheduler = scheduler(&[256; 3]);
    for number in 0..3 {
        scheduler.wake(DomId(number), Time(0));
    }
    let mut ran = [0; 3];
    let mut now = Time(0);
    while now.0 < 1_000 * SLICE {
        let current = scheduler.pick(now).unwrap();
        let until = scheduler.deadline();
        let ns = until.since(now).max(1);
        ran[usize::from(current.0)] += ns;
        if current == DomId(2) {
            scheduler.charge(DomId(1), ns);
        }
        now = now + ns;
    }
    let [victim, served, driver] = ran.map(|ns: u64| ns / SLICE);
    assert!(victim >= 490, "{ran:?}: the bystander keeps its half");
    assert!(served + driver <= 510 && served >= 5, "{ran:?}");
}

#[test]
fn a_charge_is_paid_once_and_is_a_turn_at_the_most() {
    let mut scheduler = scheduler(&[256; 2]);
    scheduler.wake(DomId(0), Time(0));
    scheduler.wake(DomId(1), Time(0));
    scheduler.charge(DomId(1), u64::MAX);
    scheduler.charge(DomId(7), 1);
    let turns = |scheduler: &mut Scheduler, from: Time| {
        assert_eq!(scheduler.pick(from), Some(DomId(0)));
        let from = scheduler.deadline();
        assert_eq!(scheduler.pick(from), Some(DomId(1)));
        (scheduler.deadline().since(from), scheduler.deadline())
    };
    let (first, end) = turns(&mut scheduler, Time(0));
    assert_eq!(first, SLICE / 64);
    let (second, end) = turns(&mut scheduler, end);
    assert_eq!(second, SLICE - SLICE / 64, "the rest of the debt");
    assert_eq!(turns(&mut scheduler, end).0, SLICE);
}

#[test]
fn a_preempted_domain_goes_to_the_head_and_keeps_its_slice() {
    let mut scheduler = scheduler(&[256; 3]);
    scheduler.wake(DomId(2), Time(0));
    assert_eq!(scheduler.pick(Time(0)), Some(DomId(2)));
    scheduler.sleep(DomId(2));
    scheduler.wake(DomId(0), Time(0));
    scheduler.wake(DomId(1), Time(0));
    assert_eq!(scheduler.pick(Time(0)), Some(DomId(0)));
    assert!(scheduler.boost(DomId(2), Time(400_000)));
    assert_eq!(scheduler.pick(Time(400_000)), Some(DomId(2)));
    scheduler.sleep(DomId(2));
    assert_eq!(scheduler.pick(Time(500_000)), Some(DomId(0)), "before domain 1");
    assert_eq!(scheduler.deadline(), Time(500_000 + 600_000), "the rest of its turn");
}

#[test]
fn a_target_pays_for_its_own_time() {
    let mut scheduler = scheduler(&[256; 2]);
    scheduler.wake(DomId(1), Time(0));
    scheduler.pick(Time(0));
    scheduler.sleep(DomId(1));
    scheduler.wake(DomId(0), Time(0));
    scheduler.pick(Time(0));
    let mut now = Time(0);
    let mut boosts = 0;
    while scheduler.boost(DomId(1), now) {
        assert_eq!(scheduler.pick(now), Some(DomId(1)));
        now = now + 100_000;
        scheduler.sleep(DomId(1));
        assert_eq!(scheduler.pick(now), Some(DomId(0)));
        boosts += 1;
    }
    assert_eq!(boosts, 10, "ten tenths of a turn");
}

#[test]
fn giving_way_alone_changes_nothing() {
    let mut scheduler = scheduler(&[256]);
    scheduler.wake(DomId(0), Time(0));
    scheduler.pick(Time(0));
    assert!(!scheduler.give_way());
    assert_eq!(scheduler.pick(Time(5)), Some(DomId(0)));
    assert_eq!(scheduler.deadline(), Time::NEVER);
}

#[test]
fn a_woken_domain_does_not_jump_the_queue() {
    let mut scheduler = scheduler(&[256; 3]);
    for number in 0..3 {
        scheduler.wake(DomId(number), Time(0));
    }
    assert_eq!(scheduler.pick(Time(0)), Some(DomId(0)));
    scheduler.sleep(DomId(0));
    assert_eq!(scheduler.pick(Time(1)), Some(DomId(1)));
    scheduler.wake(DomId(0), Time(2));
    scheduler.sleep(DomId(1));
    assert_eq!(scheduler.pick(Time(3)), Some(DomId(2)));
}

proptest! {
    #[test]
    fn nobody_starves_under_any_storm_of_events(
        actions in prop::collection::vec((0u16..6, 0u8..7, 1u64..400_000), 200..600)
    ) {
        let mut scheduler = scheduler(&[256; 6]);
        let victim = DomId(0);
        let mut now = Time(0);
        scheduler.wake(victim, now);
        let mut others_ns = [0_u64; 6];
        for (number, action, ns) in actions {
            let id = DomId(number);
            match action {
                0 | 1 => { scheduler.boost(id, now); }
                2 => scheduler.wake(id, now),
                3 => { scheduler.give_way(); }
                4 | 5 => { scheduler.precede(id, now); }
                _ => {
                    scheduler.sleep(id);
                    // Whoever never sleeps computes, and then nobody gets a grace.
                    if id == victim {
                        scheduler.wake(id, now);
                        others_ns = [0; 6];
                    }
                }
            }
            prop_assert!(scheduler.holds());
            let current = scheduler.pick(now).expect("the victim always wants to run");
            prop_assert!(scheduler.holds());
            let until = (now + ns).min(scheduler.deadline().max(now + 1));
            if current == victim {
                others_ns = [0; 6];
            } else {
                others_ns[usize::from(current.0)] += until.since(now);
                let limit = 2 * SLICE + 6;
                prop_assert!(others_ns[usize::from(current.0)] <= limit, "{} ran ahead", current);
            }
            now = until;
        }
    }
}
