//! What must hold between any two entries into the core, in one place.
//! Tests call it after each action; the running system on request and after each death.

use alloc::format;
use alloc::string::String;

use hypercall_abi::{DomId, Port};

use crate::domain::{Domain, State};
use crate::events::Channel;
use crate::memory::{MachineAddress, MachineMemory};
use crate::recount;
use crate::timers::{Kind, Timer};
use crate::vcpu::Sleep;
use crate::world::World;

impl World {
    /// Checks every global invariant. It looks at everything, so it is not for hot paths.
    ///
    /// # Errors
    /// The first that is broken, in words.
    pub fn check<M: MachineMemory>(&self, m: &M) -> Result<(), String> {
        self.check_time()?;
        self.check_lives()?;
        self.check_ports()?;
        self.check_wakes(m)?;
        self.images.check(m, &self.frames, &self.domains)?;
        recount::recount(&self.frames, m, &self.domains, recount::WINDOW).map_err(|violation| violation.0)
    }

    /// Checks what the death of a domain must leave behind, which costs little enough to follow each one.
    ///
    /// # Errors
    /// The first that is broken, in words.
    pub fn check_after_death(&self, dead: DomId) -> Result<(), String> {
        self.check_time()?;
        self.check_lives()?;
        self.check_ports()?;
        recount::after_death(&self.frames, dead).map_err(|violation| violation.0)
    }

    /// Nobody sleeps over an upcall, unless events are gathering for it and the window will end.
    fn check_wakes<M: MachineMemory>(&self, m: &M) -> Result<(), String> {
        for domain in self.domains.iter().filter(|domain| domain.state == State::Running) {
            if !matches!(domain.vcpu.sleep, Sleep::Block | Sleep::Idle) {
                continue;
            }
            let [pending, ..] = m.load(MachineAddress::in_frame(domain.shared_info, 0)).to_le_bytes();
            let window = Timer { domain: domain.id, kind: Kind::Window };
            let gathers = domain.delivery.is_gathering() && self.timers.deadline(window).is_some();
            ensure(pending == 0 || gathers, || format!("{}: sleeps over an upcall", domain.name))?;
        }
        Ok(())
    }

    /// The queue and the timers are sound, and exactly the domains that want the processor stand in line for it.
    fn check_time(&self) -> Result<(), String> {
        ensure(self.scheduler.holds(), || "the run queue is broken".into())?;
        ensure(self.timers.holds(), || "the timers are out of order".into())?;
        for domain in self.domains.iter() {
            let runs = domain.state == State::Running && domain.vcpu.sleep == Sleep::No;
            let awake = self.scheduler.is_awake(domain.id);
            ensure(runs == awake, || format!("{}: wants to run {runs}, may run {awake}", domain.name))?;
        }
        Ok(())
    }

    /// A dead domain holds neither ports nor time, and who has the processor lives.
    fn check_lives(&self) -> Result<(), String> {
        for domain in self.domains.iter().filter(|domain| domain.state != State::Running) {
            ensure(domain.events.iter().next().is_none(), || format!("{}: dead with ports", domain.name))?;
        }
        if let Some(current) = self.current {
            ensure(self.domains.get(current).is_some(), || format!("{current} runs and does not exist"))?;
        }
        if let Some((id, root)) = self.kept {
            let is_its_own = |domain: &Domain| domain.state == State::Running && domain.vcpu.root() == root;
            let lives = self.current.is_none() && self.domains.get(id).is_some_and(is_its_own);
            // Until the next turn of `life::work` it is only dying.
            ensure(lives || self.life.is_busy(), || format!("a root of {id} is kept that is not in use"))?;
        }
        Ok(())
    }

    /// Each port's peer is connected to it.
    fn check_ports(&self) -> Result<(), String> {
        for domain in self.domains.iter() {
            ensure(domain.events.holds(), || format!("{}: the port table is broken", domain.name))?;
            for (port, channel) in domain.events.iter() {
                let Channel::Interdomain { remote, port: there } = channel else { continue };
                let back = self.domains.get(remote).and_then(|peer| peer.events.get(there));
                let wanted = Channel::Interdomain { remote: domain.id, port };
                ensure(back == Some(wanted), || format!("{}: {port} has no way back", domain.name))?;
            }
            ensure(domain.events.get(Port(0)).is_none(), || format!("{}: port 0 is used", domain.name))?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}
