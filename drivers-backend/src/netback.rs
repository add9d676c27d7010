//! The network back end: all front ends, the switch and the uplink, worked in bounded turns.
//! An event costs only the front ends that it concerns; a front end that misbehaves costs itself.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use hypercall_abi::device::{NetCounters, NetError};
use hypercall_abi::grant_table::{CopyGrant, GrantStatus};
use hypercall_abi::{Errno, GrantRef, Port};

use crate::answers::Answers;
use crate::link::Step;
use crate::platform::Platform;
use crate::pool::{Packet, Pool};
use crate::switch::{AddressTaken, Switch, VifId};
use crate::uplink::Uplink;
use crate::vif::{FrontEnd, Vif};
use crate::work::WorkList;

/// Copies in one hypercall.
pub(crate) const BATCH: usize = 64;
/// Frames that one front end may send in one turn.
pub(crate) const BUDGET: usize = 16;
/// Pieces of work, such as frames, that a front end is charged for at a time: so many that a charge costs nothing beside them.
const CHARGED: u32 = 64;
/// Changes of state handled in one turn.
const STATE_BUDGET: usize = 16;
/// Wrong requests in a row that end a connection.
pub(crate) const WRONG_MAX: u32 = 64;

/// Why a front end was not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// One with this number is there already.
    Exists,
    /// Its device page cannot be mapped.
    Page(GrantStatus),
    /// Another front end has its address.
    Address(AddressTaken),
}

/// Whether a turn left work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "work that is left needs another turn"]
pub enum Turn {
    /// Call again; look at the events in between.
    More,
    /// Nothing to do until an event: everybody who matters will notify.
    Idle {
        /// Or until this time, by the clock of [`NetBack::turn`]; `u64::MAX` for never.
        until_ns: u64,
    },
}

/// What the switch counted, over all front ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchCounters {
    /// Frames taken from guests.
    pub from_guests: u64,
    /// Frames taken from the wire.
    pub from_uplink: u64,
    /// Frames handed to guests.
    pub to_guests: u64,
    /// Frames put on the wire.
    pub to_uplink: u64,
    /// ARP requests answered here.
    pub answered: u64,
    /// Frames with a false source.
    pub spoofed: u64,
    /// Frames that went nowhere for other reasons.
    pub dropped: u64,
    /// Grant copies made.
    pub copies: u64,
    /// Batches that they were made in.
    pub batches: u64,
}

/// What a port of ours means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    State,
    Ring,
}

/// A copy under way: the front end, its request's number, and the packet.
pub(crate) struct Job {
    pub(crate) vif: VifId,
    pub(crate) id: u16,
    pub(crate) packet: Packet,
}

/// The back end of all network devices of a driver domain.
pub struct NetBack<P: Platform, U> {
    pub(crate) platform: P,
    pub(crate) uplink: U,
    pub(crate) switch: Switch,
    pub(crate) pool: Pool<P::Buffer>,
    pub(crate) vifs: Vec<Option<Vif<P::Page>>>,
    ports: BTreeMap<Port, (VifId, Purpose)>,
    /// Front ends whose state may have changed.
    states: WorkList,
    /// Front ends that may have sent.
    pub(crate) senders: WorkList,
    /// Front ends that packets wait for, with room for them perhaps.
    pub(crate) receivers: WorkList,
    /// Front ends whose rings were worked on in this turn.
    pub(crate) touched: WorkList,
    /// Pieces of work done for front ends that have not been charged for it.
    pub(crate) work: u32,
    /// The uplink may have frames.
    pub(crate) uplink_ready: bool,
    asked: BTreeSet<[u8; 4]>,
    pub(crate) answers: Answers,
    pub(crate) copies: Vec<CopyGrant>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) counters: SwitchCounters,
}

impl<P: Platform, U: Uplink> NetBack<P, U> {
    /// A back end without front ends, with so many pages for packets on their way.
    ///
    /// # Errors
    /// [`Errno::NoMem`] when there are not enough pages; 33 are the fewest that work.
    pub fn new(mut platform: P, uplink: U, buffer_pages: u16) -> Result<Self, Errno> {
        let pool = Pool::new(&mut platform, buffer_pages, BATCH)?;
        let switch = Switch::new(uplink.mac());
        Ok(Self {
            platform,
            uplink,
            switch,
            pool,
            vifs: Vec::new(),
            ports: BTreeMap::new(),
            states: WorkList::default(),
            senders: WorkList::default(),
            receivers: WorkList::default(),
            touched: WorkList::default(),
            work: 0,
            uplink_ready: true,
            asked: BTreeSet::new(),
            answers: Answers::default(),
            copies: Vec::with_capacity(BATCH),
            jobs: Vec::with_capacity(BATCH),
            counters: SwitchCounters::default(),
        })
    }

    /// Takes up a front end, whose device page has been granted to us by `page`.
    ///
    /// # Errors
    /// As [`AddError`] says; nothing has changed.
    pub fn add(&mut self, id: VifId, front: FrontEnd, page: GrantRef) -> Result<(), AddError> {
        let at = usize::from(id.0);
        if self.vifs.get(at).is_some_and(Option::is_some) {
            return Err(AddError::Exists);
        }
        self.switch.attach(id, front.mac, front.ipv4).map_err(AddError::Address)?;
        let page = match self.platform.map(front.peer, page) {
            Ok(page) => page,
            Err(status) => {
                self.switch.detach(id, front.mac, front.ipv4);
                return Err(AddError::Page(status));
            }
        };
        if self.vifs.len() <= at {
            self.vifs.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.vifs.get_mut(at) {
            *slot = Some(Vif::new(&mut self.platform, front, page));
        }
        self.ports.insert(front.state_port, (id, Purpose::State));
        self.states.add(id);
        self.ask_for(&front);
        Ok(())
    }

    /// Forgets a front end whose domain is gone.
    pub fn remove(&mut self, id: VifId) {
        let Some(mut vif) = self.vifs.get_mut(usize::from(id.0)).and_then(Option::take) else { return };
        while let Some(packet) = vif.queue.pop() {
            self.pool.note_unqueued();
            self.pool.give_back(packet);
        }
        self.work = self.work.saturating_sub(vif.work);
        self.ports.remove(&vif.front.state_port);
        self.switch.detach(id, vif.front.mac, vif.front.ipv4);
        if let Step::Down(port) = vif.end(&mut self.platform) {
            self.ports.remove(&port);
        }
    }

    /// Notes that a port of ours has fired.
    pub fn event(&mut self, port: Port) {
        match self.ports.get(&port) {
            Some((id, Purpose::State)) => self.states.add(*id),
            Some((id, Purpose::Ring)) => {
                self.senders.add(*id);
                self.receivers.add(*id);
            }
            None => {}
        }
    }

    /// Notes that the uplink has interrupted.
    pub const fn uplink_event(&mut self) {
        self.uplink_ready = true;
    }

    /// Does a bounded piece of the work that is due. `now_ns` never goes backwards; where it starts does not matter.
    pub fn turn(&mut self, now_ns: u64) -> Turn {
        self.step_states();
        self.take_from_uplink();
        self.take_from_guests();
        self.deliver();
        self.give_answers(now_ns);
        self.finish();
        let idle = self.states.is_empty() && self.senders.is_empty() && self.receivers.is_empty();
        if idle && !self.uplink_ready {
            Turn::Idle { until_ns: self.answers.due_ns().unwrap_or(u64::MAX) }
        } else {
            Turn::More
        }
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn counters(&self) -> &SwitchCounters {
        &self.counters
    }

    /// What one front end's half of the device counted.
    #[must_use]
    pub fn vif_counters(&self, id: VifId) -> Option<&NetCounters> {
        self.vif(id).map(|vif| &vif.counters)
    }

    /// Whether a front end is connected.
    #[must_use]
    pub fn is_connected(&self, id: VifId) -> bool {
        self.vif(id).is_some_and(|vif| vif.link.is_up())
    }

    /// Why a front end's last connection ended.
    #[must_use]
    pub fn error(&self, id: VifId) -> Option<NetError> {
        self.vif(id).map(|vif| vif.error)
    }

    /// What the directory said of a front end.
    #[must_use]
    pub fn front_end(&self, id: VifId) -> Option<&FrontEnd> {
        self.vif(id).map(|vif| &vif.front)
    }

    /// The uplink, for its owner.
    pub const fn uplink(&mut self) -> &mut U {
        &mut self.uplink
    }

    /// The platform, for its owner.
    pub const fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    fn vif(&self, id: VifId) -> Option<&Vif<P::Page>> {
        self.vifs.get(usize::from(id.0))?.as_ref()
    }

    fn step_states(&mut self) {
        for _ in 0..self.states.len().min(STATE_BUDGET) {
            let Some(id) = self.states.take() else { break };
            // Closed, then ready, then connected: three steps may follow each other.
            for _ in 0..4 {
                let Some(Some(vif)) = self.vifs.get_mut(usize::from(id.0)) else { break };
                match vif.step(&mut self.platform) {
                    Step::Same => break,
                    Step::Moved => {}
                    Step::Up(port) => {
                        self.ports.insert(port, (id, Purpose::Ring));
                        self.senders.add(id);
                        self.receivers.add(id);
                    }
                    Step::Down(port) => self.went_down(id, port),
                }
            }
        }
    }

    /// Notes that work was done for a front end.
    pub(crate) fn note_work(&mut self, id: VifId, pieces: u32) {
        let Some(Some(vif)) = self.vifs.get_mut(usize::from(id.0)) else { return };
        vif.work += pieces;
        self.work += pieces;
        if vif.work >= CHARGED {
            self.platform.charge(vif.front.peer, vif.work, self.work);
            self.work -= vif.work;
            vif.work = 0;
        }
    }

    /// Ends one front end's connection for what it did.
    pub(crate) fn fail(&mut self, id: VifId, error: NetError) {
        let Some(Some(vif)) = self.vifs.get_mut(usize::from(id.0)) else { return };
        if let Step::Down(port) = vif.close(&mut self.platform, error) {
            self.went_down(id, port);
        }
        // The front end may have begun anew already.
        self.states.add(id);
    }

    fn went_down(&mut self, id: VifId, port: Port) {
        self.ports.remove(&port);
        let Some(Some(vif)) = self.vifs.get_mut(usize::from(id.0)) else { return };
        while let Some(packet) = vif.queue.pop() {
            self.pool.note_unqueued();
            self.pool.give_back(packet);
        }
    }

    /// Asks for the gateway once, so that it is known before the first guest needs it.
    fn ask_for(&mut self, front: &FrontEnd) {
        if front.gateway != [0; 4] && front.ipv4 != [0; 4] && self.asked.insert(front.gateway) {
            let question = Switch::question(front.mac, front.ipv4, front.gateway);
            let sent = self.uplink.send(&question);
            self.note_sent(sent.is_ok());
            self.uplink.flush();
        }
    }
}
