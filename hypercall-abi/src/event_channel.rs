//! Event channels: one bit between two domains, or from the hypervisor, with an upcall behind it.

abi_enum! {
    /// Operation of [`crate::Hypercall::EventChannelOp`] (`EVTCHNOP_*`).
    pub enum EventChannelOp: u32 {
        /// `(&BindInterdomain)`: connect to a port that another domain left unbound for us.
        BindInterdomain = 0,
        /// `(&BindVirq)`: receive a virtual interrupt.
        BindVirq = 1,
        /// `(&BindPirq)`: receive a device's interrupt.
        BindPirq = 2,
        /// `(&PortArgument)`: close a port.
        Close = 3,
        /// `(&PortArgument)`: raise the event at the other end.
        Send = 4,
        /// `(&Status)`: what a port is.
        Status = 5,
        /// `(&AllocUnbound)`: make a port for another domain to connect to.
        AllocUnbound = 6,
        /// `(&BindIpi)`: a port to signal oneself.
        BindIpi = 7,
        /// `(&BindVcpu)`: choose the vCPU that is told.
        BindVcpu = 8,
        /// `(&PortArgument)`: clear the mask, and deliver if pending.
        Unmask = 9,
        /// `(&Reset)`: close all ports.
        Reset = 10,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::AllocUnbound`] (`evtchn_alloc_unbound`).
    pub struct AllocUnbound(8) {
        /// IN: owner, [`crate::DomId::SELF`] unless privileged.
        0 => dom: u16,
        /// IN: who may connect.
        2 => remote_dom: u16,
        /// OUT: the port.
        4 => port: u32,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::BindInterdomain`] (`evtchn_bind_interdomain`).
    pub struct BindInterdomain(12) {
        /// IN: the other domain.
        0 => remote_dom: u16,
        /// Unused.
        2 => pad: u16,
        /// IN: its unbound port.
        4 => remote_port: u32,
        /// OUT: our port.
        8 => local_port: u32,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::BindVirq`] (`evtchn_bind_virq`).
    pub struct BindVirq(12) {
        /// IN: a [`Virq`].
        0 => virq: u32,
        /// IN: vCPU.
        4 => vcpu: u32,
        /// OUT: the port.
        8 => port: u32,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::BindPirq`] (`evtchn_bind_pirq`).
    pub struct BindPirq(12) {
        /// IN: the interrupt's number, from [`crate::physdev::MapPirq`].
        0 => pirq: u32,
        /// IN: 1 if it may be shared.
        4 => flags: u32,
        /// OUT: the port.
        8 => port: u32,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::BindIpi`] (`evtchn_bind_ipi`).
    pub struct BindIpi(8) {
        /// IN: vCPU that is signalled.
        0 => vcpu: u32,
        /// OUT: the port.
        4 => port: u32,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::BindVcpu`] (`evtchn_bind_vcpu`).
    pub struct BindVcpu(8) {
        /// IN: the port.
        0 => port: u32,
        /// IN: vCPU that is told.
        4 => vcpu: u32,
    }
}

abi_struct! {
    /// Argument of send, close and unmask (`evtchn_send`, `evtchn_close`, `evtchn_unmask`).
    pub struct PortArgument(4) {
        /// IN: the port.
        0 => port: u32,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::Reset`] (`evtchn_reset`).
    pub struct Reset(2) {
        /// IN: whose ports, [`crate::DomId::SELF`] unless privileged.
        0 => dom: u16,
    }
}

abi_struct! {
    /// Argument of [`EventChannelOp::Status`] (`evtchn_status`).
    pub struct Status(24) {
        /// IN: whose port.
        0 => dom: u16,
        /// Unused.
        2 => pad: u16,
        /// IN: the port.
        4 => port: u32,
        /// OUT: a [`PortState`].
        8 => status: u32,
        /// OUT: vCPU that is told.
        12 => vcpu: u32,
        /// OUT: unbound: domain that may connect; interdomain: the other domain; else virq, pirq.
        16 => peer: u32,
        /// OUT: interdomain: the other port.
        20 => peer_port: u32,
    }
}

abi_enum! {
    /// What a port is (`EVTCHNSTAT_*`).
    pub enum PortState: u32 {
        /// Free.
        Closed = 0,
        /// Waits for its peer.
        Unbound = 1,
        /// Connected to a peer.
        Interdomain = 2,
        /// Bound to a device's interrupt.
        Pirq = 3,
        /// Bound to a virtual interrupt.
        Virq = 4,
        /// Bound to ourselves.
        Ipi = 5,
    }
}

abi_enum! {
    /// Virtual interrupts (`VIRQ_*`).
    pub enum Virq: u32 {
        /// The vCPU's timer.
        Timer = 0,
        /// A request to dump state.
        Debug = 1,
        /// Console input has arrived.
        Console = 2,
        /// Denizen: the domain's device directory changed (Xen's `VIRQ_ARCH_0`; [`crate::device`]).
        Devices = 16,
    }
}

/// Ports of the two-level bitmap: 64 words of 64 bits.
pub const PORTS_MAX: u32 = 4096;
