//! The same attacks against the hypervisor's core in one process, with every invariant checked after each.

mod image;
mod machine;
mod system;

use hostile_plan::{Coverage, Operation};
use hypercall_abi::{Errno, Hypercall};

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
    // `iret` ends the domain or answers nothing; there are no descriptors to change; two calls cannot be wrong.
    let never_accepted = [Hypercall::Iret, Hypercall::UpdateDescriptor];
    let never_refused = [Hypercall::Iret, Hypercall::FpuTaskswitch, Hypercall::SetTimerOp];
    for &call in Hypercall::ALL {
        let of =
            Operation::all().filter(|operation| operation.call() == Some(call)).map(|op| coverage.of(op));
        let (accepted, refused) = of.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        assert!(accepted > 0 || never_accepted.contains(&call), "{call:?} was never accepted");
        assert!(refused > 0 || never_refused.contains(&call), "{call:?} was never refused");
    }
    let reached = [
        Errno::Perm,
        Errno::NoEnt,
        Errno::Srch,
        Errno::TooBig,
        Errno::Access,
        Errno::Fault,
        Errno::Busy,
        Errno::NoDev,
        Errno::Inval,
        Errno::NoSys,
        Errno::Time,
        Errno::OpNotSupp,
    ];
    for errno in reached {
        assert!(coverage.errno(errno) > 0, "{errno:?} never came");
    }
}

#[test]
fn a_domain_that_takes_every_port_is_refused_more_and_gives_all_back() {
    let mut coverage = Coverage::default();
    let mut seed = 1;
    while coverage.errno(Errno::NoSpc) == 0 {
        let mut system = System::new(seed, 1);
        for _ in 0..8000 {
            system.step(&mut coverage);
        }
        system.end();
        seed += 1;
        assert!(seed < 10, "the ports never ran out");
    }
}
