//! Event channels.

use hypercall_abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVirq, EventChannelOp, PortArgument, Status, Virq,
};
use hypercall_abi::{DomId, Hypercall, Port};

use super::raw::call2;
use super::{Result, address, done, number};

fn operate<T>(op: EventChannelOp, argument: &mut T) -> Result {
    // SAFETY: the argument is the structure that this operation reads and writes; ports are no memory.
    done(unsafe { call2::<{ number(Hypercall::EventChannelOp) }>(op.raw().into(), address(argument)) })
}

/// Makes a port that `remote` may connect to.
///
/// # Errors
/// As the hypervisor says.
pub fn alloc_unbound(remote: DomId) -> Result<Port> {
    let mut argument = AllocUnbound { dom: DomId::SELF.0, remote_dom: remote.0, port: 0 };
    operate(EventChannelOp::AllocUnbound, &mut argument)?;
    Ok(Port(argument.port))
}

/// Connects to a port that `remote` left unbound for us.
///
/// # Errors
/// As the hypervisor says.
pub fn bind_interdomain(remote: DomId, remote_port: Port) -> Result<Port> {
    let mut argument =
        BindInterdomain { remote_dom: remote.0, pad: 0, remote_port: remote_port.0, local_port: 0 };
    operate(EventChannelOp::BindInterdomain, &mut argument)?;
    Ok(Port(argument.local_port))
}

/// Receives a virtual interrupt.
///
/// # Errors
/// As the hypervisor says; [`hypercall_abi::Errno::Exist`] if it is bound already.
pub fn bind_virq(virq: Virq) -> Result<Port> {
    let mut argument = BindVirq { virq: virq.raw(), vcpu: 0, port: 0 };
    operate(EventChannelOp::BindVirq, &mut argument)?;
    Ok(Port(argument.port))
}

/// Receives a device's interrupt.
///
/// # Errors
/// As the hypervisor says.
pub fn bind_pirq(pirq: u32) -> Result<Port> {
    let mut argument = BindPirq { pirq, flags: 0, port: 0 };
    operate(EventChannelOp::BindPirq, &mut argument)?;
    Ok(Port(argument.port))
}

/// Makes a port to signal oneself.
///
/// # Errors
/// As the hypervisor says.
pub fn bind_ipi() -> Result<Port> {
    let mut argument = BindIpi { vcpu: 0, port: 0 };
    operate(EventChannelOp::BindIpi, &mut argument)?;
    Ok(Port(argument.port))
}

/// Raises the event at the other end.
///
/// # Errors
/// As the hypervisor says.
pub fn send(port: Port) -> Result {
    operate(EventChannelOp::Send, &mut PortArgument { port: port.0 })
}

/// Closes a port.
///
/// # Errors
/// As the hypervisor says.
pub fn close(port: Port) -> Result {
    operate(EventChannelOp::Close, &mut PortArgument { port: port.0 })
}

/// Clears the port's mask, and delivers if it is pending.
///
/// # Errors
/// As the hypervisor says.
pub fn unmask(port: Port) -> Result {
    operate(EventChannelOp::Unmask, &mut PortArgument { port: port.0 })
}

/// What a port is.
///
/// # Errors
/// As the hypervisor says.
pub fn status(argument: &mut Status) -> Result {
    operate(EventChannelOp::Status, argument)
}
