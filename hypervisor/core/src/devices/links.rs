//! Split devices: the link between a front end and a back end, over deaths and restarts of either.
//! A link is of the configuration and lasts; the domains at its ends come and go.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hypercall_abi::device::{BACK_HALF, DeviceKind, FRONT_HALF, NO_DISK, NetHalf, XenbusState};
use hypercall_abi::event_channel::Virq;
use hypercall_abi::grant_table::DEVICE_FIRST;
use hypercall_abi::{DomId, GrantRef, Port};
use zerocopy::IntoBytes;

use super::directory::{change, entry_name, options, page_frame, write_frame};
use crate::config::{self, Device};
use crate::domain::State;
use crate::events::{self, connect_pair};
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::world::World;

/// A split device.
#[derive(Clone, Debug)]
pub struct Link {
    /// Name of the domain with the front end.
    pub front_name: String,
    /// Name of the domain with the back end.
    pub back_name: String,
    /// Index of the front end in its domain's directory.
    front_entry: u32,
    /// Index of the back end in its domain's directory.
    pub(super) back_entry: u32,
    /// What the back end is.
    pub(super) back_kind: DeviceKind,
    /// Device page among those of the front end's domain.
    page: u32,
    /// The domains and their state ports, while both are there.
    ends: Option<Ends>,
}

/// The two ends of a link.
#[derive(Clone, Copy, Debug)]
struct Ends {
    front: DomId,
    back: DomId,
    front_port: Port,
    back_port: Port,
}

/// Lists the links of a configuration. A back end's entries follow its domain's own devices.
pub(crate) fn plan(domains: &[Arc<config::Domain>]) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut taken: Vec<u32> =
        domains.iter().map(|domain| u32::try_from(domain.devices.len()).unwrap_or(0)).collect();
    for domain in domains {
        let mut page = 0_u32;
        for (device, front_entry) in domain.devices.iter().zip(0..) {
            let Some(backend) = device.backend() else { continue };
            let at = domains.iter().position(|domain| domain.name == backend);
            if let Some(next) = at.and_then(|at| taken.get_mut(at)) {
                links.push(Link {
                    front_name: domain.name.clone(),
                    back_name: backend.into(),
                    front_entry,
                    back_entry: *next,
                    back_kind: match device {
                        Device::BlockFront { .. } => DeviceKind::BlockBack,
                        Device::NetFront { .. } | Device::Pci { .. } => DeviceKind::NetBack,
                    },
                    page,
                    ends: None,
                });
                *next = next.saturating_add(1);
            }
            page = page.saturating_add(1);
        }
    }
    links
}

/// Connects each link of a new domain whose other end is there.
pub(crate) fn connect_all<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let Some(domain) = world.domains.get(id) else { return };
    let mut changed = Vec::new();
    for index in domain.directory.links.clone() {
        let Some(peer) = connect(world, m, id, index) else { continue };
        changed.push(peer);
    }
    tell(world, m, changed);
}

/// Raises the virtual interrupt of a changed directory, once for each domain.
fn tell<M: Machine>(world: &mut World, m: &mut M, mut changed: Vec<DomId>) {
    changed.sort_unstable();
    changed.dedup();
    for id in changed {
        events::raise_virq(world, m, id, Virq::Devices);
    }
}

fn link(world: &World, index: u32) -> Option<&Link> {
    world.devices.links.get(usize::try_from(index).ok()?)
}

fn set_ends(world: &mut World, index: u32, ends: Option<Ends>) {
    let link = usize::try_from(index).ok().and_then(|index| world.devices.links.get_mut(index));
    if let Some(link) = link {
        link.ends = ends;
    }
}

/// Connects a link if its other end lives. Returns the other end.
fn connect<M: Machine>(world: &mut World, m: &mut M, id: DomId, index: u32) -> Option<DomId> {
    let Link { front_name, back_name, front_entry, back_entry, back_kind, page, ends } =
        link(world, index)?.clone();
    if ends.is_some() {
        return None;
    }
    let is_front = world.domains.get(id)?.config.name == front_name;
    let other_name = if is_front { &back_name } else { &front_name };
    let other = world.living(other_name)?;
    let (front, back) = if is_front { (id, other) } else { (other, id) };
    let reference = GrantRef(DEVICE_FIRST.saturating_add(page));
    let frame = page_frame(world, front, page)?;
    // A page that has become something else is nothing to share.
    if world.frames.get_writable(frame, front).is_err() {
        return None;
    }
    world.frames.put_writable(frame);
    let (front_port, back_port) = connect_pair(world, front, back).ok()?;
    let domain = world.domains.get(front)?;
    let config = domain.config.clone();
    if !domain.grants.seed(m, reference, back, frame, false) {
        let _ = events::close(world, m, front, front_port);
        let _ = events::close(world, m, back, back_port);
        return None;
    }
    set_ends(world, index, Some(Ends { front, back, front_port, back_port }));
    change(world, m, front, front_entry, |entry| {
        entry.peer = back.0;
        entry.state_port = front_port.0;
    });
    let device = usize::try_from(front_entry).ok().and_then(|index| config.devices.get(index));
    change(world, m, back, back_entry, |entry| {
        entry.kind = back_kind.raw();
        entry.disk = NO_DISK;
        entry.peer = front.0;
        entry.state_port = back_port.0;
        entry.page = u64::from(reference.0);
        entry.name = entry_name(&front_name);
        match device {
            Some(Device::NetFront { mac, ipv4, prefix, gateway, suppress, .. }) => {
                entry.options = options(*suppress);
                (entry.mac, entry.ipv4, entry.prefix, entry.gateway) = (*mac, *ipv4, *prefix, *gateway);
            }
            Some(Device::BlockFront {
                disk, access, first_sector, sectors, memory_bytes, suppress, ..
            }) => {
                entry.options = options(*suppress);
                (entry.disk, entry.access, entry.first_sector) = (*disk, *access, *first_sector);
                (entry.sectors, entry.memory_bytes) = (*sectors, *memory_bytes);
            }
            Some(Device::Pci { .. }) | None => {}
        }
    });
    Some(other)
}

/// Whether `back` is the back end of one of the devices of `front`, of which there are few.
pub(crate) fn serves(world: &World, back: DomId, front: DomId) -> bool {
    let Some(domain) = world.domains.get(front) else { return false };
    let mut links = domain.directory.own.clone().filter_map(|index| link(world, index)?.ends);
    links.any(|ends| ends.front == front && ends.back == back)
}

/// Breaks each link of a domain that ends: its half says closed, and the other end's entry has no peer.
pub(crate) fn disconnect_all<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let Some(domain) = world.domains.get(id) else { return };
    let mut changed = Vec::new();
    for index in domain.directory.links.clone() {
        let Some(link) = link(world, index) else { continue };
        let (front_entry, back_entry, page) = (link.front_entry, link.back_entry, link.page);
        let Some(Ends { front, back, front_port, back_port }) = link.ends else { continue };
        set_ends(world, index, None);
        let half = if id == front { FRONT_HALF } else { BACK_HALF };
        let closed = XenbusState::Closed.raw();
        if let (Some(mfn), Ok(offset)) = (page_frame(world, front, page), u64::try_from(half)) {
            write_frame(world, m, front, mfn, offset, closed.as_bytes());
        }
        let (other, entry, port) =
            if id == front { (back, back_entry, back_port) } else { (front, front_entry, front_port) };
        let _ = events::close(world, m, other, port);
        change(world, m, other, entry, |entry| {
            entry.peer = DomId::INVALID.0;
            entry.state_port = 0;
        });
        changed.push(other);
    }
    tell(world, m, changed);
}

/// Notifications that the peers of a domain did not have to send it, as they say in their halves. It looks at all of the
/// domain's links, so it is for reports.
pub(crate) fn suppressed_toward<M: Machine>(world: &World, m: &M, id: DomId) -> u64 {
    let Some(domain) = world.domains.get(id) else { return 0 };
    let links = domain.directory.links.iter().filter_map(|&index| suppressed(world, m, index, id, |_| true));
    links.fold(0, u64::saturating_add)
}

/// The same of what one back end did not have to tell the domain about its own devices. This is asked on the way of
/// events, so a domain that serves a thousand others is looked at no longer than they are.
pub(crate) fn suppressed_by<M: Machine>(world: &World, m: &M, back: DomId, id: DomId) -> u64 {
    let Some(domain) = world.domains.get(id) else { return 0 };
    let own = domain.directory.own.clone();
    let links = own.filter_map(|index| suppressed(world, m, index, id, |ends| ends.back == back));
    links.fold(0, u64::saturating_add)
}

/// What the other end of a link says that it did not have to tell a domain.
fn suppressed<M: Machine>(
    world: &World,
    m: &M,
    index: u32,
    toward: DomId,
    counts: impl Fn(&Ends) -> bool,
) -> Option<u64> {
    let link = link(world, index)?;
    let ends = link.ends.filter(counts)?;
    let half = if toward == ends.front { BACK_HALF } else { FRONT_HALF };
    let offset = half.saturating_add(core::mem::offset_of!(NetHalf, suppressed));
    let mfn = page_frame(world, ends.front, link.page)?;
    let runs = world.domains.get(ends.front).is_some_and(|front| front.state == State::Running);
    let at = MachineAddress::in_frame(mfn, u64::try_from(offset).ok()?);
    runs.then(|| m.load(at))
}
