//! The same attacks against the hypervisor's core in one process, with every invariant checked after each.

mod image;
mod machine;
mod system;

use hostile_plan::{Coverage, Reach};
use hypercall_abi::Errno;
use hypercall_abi::grant_table::GrantStatus;

use system::System;

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
    for seed in first..first + seeds {
        run(seed, 1500, &mut coverage);
    }
    assert_eq!(coverage.breaches, 0);
    let print = |line: &str| {
        println!("{line}");
        Ok(())
    };
    coverage.clone().report(0, |_| "", print).unwrap();
    // What the longest attacks alone bring about, which a few seeds need not draw.
    let rare =
        [Reach::Errno(Errno::NoSpc), Reach::Errno(Errno::Again), Reach::Status(GrantStatus::NoDeviceSpace)];
    let mut missing = Vec::new();
    for reach in Reach::all() {
        let count = coverage.of(reach);
        match reach.never() {
            Some(why) => assert_eq!(count, 0, "{reach}, which never comes: {why}"),
            None if count == 0 && !rare.contains(&reach) => missing.push(reach.to_string()),
            None => {}
        }
    }
    assert!(missing.is_empty(), "{missing:?} never came");
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
