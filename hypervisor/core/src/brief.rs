//! All counters at one moment, added up over the domains of each image.
//! It exists so that a system of a thousand domains can be measured without stopping it for a line of theirs.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use crate::counters::Counters;
use crate::devices;
use crate::domain::State;
use crate::machine::Machine;
use crate::report::{hypercall_name, line};
use crate::world::World;

#[derive(Serialize)]
struct Snapshot<'a> {
    label: &'a str,
    time_ns: u64,
    switches: u64,
    idle_ns: u64,
    free_frames: u64,
    heap_used: u64,
    images: Vec<Image<'a>>,
}

/// The domains of one image.
#[derive(Default, Serialize)]
struct Image<'a> {
    image: &'a str,
    domains: u32,
    raised: u64,
    merged: u64,
    suppressed: u64,
    upcalls: u64,
    switches: u64,
    running_ns: u64,
    runnable_ns: u64,
    blocked_ns: u64,
    frames: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hypervisor_ticks: Option<u64>,
    hypercalls: BTreeMap<String, u64>,
    #[serde(skip)]
    counts: Counters,
}

/// `@snapshot` with `images` in the place of domains.
pub(crate) fn snapshot<M: Machine>(world: &mut World, m: &M, label: &str) {
    let now = m.now();
    let mut images: Vec<Image<'_>> = Vec::new();
    let domains = &world.domains;
    for domain in domains.iter().filter(|domain| domain.state == State::Running) {
        let image = domain.config.image.as_str();
        let known = images.iter().position(|sum| sum.image == image);
        let at = known.unwrap_or(images.len());
        if known.is_none() {
            if images.try_reserve(1).is_err() {
                return;
            }
            images.push(Image { image, ..Image::default() });
        }
        let Some(sum) = images.get_mut(at) else { continue };
        let [running, runnable, blocked, _] = domain.vcpu.times.spent_at(now);
        sum.domains = sum.domains.saturating_add(1);
        for (total, more) in [
            (&mut sum.raised, domain.counters.raised),
            (&mut sum.merged, domain.counters.merged),
            (&mut sum.suppressed, devices::suppressed_toward(world, m, domain.id)),
            (&mut sum.upcalls, domain.counters.upcalls),
            (&mut sum.switches, domain.counters.switches),
            (&mut sum.running_ns, running),
            (&mut sum.runnable_ns, runnable),
            (&mut sum.blocked_ns, blocked),
            (&mut sum.frames, u64::from(world.frames.owned_by(domain.id))),
            (&mut sum.counts.unknown, domain.counters.unknown),
        ] {
            *total = total.saturating_add(more);
        }
        if let Some(ticks) = m.hypervisor_ticks(domain.id) {
            let total = sum.hypervisor_ticks.get_or_insert(0);
            *total = total.saturating_add(ticks);
        }
        for (total, more) in sum.counts.hypercalls.iter_mut().zip(domain.counters.hypercalls) {
            *total = total.saturating_add(more);
        }
    }
    for image in &mut images {
        for (number, count) in (0..).zip(image.counts.hypercalls).chain([(u32::MAX, image.counts.unknown)]) {
            if count > 0 {
                let total: &mut u64 = image.hypercalls.entry(hypercall_name(number)).or_default();
                *total = total.saturating_add(count);
            }
        }
    }
    let snapshot = Snapshot {
        label,
        time_ns: now.0,
        switches: world.switches,
        idle_ns: world.idle_ns_at(now),
        free_frames: world.frames.free_frames(),
        heap_used: m.heap_used(),
        images,
    };
    // The line is written after the names in it are borrowed no more.
    let text = serde_json::to_value(&snapshot);
    if let Ok(value) = text {
        line(world, "snapshot", &value);
    }
}
