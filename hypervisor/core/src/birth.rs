//! Births of domains: from a configuration and an image to a vCPU that runs, or to the reason why there is none.
//! It is apart from their deaths because it all happens at once, and because what a new domain is told must be in one place.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hypercall_abi::vcpu::RunState;
use hypercall_abi::{DomId, Errno, device, shared_info};
use zerocopy::IntoBytes;

use crate::builder::{self, Built, Order};
use crate::config;
use crate::delivery::{Gathering, Policy};
use crate::devices;
use crate::domain::{Domain, State};
use crate::effects::Todo;
use crate::life::Past;
use crate::machine::Machine;
use crate::memory::{MachineAddress, MachineMemory};
use crate::report;
use crate::ring::Ring;
use crate::trace::records::{MemoryChange, Reason, Stage};
use crate::trace::{self, Record};
use crate::world::World;

/// Creates each domain of a system. One that cannot be built is named in the log; the others start.
pub(crate) fn create_all<M: Machine>(world: &mut World, m: &mut M, domains: Vec<config::Domain>) {
    let domains: Vec<_> = domains.into_iter().map(Arc::new).collect();
    world.devices.set_links(devices::plan(&domains));
    for config in &domains {
        create(world, m, config, Past::default());
    }
}

/// Creates one domain with this past. One that cannot be built is named in the log.
pub(crate) fn create<M: Machine>(world: &mut World, m: &mut M, config: &Arc<config::Domain>, past: Past) {
    if let Err(why) = try_create(world, m, config, past) {
        world.output.log(&format!("{} not started: {why}", config.name));
        world.output.report(
            "domain",
            &format!(
                r#"{{"id":null,"name":{},"state":"failed","reason":{}}}"#,
                quoted(&config.name),
                quoted(&why)
            ),
        );
        world.effects.todo |= Todo::CONSOLE;
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn try_create<M: Machine>(
    world: &mut World,
    m: &mut M,
    config: &Arc<config::Domain>,
    past: Past,
) -> Result<(), String> {
    let ring = Ring::from_number(config.ring)
        .filter(|ring| *ring != Ring::One || world.frames.maps().ring1_slots.is_some())
        .ok_or_else(|| format!("ring = {}: a kernel cannot run there on this processor", config.ring))?;
    let links = world.devices.links_of(&config.name);
    let entries = directory_entries(world, config, &links);
    let image = world
        .images
        .get(&config.image)
        .ok_or_else(|| format!("no image {} in the boot archive", config.image))?;
    let id = world.domains.free_id().map_err(no_room)?;
    let mut command_line = config.command_line.clone();
    let Past { incarnation, .. } = past;
    if incarnation > 0 {
        // A guest that is built again can tell, and do something else this time.
        command_line.push_str(&format!(" incarnation={incarnation}"));
    }
    let order = Order {
        owner: id,
        ring,
        memory_bytes: config.memory_bytes,
        command_line: &command_line,
        contiguous: config.devices.iter().any(|device| matches!(device, config::Device::Pci { .. })),
        directory_entries: u32::try_from(entries).unwrap_or(u32::MAX),
        device_pages: u32::try_from(fronts(config)).unwrap_or(u32::MAX),
        privileged: false,
    };
    world.timers.admit(id).map_err(no_room)?;
    let slice_ns = config.slice_us.map_or(world.slice_ns, |us| u64::from(us).saturating_mul(1000));
    world.scheduler.admit(id, slice_ns, config.weight).map_err(no_room)?;
    let built =
        builder::build(m, &mut world.frames, image.bytes, image.common(ring), &order).map_err(|error| {
            world.scheduler.dismiss(id);
            format!("{} {error}", config.image)
        })?;
    let mut domain = Box::new(Domain::new(id, config.clone(), m.now()));
    let Built { address_space, grants, shared_info, root, registers, directory, device_pages } = built;
    domain.past = past;
    domain.address_space = address_space;
    domain.frames_given = world.frames.owned_by(id);
    domain.grants = grants;
    domain.shared_info = shared_info;
    domain.vcpu.kernel_root = root;
    domain.vcpu.kernel_stack = registers.rsp;
    domain.vcpu.registers = registers;
    domain.vcpu.set_ring(ring);
    domain.delivery = Gathering::new(Policy::from(config.delivery));
    domain.directory.first = directory;
    domain.directory.pages = device_pages;
    domain.directory.entries = alloc::vec![device::DirectoryEntry::zeroed(); entries];
    domain.directory.own = world.devices.own_of(&links, &config.name);
    domain.directory.links = links;
    domain.state = State::Running;
    domain.vcpu.times.enter(RunState::Runnable, m.now());
    world.domains.insert(domain);
    introduce(world, m, id);
    Ok(())
}

/// How many front ends a domain has.
fn fronts(config: &config::Domain) -> usize {
    config.devices.iter().filter(|device| device.backend().is_some()).count()
}

/// How many entries a domain's directory has: its own devices, and the back ends that it is to others, of all its `links`.
fn directory_entries(world: &World, config: &config::Domain, links: &[u32]) -> usize {
    let link = |index: u32| world.devices.links.get(usize::try_from(index).ok()?);
    let is_back = |index: &&u32| link(**index).is_some_and(|link| link.back_name == config.name);
    config.devices.len().saturating_add(links.iter().filter(is_back).count())
}

/// Tells a new domain of the clock and its devices, its neighbours and the trace of it, and lets it run.
fn introduce<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    write_clock(world, m, id);
    devices::write_first(world, m, id);
    devices::connect_all(world, m, id);
    if let Some(domain) = world.domains.get(id) {
        world.trace.name(m, id, &domain.config.name);
    }
    world.trace.put(m, id, &Record::Life { stage: Stage::Built.raw(), reason: 0 });
    trace::first_times(world, m, id);
    let frames = world.domains.get(id).map_or(0, |domain| u64::from(domain.frames_given));
    world.trace.put(m, id, &Record::Memory { change: MemoryChange::Given.raw(), frames });
    trace::run_state(world, m, id, RunState::Runnable, Reason::Built);
    if let Some(domain) = world.domains.get(id) {
        trace::tell_guest(&world.trace, m, domain);
    }
    let now = m.now();
    world.scheduler.wake(id, now);
    world.reschedule();
    report::domain(world, id, "running");
    world.effects.todo |= Todo::CONSOLE;
}

fn no_room(_: Errno) -> String {
    String::from("the hypervisor has no memory for its records")
}

/// Writes the clock into a new domain's shared page. It never changes, since the TSC is stable.
fn write_clock<M: MachineMemory>(world: &World, m: &mut M, id: DomId) {
    let Some(domain) = world.domains.get(id) else { return };
    let scale = world.constants.scale;
    let time = shared_info::VcpuTimeInfo {
        version: 2,
        tsc_timestamp: scale.origin,
        tsc_to_system_mul: scale.multiplier,
        tsc_shift: scale.shift,
        flags: 1,
        ..shared_info::VcpuTimeInfo::zeroed()
    };
    let at = core::mem::offset_of!(shared_info::VcpuInfo, time);
    let at = u64::try_from(at).unwrap_or(0);
    m.write(MachineAddress::in_frame(domain.shared_info, at), time.as_bytes());
    let seconds = world.constants.wall_clock;
    let low = u32::try_from(seconds & 0xffff_ffff).unwrap_or(0);
    let high = u32::try_from(seconds >> 32).unwrap_or(0);
    let wall = [2_u32, low, 0, high];
    let at = core::mem::offset_of!(shared_info::SharedInfo, wc_version);
    let at = u64::try_from(at).unwrap_or(0);
    m.write(MachineAddress::in_frame(domain.shared_info, at), wall.as_bytes());
}
