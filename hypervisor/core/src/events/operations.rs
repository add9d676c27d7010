//! The event-channel hypercall: each operation decodes, checks, then commits.

use hypercall_abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVcpu, BindVirq, EventChannelOp, PortArgument,
    PortState, Reset, Status, Virq,
};
use hypercall_abi::{DomId, Errno, Port};

use super::connect;
use super::ports::Channel;
use super::raise::{raise_inline, unmask};
use crate::call::Call;
use crate::devices;
use crate::dispatch::Arguments;
use crate::guest_access::View;
use crate::machine::Machine;
use crate::world::World;

/// `event_channel_op(op, argument)`.
///
/// # Errors
/// By operation; [`Errno::NoSys`] for an unknown one, [`Errno::Fault`] for a bad pointer.
pub fn event_channel_op<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    match args {
        // By far the most frequent one does not pay for the others.
        [SEND, at, ..] => Errno::from_rax(send(call.world, call.memory, call.caller, at)),
        [op, at, ..] => rare(call, op, at),
    }
}

#[inline(never)]
fn rare<M: Machine>(call: &mut Call<'_, M>, op: u64, at: u64) -> Result<u64, Errno> {
    let op = u32::try_from(op).ok().and_then(EventChannelOp::from_raw).ok_or(Errno::NoSys)?;
    match op {
        EventChannelOp::Send => return Errno::from_rax(send(call.world, call.memory, call.caller, at)),
        EventChannelOp::Unmask => {
            let PortArgument { port } = call.read(at)?;
            open(call, Port(port))?;
            unmask(call.world, call.memory, call.caller, Port(port));
        }
        EventChannelOp::Close => {
            let PortArgument { port } = call.read(at)?;
            connect::close(call.world, call.memory, call.caller, Port(port))?;
        }
        EventChannelOp::AllocUnbound => alloc_unbound(call, at)?,
        EventChannelOp::BindInterdomain => bind_interdomain(call, at)?,
        EventChannelOp::BindVirq => bind_virq(call, at)?,
        EventChannelOp::BindPirq => bind_pirq(call, at)?,
        EventChannelOp::BindIpi => bind_ipi(call, at)?,
        EventChannelOp::BindVcpu => bind_vcpu(call, at)?,
        EventChannelOp::Status => status(call, at)?,
        EventChannelOp::Reset => reset(call, at)?,
    }
    Ok(0)
}

/// Number of [`EventChannelOp::Send`] as it stands in a register.
pub(crate) const SEND: u64 = 4;
const _: () = assert!(EventChannelOp::Send.raw() == 4);

/// `send(&port)`: raises the event at the other end of a port of the caller. What RAX holds afterwards:
/// [`Errno::Fault`] for a bad pointer, [`Errno::Inval`] if nothing can be sent through the port.
#[inline(never)]
pub(crate) fn send<M: Machine>(world: &mut World, m: &mut M, caller: DomId, at: u64) -> u64 {
    match try_send(world, m, caller, at) {
        Ok(()) => 0,
        Err(errno) => errno.to_rax(),
    }
}

#[inline(always)]
fn try_send<M: Machine>(world: &mut World, m: &mut M, caller: DomId, at: u64) -> Result<(), Errno> {
    let domain = world.domains.get(caller).ok_or(Errno::Srch)?;
    let port = Port(View::of_kernel(domain, &world.frames).read_u32(m, at)?);
    let (id, at) = match domain.events.get(port) {
        Some(Channel::Interdomain { remote, port: there }) => (remote, there),
        Some(Channel::Ipi) => (caller, port),
        Some(Channel::Unbound { remote, .. }) => {
            let missed = Channel::Unbound { remote, missed: true };
            world.domain_mut(caller)?.events.put(port, missed);
            return Ok(());
        }
        _ => return Err(Errno::Inval),
    };
    raise_inline(world, m, id, at);
    Ok(())
}

/// The caller's open port.
fn open<M: Machine>(call: &Call<'_, M>, port: Port) -> Result<Channel, Errno> {
    match call.domain()?.events.get(port) {
        None | Some(Channel::Free) => Err(Errno::Inval),
        Some(channel) => Ok(channel),
    }
}

/// Takes a port, then writes the argument back; undone if the caller's memory cannot be written.
fn take<M: Machine, T: zerocopy::IntoBytes + zerocopy::Immutable>(
    call: &mut Call<'_, M>,
    channel: Channel,
    at: u64,
    answer: impl FnOnce(Port) -> T,
) -> Result<(), Errno> {
    let port = call.domain_mut()?.events.take(channel)?;
    let written = call.write(at, &answer(port));
    if written.is_err() {
        call.domain_mut()?.events.put(port, Channel::Free);
    }
    written
}

/// Domains have one vCPU.
const fn only_vcpu(vcpu: u32) -> Result<(), Errno> {
    if vcpu == 0 { Ok(()) } else { Err(Errno::NoEnt) }
}

fn alloc_unbound<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: AllocUnbound = call.read(at)?;
    call.own_domain(argument.dom)?;
    let remote = match DomId(argument.remote_dom) {
        DomId::SELF => call.caller,
        remote => remote,
    };
    take(call, Channel::Unbound { remote, missed: false }, at, |port| AllocUnbound {
        port: port.0,
        ..argument
    })
}

fn bind_interdomain<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: BindInterdomain = call.read(at)?;
    // The answer goes where the question came from: a page that cannot be written is found before anything changes.
    call.write(at, &argument)?;
    let remote = match DomId(argument.remote_dom) {
        DomId::SELF => call.caller,
        remote => remote,
    };
    let port =
        connect::bind_interdomain(call.world, call.memory, call.caller, remote, Port(argument.remote_port))?;
    call.write(at, &BindInterdomain { local_port: port.0, ..argument })
}

fn bind_virq<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: BindVirq = call.read(at)?;
    let virq = Virq::from_raw(argument.virq).ok_or(Errno::Inval)?;
    only_vcpu(argument.vcpu)?;
    if call.domain()?.events.of_virq(virq).is_some() {
        return Err(Errno::Exist);
    }
    take(call, Channel::Virq(virq), at, |port| BindVirq { port: port.0, ..argument })
}

fn bind_ipi<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: BindIpi = call.read(at)?;
    only_vcpu(argument.vcpu)?;
    take(call, Channel::Ipi, at, |port| BindIpi { port: port.0, ..argument })
}

fn bind_pirq<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: BindPirq = call.read(at)?;
    let pirq = devices::bindable_pirq(call.world, call.caller, argument.pirq)?;
    take(call, Channel::Pirq(pirq), at, |port| BindPirq { port: port.0, ..argument })?;
    let port = call.domain()?.events.iter().find(|(_, channel)| *channel == Channel::Pirq(pirq));
    if let Some((port, _)) = port {
        devices::bind_pirq(call.world, pirq, port);
    }
    Ok(())
}

fn bind_vcpu<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: BindVcpu = call.read(at)?;
    only_vcpu(argument.vcpu)?;
    match open(call, Port(argument.port))? {
        Channel::Virq(_) | Channel::Ipi => Err(Errno::Inval),
        _ => Ok(()),
    }
}

fn status<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let argument: Status = call.read(at)?;
    call.own_domain(argument.dom)?;
    let channel = call.domain()?.events.get(Port(argument.port)).ok_or(Errno::Inval)?;
    let (state, peer, peer_port) = match channel {
        Channel::Free => (PortState::Closed, 0, 0),
        Channel::Unbound { remote, .. } => (PortState::Unbound, u32::from(remote.0), 0),
        Channel::Interdomain { remote, port } => (PortState::Interdomain, u32::from(remote.0), port.0),
        Channel::Pirq(pirq) => (PortState::Pirq, u32::from(pirq), 0),
        Channel::Virq(virq) => (PortState::Virq, virq.raw(), 0),
        Channel::Ipi => (PortState::Ipi, 0, 0),
    };
    call.write(at, &Status { status: state.raw(), vcpu: 0, peer, peer_port, ..argument })
}

fn reset<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<(), Errno> {
    let Reset { dom } = call.read(at)?;
    let id = call.own_domain(dom)?;
    connect::close_all(call.world, call.memory, id);
    Ok(())
}
