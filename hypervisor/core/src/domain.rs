//! A domain: one guest with all that it holds.
//! It is a record without behaviour of its own; events, memory, grants and time each work on their part of it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use hypercall_abi::event_channel::PORTS_MAX;
use hypercall_abi::{DomId, Mfn};

use crate::config;
use crate::console::Line;
use crate::counters::Counters;
use crate::delivery::{Gathering, Policy, Window};
use crate::devices::Directory;
use crate::events::Ports;
use crate::grants::GrantTable;
use crate::life::{End, Past};
use crate::paging::AddressSpace;
use crate::time::Time;
use crate::vcpu::Vcpu;

/// Where a domain is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being built; never runs.
    Building,
    /// Runs, wants to, or sleeps.
    Running,
    /// Ended; its resources are on their way back.
    Dying,
    /// Ended; all is back but frames that others still map.
    Zombie,
}

/// A domain.
#[derive(Debug)]
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// Its name.
    pub name: Box<str>,
    /// What it was made from.
    pub config: Arc<config::Domain>,
    /// What its earlier lives left to it.
    pub past: Past,
    /// Where it is in its life.
    pub state: State,
    /// Its one virtual CPU.
    pub vcpu: Vcpu,
    /// Its memory.
    pub address_space: AddressSpace,
    /// Frames that it was given when it was built.
    pub frames_given: u32,
    /// What it grants and has mapped.
    pub grants: GrantTable,
    /// Frame of its [`hypercall_abi::shared_info::SharedInfo`].
    pub shared_info: Mfn,
    /// What it ran for others and has told so, in ns.
    pub charged_ns: u64,
    /// Its ports.
    pub events: Ports,
    /// How its events reach it.
    pub delivery: Gathering,
    /// Notifications that who told it had left out when it began to wait for a grace.
    pub(crate) left_out: u64,
    /// Its devices.
    pub directory: Directory,
    /// Its line on the console.
    pub console: Line,
    /// Why it ended, once it has.
    pub ended: Option<End>,
    /// What was counted.
    pub counters: Counters,
    /// Where the next of its own records lies: bytes behind the first place for them.
    pub next_record: u64,
}

impl Domain {
    /// A domain that is being built, without memory.
    #[must_use]
    pub fn new(id: DomId, config: Arc<config::Domain>, now: Time) -> Self {
        Self {
            id,
            name: config.name.as_str().into(),
            config,
            past: Past::default(),
            state: State::Building,
            vcpu: Vcpu::new(now),
            address_space: AddressSpace::new(id),
            frames_given: 0,
            grants: GrantTable::empty(id),
            shared_info: Mfn(0),
            charged_ns: 0,
            events: Ports::new(PORTS_MAX),
            delivery: Gathering::new(Policy::Batched(Window::NONE)),
            left_out: 0,
            directory: Directory::default(),
            console: Line::new(now),
            ended: None,
            counters: Counters::default(),
            next_record: 0,
        }
    }
}
