//! What the hypervisor itself takes of each domain's time: from taking the lock to giving it back, in a build with the
//! feature `account`.
//!
//! It exists because a domain's time on the processor has the hypervisor's work for it within, and nobody else can tell
//! the two apart. A build without the feature reads no clock for it. What it leaves out are the stubs, which save and
//! restore registers: some 35 instructions for an entry and its return.

use alloc::vec::Vec;

use hypercall_abi::DomId;

use crate::cpu;

/// Whether this build counts.
pub(crate) const IS_ON: bool = cfg!(feature = "account");

/// What was counted, in ticks of the TSC.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// When the lock was taken, or the ticks since were counted.
    since: u64,
    /// Not yet charged to anybody.
    open: u64,
    /// By domain.
    domains: Vec<u64>,
}

impl Account {
    /// The lock was taken.
    #[inline(always)]
    pub(crate) fn enter(&mut self) {
        if IS_ON {
            self.since = cpu::tsc();
        }
    }

    /// The lock is about to be given back.
    #[inline(always)]
    pub(crate) fn leave(&mut self) {
        if IS_ON {
            let now = cpu::tsc();
            self.open += now - self.since;
            self.since = now;
        }
    }

    /// A domain loses the processor: what was counted since it got it is its own.
    #[inline(always)]
    pub(crate) fn charge(&mut self, to: Option<DomId>) {
        if !IS_ON {
            return;
        }
        self.leave();
        let ticks = core::mem::take(&mut self.open);
        let Some(at) = to.map(|id| usize::from(id.0)) else { return };
        if self.domains.len() <= at {
            self.domains.resize(at + 1, 0);
        }
        if let Some(sum) = self.domains.get_mut(at) {
            *sum += ticks;
        }
    }

    /// What was charged to a domain.
    pub(crate) fn of(&self, id: DomId) -> Option<u64> {
        IS_ON.then(|| self.domains.get(usize::from(id.0)).copied().unwrap_or(0))
    }
}
