//! Sending an event the short way: to a domain that is awake and is not to be given the processor for it.
//! It exists because that is what happens under load: the receiver sees the event when its turn comes.
//!
//! It gives the same answer as [`super::operations::send`], and where it does not apply it has changed nothing.

use hypercall_abi::{DomId, Port};

use super::ports::Channel;
use super::raise::{MASK, PENDING, SELECTOR, bit, bit_of_word};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::trace::{self, Record, Trace};
use crate::traps;
use crate::vcpu::Sleep;
use crate::world::{Short, World};

/// `send(&port)` with its answer in RAX, and the caller's upcall if one is due then.
#[inline(always)]
pub(crate) fn send<M: Machine, const RECORDED: bool>(
    world: &mut World,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
) -> Short {
    let World { domains, trace, shared_page, .. } = world;
    let Some(domain) = domains.get_mut(caller) else { return Short::No };
    let remembered = domain.address_space.remembered();
    let root = domain.vcpu.kernel_root;
    let Some(at) = remembered.find_words::<1>(root, regs.rsi & !4) else { return Short::No };
    let word = m.load(at) >> ((regs.rsi & 4) << 3);
    let port = Port(u32::try_from(word & 0xffff_ffff).unwrap_or(0));
    match domain.events.get(port) {
        Some(Channel::Ipi) => {
            mark::<_, RECORDED>(trace, domain, m, port, caller);
            answered::<_, RECORDED>(trace, m, regs, caller);
            if traps::is_due(m.load(*shared_page)) {
                traps::upcall_short::<_, RECORDED>(trace, domain, m, regs)
            } else {
                Short::Done
            }
        }
        Some(Channel::Interdomain { remote, port: there }) => {
            let Some(receiver) = domains.get_mut(remote) else { return Short::No };
            if receiver.vcpu.sleep != Sleep::No || !receiver.delivery.lets_be() {
                return Short::No;
            }
            mark::<_, RECORDED>(trace, receiver, m, there, caller);
            answered::<_, RECORDED>(trace, m, regs, caller);
            if traps::is_due(m.load(*shared_page)) { Short::Begun } else { Short::Done }
        }
        _ => Short::No,
    }
}

/// Marks a port as pending at a domain that is awake, and so gathers nothing.
#[inline(always)]
fn mark<M: Machine, const RECORDED: bool>(
    trace: &mut Trace,
    receiver: &mut Domain,
    m: &mut M,
    port: Port,
    DomId(from): DomId,
) {
    let counters = &mut receiver.counters;
    counters.raised = counters.raised.wrapping_add(1);
    let shared = receiver.shared_info;
    let (at, bit_of_port) = bit(shared, PENDING, port);
    let merged = m.fetch_or(at, bit_of_port) & bit_of_port != 0;
    if RECORDED {
        trace.put(m, receiver.id, &Record::EventRaised { merged: u8::from(merged), port: port.0, from });
    }
    if merged {
        counters.merged = counters.merged.wrapping_add(1);
        return;
    }
    let (at, bit_of_port) = bit(shared, MASK, port);
    if m.load(at) & bit_of_port == 0 {
        m.fetch_or(MachineAddress::in_frame(shared, SELECTOR), bit_of_word(port));
        let flags = m.fetch_or(MachineAddress::in_frame(shared, 0), 1);
        if RECORDED {
            let masked = u8::from(flags & 0xff00 != 0);
            trace.put(m, receiver.id, &Record::EventPending { masked, port: port.0 });
        }
    } else if RECORDED {
        trace.put(m, receiver.id, &Record::EventMasked { port: port.0 });
    }
}

/// The hypercall's answer.
#[inline(always)]
fn answered<M: Machine, const RECORDED: bool>(
    trace: &mut Trace,
    m: &mut M,
    regs: &mut Registers,
    caller: DomId,
) {
    if RECORDED {
        trace::call_exit(trace, m, caller, regs.rax, 0);
    }
    regs.rax = 0;
}
