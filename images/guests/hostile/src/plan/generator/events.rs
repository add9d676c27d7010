//! Event channels: made, bound, raised and closed in every order, and storms of them.

use alloc::vec::Vec;

use hypercall_abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVcpu, BindVirq, EventChannelOp as Op, PortArgument,
    Reset, Status,
};
use hypercall_abi::{DomId, Hypercall};

use super::{Generator, REMEMBERED};
use crate::{Call, Expect};

const SELF: u16 = DomId::SELF.0;

impl Generator {
    /// Something with events.
    pub(super) fn event(&mut self) {
        match self.random.below(14) {
            0 => {
                let remote_dom = if self.random.once_in(2) { SELF } else { self.other_domain() };
                let call =
                    self.event_call(Op::AllocUnbound, &AllocUnbound { dom: SELF, remote_dom, port: 0 });
                self.push_call(call, "a port for somebody");
            }
            1 => self.loop_back(),
            2 => {
                let virq = self.random.below(26) as u32;
                let call = self.event_call(Op::BindVirq, &BindVirq { virq, vcpu: 0, port: 0 });
                for why in ["a virtual interrupt", "the same once more"] {
                    self.push_call(call.clone(), why);
                }
            }
            3 if self.random.once_in(60) => self.appetite = 24,
            3 => {
                let call = self.event_call(Op::BindIpi, &BindIpi { vcpu: 0, port: 0 });
                self.push_call(call, "a port to ourselves");
            }
            4 => {
                let pirq = self.random.below(300) as u32;
                let mut call = self.event_call(Op::BindPirq, &BindPirq { pirq, flags: 1, port: 0 });
                call.expect = Expect::Refusal;
                self.push_call(call, "another's device interrupt");
            }
            5 => {
                let (dom, port) = (SELF, self.some_port());
                let call = self.status(dom, port);
                self.push_call(call, "ask for a port's state");
            }
            6 => {
                let (dom, port) = (self.other_domain(), self.random.below(64) as u32);
                let call = self.status(dom, port);
                self.push_call(call, "ask for another's port");
            }
            7 => {
                let port = self.some_port();
                let call = self.event_call(Op::BindVcpu, &BindVcpu { port, vcpu: 0 });
                self.push_call(call, "choose a vCPU");
            }
            8 if self.random.once_in(12) => {
                let call = self.event_call(Op::Reset, &Reset { dom: SELF });
                self.push_call(call, "close all ports");
                self.ports.clear();
            }
            8 => {
                let dom = self.other_domain();
                let call = self.event_call(Op::Reset, &Reset { dom });
                self.push_call(Call { expect: Expect::Refusal, ..call }, "close another's ports");
            }
            9 => {
                for _ in 0..self.random.below(60) {
                    let port = self.some_port();
                    let call = self.on_port(Op::Send, port);
                    self.push_call(call, "event storm");
                }
            }
            10 => {
                let port = self.some_port();
                for op in [Op::Send, Op::Close, Op::Close, Op::Send, Op::Unmask] {
                    let call = self.on_port(op, port);
                    self.push_call(call, "close while pending, and twice");
                }
                self.ports.retain(|&kept| kept != port);
            }
            11 => {
                for _ in 0..self.random.below(20) {
                    let port = self.some_port();
                    let call = self.on_port(Op::Unmask, port);
                    self.push_call(call, "unmask storm");
                }
            }
            12 => {
                // Somebody else's unbound port, by guess.
                let remote_dom = self.other_domain();
                let remote_port = self.random.below(48) as u32;
                let argument = BindInterdomain { remote_dom, pad: 0, remote_port, local_port: 0 };
                let call = self.event_call(Op::BindInterdomain, &argument);
                self.push_call(call, "bind to a guessed port");
            }
            _ => {
                let port = self.some_port();
                let op = self.random.pick(&[Op::Send, Op::Send, Op::Close, Op::Unmask]);
                let call = self.on_port(op, port);
                self.push_call(call, "some port");
                if op == Op::Close {
                    self.ports.retain(|&kept| kept != port);
                }
            }
        }
    }

    /// Makes more ports, until there are none left and all are given back, or the domain's end has to see to it.
    pub(super) fn exhaust_ports(&mut self) {
        self.appetite -= 1;
        if self.appetite == 0 {
            let call = self.event_call(Op::Reset, &Reset { dom: SELF });
            self.push_call(call, "give every port back");
            return;
        }
        for _ in 0..200 {
            let call = self.event_call(Op::BindIpi, &BindIpi { vcpu: 0, port: 0 });
            self.push_steady(call, "take every port");
        }
    }

    /// Binds to our own port, once rightly and once more.
    fn loop_back(&mut self) {
        let remote_port = self.some_port();
        let argument = BindInterdomain { remote_dom: SELF, pad: 0, remote_port, local_port: 0 };
        for why in ["connect to ourselves", "connect twice"] {
            let call = self.event_call(Op::BindInterdomain, &argument);
            self.push_call(call, why);
        }
    }

    /// Closes what is remembered, but for the ports that the system gave.
    pub(super) fn close_ports(&mut self) {
        let ports: Vec<u32> = core::mem::take(&mut self.ports);
        for port in ports {
            if !self.estate.state_ports.contains(&port) {
                let call = self.on_port(Op::Close, port);
                self.push_steady(call, "close what was opened");
            }
        }
        self.ports = self.estate.state_ports.clone();
    }

    /// Remembers a new port.
    pub(super) fn observe_event(&mut self, call: &Call, after: &[u8]) {
        let Some(op) = Op::from_raw(call.args[0] as u32) else { return };
        let offset = match op {
            Op::AllocUnbound | Op::BindIpi => 4,
            Op::BindInterdomain | Op::BindVirq | Op::BindPirq => 8,
            _ => return,
        };
        if let Some(port) = after.get(offset..).and_then(|bytes| bytes.first_chunk())
            && self.ports.len() < REMEMBERED
        {
            self.ports.push(u32::from_le_bytes(*port));
        }
    }

    /// A port that exists, mostly.
    pub(super) fn some_port(&mut self) -> u32 {
        match self.random.below(10) {
            0 => self.random.pick(&[0, 4095, 4096, u32::MAX, 1 << 31]),
            1 => self.random.below(64) as u32,
            _ if self.ports.is_empty() => self.random.below(8) as u32,
            _ => self.random.pick(&self.ports.clone()),
        }
    }

    fn status(&mut self, dom: u16, port: u32) -> Call {
        let argument = Status { dom, pad: 0, port, status: 0, vcpu: 0, peer: 0, peer_port: 0 };
        self.event_call(Op::Status, &argument)
    }

    fn on_port(&mut self, op: Op, port: u32) -> Call {
        self.event_call(op, &PortArgument { port })
    }

    fn event_call<T: zerocopy::IntoBytes + zerocopy::Immutable>(&mut self, op: Op, argument: &T) -> Call {
        self.operate(Hypercall::EventChannelOp, op.raw(), argument)
    }
}
