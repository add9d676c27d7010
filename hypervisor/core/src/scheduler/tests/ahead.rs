//! Adaptive delivery's promises: synchronous while there is time to spare, graces only where they pay.

use super::*;
use crate::scheduler::ahead::{CROWD, FAN, GRACE_NS, REFUSALS_FIRST, SAMPLE, SATURATED_NS, TELLS};

const SENDER: DomId = DomId(0);
const BYSTANDER: DomId = DomId(1);
const TARGETS: [DomId; 2] = [DomId(2), DomId(3)];
/// When the processor has been busy for long enough.
const LATER: Time = Time(SATURATED_NS);

/// So many targets as make who tells them one that tells many.
fn many() -> Vec<DomId> {
    (2..).take(FAN.try_into().unwrap()).map(DomId).collect()
}

/// The sender runs, the targets, which follow the bystander in order, sleep with a rest of their turns, and nobody has idled for long.
fn saturated_beside(targets: &[DomId]) -> Scheduler {
    let mut scheduler = scheduler(&vec![256; targets.len() + 3]);
    let idler = DomId(u16::try_from(targets.len() + 2).unwrap());
    scheduler.wake(idler, Time(0));
    scheduler.pick(Time(0));
    scheduler.sleep(idler);
    for &id in targets.iter().chain([&SENDER]) {
        scheduler.wake(id, LATER);
        assert_eq!(scheduler.pick(LATER), Some(id));
        if id != SENDER {
            scheduler.sleep(id);
        }
    }
    scheduler
}

/// The sender tells a target, which goes ahead; who runs then.
fn told(scheduler: &mut Scheduler, target: DomId, now: Time) -> Option<DomId> {
    assert!(scheduler.precede(target, now));
    assert!(scheduler.holds());
    scheduler.pick(now)
}

/// The sender tells a target, which then runs and sleeps. Returns whether the sender got a grace, in which the target was
/// told `again` so often.
fn is_graced(scheduler: &mut Scheduler, target: DomId, again: usize) -> bool {
    let graced = told(scheduler, target, LATER) == Some(SENDER);
    for _ in 0..again {
        assert!(scheduler.precede(target, LATER));
    }
    scheduler.sleep(SENDER);
    assert_eq!(scheduler.pick(LATER), Some(target));
    scheduler.wake(SENDER, LATER);
    scheduler.sleep(target);
    assert_eq!(scheduler.pick(LATER), Some(SENDER));
    graced
}

/// The same beside many targets, all of which the sender has told, the last one with a grace.
fn one_that_tells_many() -> Scheduler {
    let many = many();
    let mut scheduler = saturated_beside(&many);
    let (last, others) = many.split_last().unwrap();
    for &target in others {
        assert!(!is_graced(&mut scheduler, target, 0), "not many yet");
    }
    assert!(is_graced(&mut scheduler, *last, 1), "many now");
    scheduler
}

#[test]
fn who_runs_may_finish_within_its_grace_before_those_ahead() {
    let mut scheduler = one_that_tells_many();
    scheduler.wake(BYSTANDER, LATER);
    assert_eq!(told(&mut scheduler, TARGETS[1], LATER + 10), Some(SENDER));
    assert_eq!(scheduler.deadline(), LATER + 10 + GRACE_NS);
    scheduler.sleep(SENDER);
    assert_eq!(scheduler.pick(LATER + 20), Some(TARGETS[1]), "before who waited longer");
}

#[test]
fn who_does_not_finish_within_its_grace_makes_room_and_keeps_its_turn() {
    let mut scheduler = one_that_tells_many();
    scheduler.wake(BYSTANDER, LATER);
    assert_eq!(told(&mut scheduler, TARGETS[1], LATER), Some(SENDER));
    let over = LATER + GRACE_NS;
    assert_eq!(scheduler.pick(over), Some(TARGETS[1]));
    scheduler.sleep(TARGETS[1]);
    assert_eq!(scheduler.pick(over), Some(SENDER), "before who waited longer");
    assert_eq!(scheduler.deadline(), LATER + SLICE, "the rest of its turn");
}

#[test]
fn graces_in_which_events_join_are_given_again_and_others_are_not() {
    for (again, paid) in [(1, true), (0, false)] {
        let mut scheduler = one_that_tells_many();
        let mut targets = TARGETS.into_iter().rev().cycle();
        // One wait is noted already.
        for target in targets.by_ref().take(usize::from(SAMPLE) - 1) {
            assert!(is_graced(&mut scheduler, target, again), "it is tried");
        }
        for target in targets.by_ref().take(usize::from(REFUSALS_FIRST)) {
            assert_eq!(is_graced(&mut scheduler, target, again), paid);
        }
        assert!(is_graced(&mut scheduler, TARGETS[1], 0), "it is tried again");
    }
}

/// The sender tells so many of its targets one after the other, again and again, and another first; each finds so many events left out when
/// it has waited. How many did not wait.
fn let_in(together: u16, left_out: u64) -> usize {
    let mut targets = many();
    let mut scheduler = one_that_tells_many();
    let mut at_once = 0;
    for _ in 0..SAMPLE {
        let mut waiting = 0;
        let together = &targets[..together.into()];
        for &target in together {
            let running = told(&mut scheduler, target, LATER);
            if running == Some(SENDER) {
                waiting += 1;
                continue;
            }
            at_once += 1;
            assert_eq!(running, Some(target));
            scheduler.sleep(target);
            assert_eq!(scheduler.pick(LATER), Some(SENDER));
        }
        scheduler.sleep(SENDER);
        for target in &together[together.len() - waiting..] {
            assert_eq!(scheduler.pick(LATER), Some(*target));
            assert_eq!(scheduler.end_wait(*target), Some(SENDER));
            assert_eq!(scheduler.end_wait(*target), None, "a wait ends once");
            scheduler.credit(SENDER, left_out);
            scheduler.sleep(*target);
        }
        scheduler.wake(SENDER, LATER);
        assert_eq!(scheduler.pick(LATER), Some(SENDER));
        targets.rotate_left(1);
    }
    at_once
}

#[test]
fn what_drivers_left_out_meanwhile_speaks_for_a_grace_of_many() {
    assert_eq!(let_in(CROWD, 1), 0);
    assert_eq!(let_in(CROWD, u64::MAX), 0, "no number is too large");
    assert!(let_in(CROWD, 0) >= REFUSALS_FIRST.into());
    assert!(let_in(CROWD - 1, 1) >= REFUSALS_FIRST.into(), "few have events left out anyway");
}

#[test]
fn who_tells_few_gets_no_grace() {
    let many = many();
    let (_, few) = many.split_last().unwrap();
    for few in [&few[..1], &few[..2], few] {
        let mut scheduler = saturated_beside(few);
        for target in few.iter().cycle().take(3 * usize::from(TELLS)) {
            assert!(!is_graced(&mut scheduler, *target, 1));
        }
    }
}

#[test]
fn who_no_longer_tells_many_gets_no_grace_any_more() {
    let mut scheduler = one_that_tells_many();
    for target in TARGETS.into_iter().cycle().take(2 * usize::from(TELLS)) {
        is_graced(&mut scheduler, target, 1);
    }
    assert!(!is_graced(&mut scheduler, TARGETS[0], 1));
}

#[test]
fn those_ahead_go_in_the_order_of_their_events() {
    let mut scheduler = one_that_tells_many();
    scheduler.wake(BYSTANDER, LATER);
    for target in [TARGETS[1], TARGETS[0], TARGETS[1]] {
        assert_eq!(told(&mut scheduler, target, LATER), Some(SENDER));
    }
    scheduler.sleep(SENDER);
    let mut order = vec![];
    while let Some(id) = scheduler.pick(LATER) {
        order.push(id);
        scheduler.sleep(id);
    }
    assert_eq!(order, [TARGETS[1], TARGETS[0], BYSTANDER]);
}

#[test]
fn one_idle_moment_makes_it_synchronous_at_once() {
    let mut scheduler = one_that_tells_many();
    scheduler.sleep(SENDER);
    assert_eq!(scheduler.pick(LATER), None);
    scheduler.wake(SENDER, LATER);
    assert_eq!(scheduler.pick(LATER), Some(SENDER));
    assert_eq!(told(&mut scheduler, TARGETS[1], LATER), Some(TARGETS[1]));
}

#[test]
fn while_somebody_computes_it_is_synchronous() {
    let mut scheduler = one_that_tells_many();
    scheduler.sleep(SENDER);
    scheduler.wake(BYSTANDER, LATER);
    assert_eq!(scheduler.pick(LATER), Some(BYSTANDER));
    scheduler.wake(SENDER, LATER);
    let over = LATER + SLICE;
    assert_eq!(scheduler.pick(over), Some(SENDER));
    assert_eq!(told(&mut scheduler, TARGETS[1], over), Some(TARGETS[1]), "it would take what is saved");
    scheduler.sleep(TARGETS[1]);
    assert_eq!(scheduler.pick(over), Some(SENDER));
    scheduler.sleep(BYSTANDER);
    assert_eq!(told(&mut scheduler, TARGETS[1], over), Some(SENDER));
}

proptest! {
    #[test]
    fn while_there_is_time_to_spare_it_is_synchronous_step_by_step(
        actions in prop::collection::vec((0u16..5, 0u8..8, 1u64..400_000), 200..600)
    ) {
        let [mut adaptive, mut synchronous] = [(), ()].map(|()| scheduler(&[256; 5]));
        let (mut now, mut idled) = (Time(0), Time(0));
        for (number, action, ns) in actions {
            let id = DomId(number);
            let both = [&mut adaptive, &mut synchronous];
            // Time is spared before it is too long ago.
            if now.since(idled) + 400_000 >= SATURATED_NS {
                for scheduler in both {
                    (0..5).for_each(|number| scheduler.sleep(DomId(number)));
                    prop_assert_eq!(scheduler.pick(now), None);
                }
                idled = now;
            } else if action < 4 {
                prop_assert_eq!(adaptive.precede(id, now), synchronous.boost(id, now));
            } else {
                for scheduler in both {
                    match action {
                        4 => scheduler.wake(id, now),
                        5 => { scheduler.give_way(); }
                        _ => scheduler.sleep(id),
                    }
                }
            }
            let next = adaptive.pick(now);
            prop_assert_eq!(next, synchronous.pick(now));
            prop_assert_eq!(adaptive.deadline(), synchronous.deadline());
            prop_assert!(adaptive.holds() && synchronous.holds());
            if next.is_none() {
                idled = now + ns;
            }
            now = now + ns;
        }
    }
}
