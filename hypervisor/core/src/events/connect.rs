//! Connecting and closing ports, also on the hypervisor's own account.
//! A port's end changes at both sides or at neither.

use hypercall_abi::{DomId, Errno, Port};

use super::ports::Channel;
use super::raise::{forget, raise};
use crate::devices;
use crate::machine::Machine;
use crate::world::World;

/// Connects the caller to a port that another domain (or the caller) left unbound for it.
pub(super) fn bind_interdomain<M: Machine>(
    world: &mut World,
    m: &mut M,
    caller: DomId,
    remote: DomId,
    remote_port: Port,
) -> Result<Port, Errno> {
    let missed = match world.domain(remote)?.events.get(remote_port) {
        Some(Channel::Unbound { remote, missed }) if remote == caller => missed,
        _ => return Err(Errno::Inval),
    };
    let port = world.domain_mut(caller)?.events.take(Channel::Interdomain { remote, port: remote_port })?;
    let there = Channel::Interdomain { remote: caller, port };
    world.domain_mut(remote)?.events.put(remote_port, there);
    if missed {
        raise(world, m, caller, port);
    }
    Ok(port)
}

/// Connects two domains, a port at each; returns the ports in the order of the domains.
///
/// # Errors
/// [`Errno::Srch`] if one does not exist, [`Errno::NoSpc`] or [`Errno::NoMem`] if there is no port; nothing has
/// changed then.
pub fn connect_pair(world: &mut World, one: DomId, other: DomId) -> Result<(Port, Port), Errno> {
    world.domain(other)?;
    let first = world.domain_mut(one)?.events.take(Channel::Unbound { remote: other, missed: false })?;
    let taken = world
        .domain_mut(other)
        .and_then(|domain| domain.events.take(Channel::Interdomain { remote: one, port: first }));
    let ports = &mut world.domain_mut(one)?.events;
    match taken {
        Ok(second) => {
            ports.put(first, Channel::Interdomain { remote: other, port: second });
            Ok((first, second))
        }
        Err(errno) => {
            ports.put(first, Channel::Free);
            Err(errno)
        }
    }
}

/// Closes a port; its peer's port waits for the same domain to connect again.
///
/// # Errors
/// [`Errno::Inval`] if it is not open.
pub fn close<M: Machine>(world: &mut World, m: &mut M, id: DomId, port: Port) -> Result<(), Errno> {
    let domain = world.domain_mut(id)?;
    let channel = match domain.events.get(port) {
        None | Some(Channel::Free) => return Err(Errno::Inval),
        Some(channel) => channel,
    };
    domain.events.put(port, Channel::Free);
    forget(m, domain.shared_info, port);
    match channel {
        Channel::Interdomain { remote, port: there } => {
            if let Some(peer) = world.domains.get_mut(remote) {
                peer.events.put(there, Channel::Unbound { remote: id, missed: false });
            }
        }
        Channel::Pirq(pirq) => devices::unbind_pirq(world, id, pirq),
        Channel::Free | Channel::Unbound { .. } | Channel::Virq(_) | Channel::Ipi => {}
    }
    Ok(())
}

/// Closes all ports of a domain.
pub fn close_all<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let end = world.domains.get(id).map_or(0, |domain| domain.events.end());
    for port in 1..end {
        let _ = close(world, m, id, Port(port));
    }
}
