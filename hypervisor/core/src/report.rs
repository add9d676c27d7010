//! Lines for programs to read on the serial line: lives, counters, audits.
//! They are written from structures, so that a field's name stands in one place.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hypercall_abi::{DomId, Hypercall};
use serde::Serialize;

use crate::devices;
use crate::domain::State;
use crate::effects::Todo;
use crate::machine::Machine;
use crate::records::Records;
use crate::world::World;

/// A hypercall's name in reports: as in the interface, in lower case with underscores.
#[must_use]
pub fn hypercall_name(number: u32) -> String {
    let Some(known) = Hypercall::from_raw(number) else { return String::from("unknown") };
    let mut name = String::new();
    for letter in known.name().chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[derive(Serialize)]
struct DomainLine<'a> {
    id: Option<u16>,
    name: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct DomainCounters {
    id: u16,
    name: String,
    raised: u64,
    merged: u64,
    suppressed: u64,
    upcalls: u64,
    switches: u64,
    bounced: u64,
    system_calls: u64,
    hypercalls: BTreeMap<String, u64>,
    running_ns: u64,
    runnable_ns: u64,
    blocked_ns: u64,
    frames: u64,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    label: &'a str,
    time_ns: u64,
    switches: u64,
    idle_ns: u64,
    free_frames: u64,
    heap_used: u64,
    trace_lost: u64,
    trace_written: u64,
    nmis: u64,
    machine_checks: u64,
    domains: Vec<DomainCounters>,
}

#[derive(Serialize)]
struct Audit {
    ok: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    broken: Vec<String>,
    domains: usize,
    zombies: usize,
    total_frames: u64,
    free_frames: u64,
}

#[derive(Serialize)]
struct Answer<'a> {
    command: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    message: &'a str,
}

/// Writes a line, whatever it is of.
pub(crate) fn line<T: Serialize>(world: &mut World, kind: &str, value: &T) {
    match serde_json::to_string(value) {
        Ok(json) => world.output.report(kind, &json),
        Err(error) => world.output.log(&format!("no report of {kind}: {error}")),
    }
    world.effects.todo |= Todo::CONSOLE;
}

/// `@domain`: a domain's life went on.
pub(crate) fn domain(world: &mut World, id: DomId, state: &str) {
    let Some(domain) = world.domains.get(id) else { return };
    let name = domain.name.to_string();
    let reason = domain.ended.map(|end| end.to_string());
    line(world, "domain", &DomainLine { id: Some(id.0), name: &name, state, reason });
}

/// `@domain` of one that is to be built again and is none until then: that it waits, or does so no longer.
pub(crate) fn waiting(world: &mut World, name: &str, state: &str, reason: String) {
    line(world, "domain", &DomainLine { id: None, name, state, reason: Some(reason) });
}

/// `@ok`: a command was carried out.
pub(crate) fn done(world: &mut World, command: &str) {
    line(world, "ok", &Answer { command });
}

/// `@error`: a command was not.
pub(crate) fn failed(world: &mut World, message: &str) {
    line(world, "error", &Failure { message });
}

/// `@list`: each domain with its state.
pub(crate) fn list(world: &mut World) {
    let lines: Vec<_> = world
        .domains
        .iter()
        .map(|domain| {
            let state = match domain.state {
                State::Building => "building",
                State::Running => "running",
                State::Dying | State::Zombie => "dying",
            };
            (domain.id.0, domain.name.to_string(), state, domain.ended.map(|end| end.to_string()))
        })
        .collect();
    let lines: Vec<_> =
        lines.into_iter().map(|(id, name, state, reason)| ListLine { id, name, state, reason }).collect();
    line(world, "list", &List { domains: lines });
}

#[derive(Serialize)]
struct List {
    domains: Vec<ListLine>,
}

#[derive(Serialize)]
struct ListLine {
    id: u16,
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `@snapshot`: all counters at this moment.
pub(crate) fn snapshot<M: Machine>(world: &mut World, m: &M, label: &str) {
    let (now, strikes) = (m.now(), m.strikes());
    let counters = world.domains.iter().filter(|domain| domain.state == State::Running).map(|domain| {
        let counters = &domain.counters;
        let [running_ns, runnable_ns, blocked_ns, _] = domain.vcpu.times.spent_at(now);
        let mut hypercalls = BTreeMap::new();
        for (number, count) in (0..).zip(counters.hypercalls).chain([(u32::MAX, counters.unknown)]) {
            if count > 0 {
                let total: &mut u64 = hypercalls.entry(hypercall_name(number)).or_default();
                *total = total.saturating_add(count);
            }
        }
        DomainCounters {
            id: domain.id.0,
            name: domain.name.to_string(),
            raised: counters.raised,
            merged: counters.merged,
            suppressed: devices::suppressed_toward(world, m, domain.id),
            upcalls: counters.upcalls,
            switches: counters.switches,
            bounced: counters.bounced,
            system_calls: counters.system_calls,
            hypercalls,
            running_ns,
            runnable_ns,
            blocked_ns,
            frames: u64::from(world.frames.owned_by(domain.id)),
        }
    });
    let snapshot = Snapshot {
        label,
        time_ns: now.0,
        switches: world.switches,
        idle_ns: world.idle_ns_at(now),
        free_frames: world.frames.free_frames(),
        heap_used: m.heap_used(),
        trace_lost: world.trace.lost(),
        trace_written: world.trace.written(),
        nmis: strikes.nmis,
        machine_checks: strikes.machine_checks,
        domains: counters.collect(),
    };
    line(world, "snapshot", &snapshot);
}

/// `@audit`: whether all that must hold does.
pub(crate) fn audit<M: Machine>(world: &mut World, m: &M) {
    audited(world, world.check(m));
}

/// `@audit` after a death: whether it left behind what it must, no more and no less.
pub(crate) fn audit_death(world: &mut World, dead: DomId) {
    audited(world, world.check_after_death(dead));
}

fn audited(world: &mut World, found: Result<(), String>) {
    let broken = found.err().into_iter().collect::<Vec<_>>();
    let audit = Audit {
        ok: broken.is_empty(),
        broken,
        domains: world.domains.len(),
        zombies: world.domains.iter().filter(|domain| domain.state == State::Zombie).count(),
        total_frames: world.frames.total_frames(),
        free_frames: world.frames.free_frames(),
    };
    line(world, "audit", &audit);
}

/// `@boot`: how the system started; `heap_before` bytes of the heap were in use before the first domain.
pub(crate) fn boot<M: Machine>(world: &mut World, m: &M, heap_before: u64) {
    #[derive(Serialize)]
    struct Boot {
        virtual_ns: u64,
        tsc_khz: u64,
        memory_bytes: u64,
        free_bytes: u64,
        shared_bytes: u64,
        heap_bytes: u64,
        heap_used: u64,
        heap_used_by_domains: u64,
        records: Records,
    }
    let heap_used = m.heap_used();
    let boot = Boot {
        virtual_ns: m.now().0,
        tsc_khz: world.constants.tsc_khz,
        memory_bytes: world.frames.total_frames().saturating_mul(4096),
        free_bytes: world.frames.free_frames().saturating_mul(4096),
        shared_bytes: u64::from(world.frames.owned_by(DomId::COW)).saturating_mul(4096),
        heap_bytes: world.constants.heap_bytes,
        heap_used,
        heap_used_by_domains: heap_used.saturating_sub(heap_before),
        records: Records::sum(world.domains.iter()),
    };
    line(world, "boot", &boot);
}
