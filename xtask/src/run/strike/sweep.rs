//! A stop before each instruction of the ways in and out, a strike there, and on.
//! It exists because chance would visit the rare ones of them never.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypervisor_core::ring::Ring;
use serde::Serialize;

use super::gdb::Gdb;
use super::monitor::Strike;
use super::stubs::Stubs;
use super::{Counters, Struck, finish, start, stubs, write};
use crate::cli::StrikeSweep;

/// What runs meanwhile, one after the other, and for how long at most, in ns of virtual time.
const RUNS: [(&str, u64); 3] = [
    ("processes", 30_000_000_000),
    ("sensitive", 10_000_000_000),
    ("hostile --load inside --guests 2 --seconds 1000 --delivery batched", 60_000_000_000),
];
/// How long to wait for a stop before the serial line is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often the time is asked for.
const POLL: Duration = Duration::from_millis(500);
/// How often an interrupt is raised in one run.
const TIMES: u32 = 8;
/// Label of the snapshots that do so.
const POLL_LABEL: &str = "poll";
/// How long no time may pass.
const PATIENCE: Duration = Duration::from_secs(60);
/// An instruction that was not visited.
#[derive(Clone, Debug, Serialize)]
struct Unvisited {
    place: String,
    why: String,
}

/// The figures of a sweep.
#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    ring: u8,
    instructions: usize,
    struck: usize,
    /// Those that were not struck though nothing speaks against it.
    open: usize,
    nmis_injected: u64,
    nmis_counted: u64,
    machine_checks_injected: u64,
    machine_checks_counted: u64,
    unvisited: Vec<Unvisited>,
}

/// What a sweep has done in one machine.
#[derive(Debug, Default)]
struct Done {
    nmis: u64,
    machine_checks: u64,
    /// Where the last NMI was injected.
    last: Option<u64>,
    /// Whether the last machine check struck an NMI's way in.
    machine_check_in_nmi: bool,
    /// Whether the NMI under way may have struck a machine check's way in.
    nmi_in_machine_check: bool,
    /// Where a machine check has struck and an NMI has not.
    checked: BTreeSet<u64>,
}

/// Sweeps.
pub(super) fn sweep(options: &StrikeSweep, ring: Ring) -> Result<()> {
    let mut figures = Figures { ring: options.ring, ..Figures::default() };
    let mut left: Option<Stubs> = None;
    let runs = if options.brief { &RUNS[..1] } else { &RUNS[..] };
    for &(line, limit) in runs {
        let struck = start(&format!("{line} --ring {}", options.ring), true)?;
        let stubs = match &mut left {
            Some(left) => left,
            none => none.insert(stubs(ring)?),
        };
        let before = stubs.all.len();
        figures.instructions = figures.instructions.max(before);
        let (done, counted) = machine(struck, stubs, limit).with_context(|| format!("during {line}"))?;
        let visited = before - stubs.all.len();
        tell!("{line}: {visited} instructions struck");
        figures.struck += visited;
        figures.nmis_injected += done.nmis;
        figures.nmis_counted += counted.nmis;
        figures.machine_checks_injected += done.machine_checks;
        figures.machine_checks_counted += counted.machine_checks;
        ensure!(
            (done.nmis, done.machine_checks) == (counted.nmis, counted.machine_checks),
            "injected {done:?}, counted {counted:?}"
        );
    }
    conclude(options, left.context("nothing ran")?, figures)
}

/// Prints and writes the figures. An instruction that was not struck and has no excuse fails the sweep.
fn conclude(options: &StrikeSweep, stubs: Stubs, mut figures: Figures) -> Result<()> {
    let mut reasons = BTreeMap::<&str, usize>::new();
    let mut open = Vec::new();
    for stub in stubs.all.into_values() {
        let why = stub.excuse.unwrap_or("never visited");
        *reasons.entry(why).or_default() += 1;
        if stub.excuse.is_none() {
            open.push(stub.place.clone());
        }
        figures.open = open.len();
        figures.unvisited.push(Unvisited { place: stub.place, why: why.to_owned() });
    }
    write(&options.json, &figures)?;
    say!(
        "ring {}: {} of {} instructions struck, {} NMIs and {} machine checks, all counted",
        figures.ring,
        figures.struck,
        figures.instructions,
        figures.nmis_counted,
        figures.machine_checks_counted
    );
    for (why, count) in reasons {
        say!("{count} not struck: {why}");
    }
    ensure!(
        options.brief || open.is_empty(),
        "{} instructions were never visited: {}",
        open.len(),
        open.join(", ")
    );
    Ok(())
}

/// Runs one machine to the limit; instructions that were struck leave `stubs`.
fn machine(mut struck: Struck, stubs: &mut Stubs, limit: u64) -> Result<(Done, Counters)> {
    let mut gdb = struck.gdb.take().context("there is no gdb stub")?;
    for &address in stubs.all.keys() {
        gdb.set(address)?;
    }
    gdb.go()?;
    let domains = struck.session.plan.config.domains.len();
    let ends = domains == 1;
    let mut done = Done::default();
    let (mut asked, mut heard, mut time) = (Instant::now(), Instant::now(), 0);
    let mut raised = BTreeMap::new();
    let trouble = loop {
        if gdb.stopped(LOOK)? {
            let before = (done.nmis, done.machine_checks);
            at_stop(&mut struck, &mut gdb, stubs, &mut done)?;
            gdb.go()?;
            if before != (done.nmis, done.machine_checks) {
                heard = Instant::now();
            }
        } else if struck.session.watch.boot.is_some()
            && let Some(vector) = next_interrupt(stubs, &mut raised)
        {
            gdb.halt()?;
            gdb.interrupt(vector)?;
            gdb.go()?;
        }
        if let Err(error) = struck.session.drain() {
            break Some(error);
        }
        let watch = &struck.session.watch;
        // A guest that ends of itself is left to do so, because that shows that all went on.
        let nothing_left = stubs.all.values().all(|stub| stub.excuse.is_some());
        if watch.all_dead(domains, |_| false) || nothing_left && !ends {
            break None;
        }
        if watch.boot.is_some() && asked.elapsed() > POLL {
            asked = Instant::now();
            struck.session.machine.tell(&format!("snapshot {POLL_LABEL}"))?;
        }
        let last = struck.session.watch.snapshots.iter().rev().find(|body| body["label"] == POLL_LABEL);
        let now = last.and_then(|body| body["time_ns"].as_u64()).unwrap_or(0);
        if now > time {
            (time, heard) = (now, Instant::now());
        }
        if time > limit {
            ensure!(!ends, "the guest did not come to its end within {limit} ns");
            break None;
        }
        if heard.elapsed() > PATIENCE {
            gdb.halt()?;
            bail!("no time passed for {} s at {:x?} after {done:x?}", PATIENCE.as_secs(), gdb.place()?);
        }
    };
    if let Some(error) = trouble {
        return Err(error.context(format!("after {done:x?}")));
    }
    gdb.leave()?;
    let counted = finish(struck.session)?;
    Ok((done, counted))
}

/// An interrupt whose way in has not been struck in full, unless it has been raised in vain.
fn next_interrupt(stubs: &Stubs, raised: &mut BTreeMap<u8, u32>) -> Option<u8> {
    let left = stubs.all.values().filter_map(|stub| stub.interrupt);
    let vector = left.min_by_key(|vector| raised.get(vector).copied().unwrap_or(0))?;
    let times = raised.entry(vector).or_default();
    *times += 1;
    (*times <= TIMES).then_some(vector)
}

/// Executes the instruction before which the processor stands at a breakpoint.
fn pass(gdb: &mut Gdb, rip: u64) -> Result<()> {
    gdb.remove(rip)?;
    gdb.step()?;
    gdb.set(rip)
}

/// The processor stands before an instruction: strikes, unless a strike is still to come, which would merge with it or
/// come early. First a machine check, the next time an NMI.
fn at_stop(struck: &mut Struck, gdb: &mut Gdb, stubs: &mut Stubs, done: &mut Done) -> Result<()> {
    let (rip, ring) = gdb.place()?;
    ensure!(stubs.all.contains_key(&rip), "a stop at {rip:#x}, where no breakpoint is");
    if ring != 0 {
        // A guest executes what it sees of the hypervisor.
        return pass(gdb, rip);
    }
    let counters = Counters::of(&gdb.read(stubs.counters, Counters::WORDS)?)?;
    let in_nmi = stubs.nmi.contains(&rip) || stubs.record == rip;
    let in_machine_check = stubs.machine_check.contains(&rip);
    // The NMI whose way in this is may not have been counted yet.
    let under_way = u64::from(stubs.nmi.contains(&rip) && rip <= stubs.counts_at);
    let nmi_is_free = done.nmis == counters.nmis + under_way;
    if nmi_is_free
        && under_way == 0
        && let Some(last) = done.last
    {
        ensure!(counters.nmi_at == last, "an NMI injected at {last:#x} struck at {:#x}", counters.nmi_at);
    }
    if !in_nmi && !in_machine_check {
        done.nmi_in_machine_check = false;
    }
    // A machine check while another is under way would overwrite its frame.
    let nested = in_nmi && done.nmi_in_machine_check;
    let by = if in_machine_check || done.checked.contains(&rip) { Strike::Nmi } else { Strike::MachineCheck };
    let free =
        nmi_is_free && !nested && (by == Strike::Nmi || done.machine_checks == counters.machine_checks);
    if !free {
        return pass(gdb, rip);
    }
    gdb.remove(rip)?;
    struck.monitor.strike(by)?;
    // From the end of a way out each strike goes its own way back once: as often as that has instructions.
    let mut within = stubs.all.keys().filter(|address| **address != rip);
    let again = stubs.left.contains(&rip)
        && within.any(|address| stubs.nmi.contains(address) || stubs.machine_check.contains(address));
    match by {
        Strike::MachineCheck => {
            done.machine_checks += 1;
            done.machine_check_in_nmi = in_nmi;
            done.checked.insert(rip);
            return gdb.set(rip);
        }
        Strike::Nmi => {
            done.nmis += 1;
            done.nmi_in_machine_check = in_machine_check;
            // Within its own way in, or that of a machine check that struck there, it waits for the end of that.
            let waits = in_nmi || in_machine_check && done.machine_check_in_nmi;
            done.last = (!waits).then_some(rip);
        }
    }
    if again {
        done.checked.remove(&rip);
        return gdb.set(rip);
    }
    stubs.all.remove(&rip);
    Ok(())
}
