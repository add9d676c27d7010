//! The same attacks against the hypervisor's core in one process, with every invariant checked after each.

mod image;
mod machine;
mod system;

use hostile_plan::{Coverage, Reach};
use hypercall_abi::Errno;
use hypercall_abi::grant_table::GrantStatus;

use system::System;

/// Seeds after which each answer must have come.
const SEEDS_MAX: u64 = 120;

/// Runs a few domains for so many steps, and adds to the coverage.
fn run(seed: u64, steps: usize, coverage: &mut Coverage) {
    let mut system = System::new(seed, 3);
    for _ in 0..steps {
        system.step(coverage);
    }
    system.end();
}

#[test]
fn no_attack_breaks_an_invariant_and_every_breach_is_refused() {
    let mut coverage = Coverage::default();
    let seeds = std::env::var("HOSTILE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let first = std::env::var("HOSTILE_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut seed = first;
    // Chance decides when the last answer has come; it takes some twenty seeds.
    while seed < first + seeds || (seed < first + SEEDS_MAX && !missing(&coverage).is_empty()) {
        run(seed, 1500, &mut coverage);
        seed += 1;
    }
    assert_eq!(coverage.breaches, 0);
    let print = |line: &str| {
        println!("{line}");
        Ok(())
    };
    coverage.clone().report(0, |_| "", print).unwrap();
    for reach in Reach::all() {
        if let Some(why) = reach.never() {
            assert_eq!(coverage.of(reach), 0, "{reach}, which never comes: {why}");
        }
    }
    let missing = missing(&coverage);
    assert!(missing.is_empty(), "{missing:?} never came");
}

/// Answers that must come and have not.
fn missing(coverage: &Coverage) -> Vec<String> {
    // What the longest attacks alone bring about, which a few seeds need not draw.
    let rare =
        [Reach::Errno(Errno::NoSpc), Reach::Errno(Errno::Again), Reach::Status(GrantStatus::NoDeviceSpace)];
    let due = Reach::all().filter(|reach| reach.never().is_none() && !rare.contains(reach));
    due.filter(|&reach| coverage.of(reach) == 0).map(|reach| reach.to_string()).collect()
}

#[test]
fn a_domain_that_takes_every_port_is_refused_more_and_gives_all_back() {
    let mut coverage = Coverage::default();
    let mut seed = 1;
    while coverage.of(Reach::Errno(Errno::NoSpc)) == 0 {
        let mut system = System::new(seed, 1);
        for _ in 0..8000 {
            system.step(&mut coverage);
        }
        system.end();
        seed += 1;
        assert!(seed < 10, "the ports never ran out");
    }
}
