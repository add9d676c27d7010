//! Timers against a model, and what a tick costs.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const DOMAINS: u16 = 20;

fn timers(domains: u16) -> Timers {
    let mut timers = Timers::default();
    for domain in 0..domains {
        timers.admit(DomId(domain)).unwrap();
    }
    timers
}

fn timer(domain: u16, kind: usize) -> Timer {
    Timer { domain: DomId(domain), kind: Kind::ALL[kind] }
}

#[test]
fn a_domain_that_was_not_admitted_has_no_timers() {
    let mut timers = Timers::default();
    timers.set(timer(3, 0), Time(1));
    assert_eq!((timers.next(), timers.take_due(Time(9))), (Time::NEVER, None));
    timers.admit(DomId(2)).unwrap();
    timers.set(timer(3, 0), Time(1));
    assert_eq!(timers.next(), Time::NEVER);
}

#[test]
fn arming_takes_no_memory() {
    let mut timers = timers(50);
    let room = timers.timers.capacity();
    for domain in 0..50 {
        for kind in 0..3 {
            timers.set(timer(domain, kind), Time(u64::from(domain)));
        }
    }
    assert_eq!(timers.timers.capacity(), room);
}

#[test]
fn numbers_lead_back_to_their_timers() {
    for (domain, kind) in [(0, 0), (0, 2), (1, 0), (u16::MAX, 1), (u16::MAX, 2)] {
        assert_eq!(Timer::of(timer(domain, kind).number()), timer(domain, kind));
    }
    assert!(timer(u16::MAX, 2).number() < UNARMED);
}

#[test]
fn a_timer_at_the_end_of_time_is_due_then() {
    let mut timers = timers(2);
    timers.set(timer(0, 0), Time::NEVER);
    timers.set(timer(1, 0), Time(u64::MAX - 1));
    assert_eq!(timers.take_due(Time(u64::MAX - 2)), None);
    assert_eq!(timers.take_due(Time::NEVER), Some((timer(1, 0), Time(u64::MAX - 1))));
    assert_eq!(timers.take_due(Time::NEVER), Some((timer(0, 0), Time::NEVER)));
    assert!(timers.holds());
}

#[test]
fn stopped_timers_have_nobody_look_more_than_once_each() {
    let mut timers = timers(400);
    timers.set(timer(0, 0), Time(1_000_000));
    for domain in 1..400 {
        timers.set(timer(domain, 0), Time(500_000 + u64::from(domain) * 997));
    }
    for domain in 1..400 {
        assert!(timers.stop(timer(domain, 0)));
    }
    let mut looks = 0;
    while timers.next() < Time(1_000_000) {
        let now = timers.next();
        assert_eq!(timers.take_due(now), None);
        assert!(timers.next() > now && timers.holds());
        looks += 1;
    }
    assert!(looks < 400, "{looks}");
    assert_eq!(timers.next(), Time(1_000_000));
}

/// What somebody does with timers; times are relative to the present.
#[derive(Clone, Copy, Debug)]
enum Act {
    Set {
        domain: u16,
        kind: usize,
        after: u64,
    },
    Stop {
        domain: u16,
        kind: usize,
    },
    Dismiss {
        domain: u16,
    },
    Pass {
        ns: u64,
    },
    /// To when somebody has to look, as the processor's timer does.
    PassToNext,
}

fn ns() -> impl Strategy<Value = u64> {
    // All distances, few deadlines of many timers, and the far end.
    prop_oneof![
        4 => (0_u32..40, any::<u64>()).prop_map(|(bits, ns)| ns & ((1 << bits) - 1)),
        2 => (1_u64..4).prop_map(|count| count * 5_000_000),
        1 => 0_u64..3,
        1 => prop::sample::select(alloc::vec![u64::MAX, u64::MAX / 2, 1 << 60]),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..DOMAINS, 0_usize..3, ns()).prop_map(|(domain, kind, after)| Act::Set { domain, kind, after }),
        2 => (0..DOMAINS, 0_usize..3).prop_map(|(domain, kind)| Act::Stop { domain, kind }),
        1 => (0..DOMAINS).prop_map(|domain| Act::Dismiss { domain }),
        2 => ns().prop_map(|ns| Act::Pass { ns: ns >> 1 }),
        3 => Just(Act::PassToNext),
    ]
}

proptest! {
    #[test]
    fn timers_come_due_in_order_exactly_once_and_never_late(acts in prop::collection::vec(act(), 1..300)) {
        let mut timers = timers(DOMAINS);
        let mut model: BTreeMap<(u16, usize), u64> = BTreeMap::new();
        let (mut now, mut stopped, mut in_vain) = (0_u64, 0, 0);
        for act in acts {
            match act {
                Act::Set { domain, kind, after } => {
                    let at = now.saturating_add(after);
                    timers.set(timer(domain, kind), Time(at));
                    stopped += usize::from(model.insert((domain, kind), at).is_some());
                }
                Act::Stop { domain, kind } => {
                    let was = model.remove(&(domain, kind)).is_some();
                    prop_assert_eq!(timers.stop(timer(domain, kind)), was);
                    stopped += usize::from(was);
                }
                Act::Dismiss { domain } => {
                    timers.dismiss(DomId(domain));
                    stopped += model.len();
                    model.retain(|(other, _), _| *other != domain);
                    stopped -= model.len();
                }
                Act::Pass { ns } => now = now.saturating_add(ns),
                Act::PassToNext if timers.next() != Time::NEVER => now = now.max(timers.next().0),
                Act::PassToNext => {}
            }
            if matches!(act, Act::Pass { .. } | Act::PassToNext) {
                let looks = timers.next() != Time::NEVER && timers.next().0 <= now;
                let (mut last, mut taken) = (0, 0);
                while let Some((due, at)) = timers.take_due(Time(now)) {
                    let deadline = model.remove(&(due.domain.0, due.kind.index() as usize));
                    prop_assert_eq!(deadline, Some(at.0));
                    prop_assert!(last <= at.0 && at.0 <= now);
                    (last, taken) = (at.0, taken + 1);
                }
                in_vain += usize::from(looks && taken == 0);
                let missed: Vec<_> = model.values().filter(|deadline| **deadline <= now).collect();
                prop_assert!(missed.is_empty());
            }
            prop_assert!(timers.holds());
            for (&(domain, kind), &at) in &model {
                prop_assert_eq!(timers.deadline(timer(domain, kind)), Some(Time(at)));
            }
            let first = model.values().min().copied().unwrap_or(u64::MAX);
            prop_assert!(timers.next().0 <= first, "nobody would look in time");
            prop_assert!(stopped > 0 || timers.next().0 == first, "too early without a reason");
        }
        prop_assert!(in_vain <= stopped, "{} looks in vain after {} stops", in_vain, stopped);
    }
}
